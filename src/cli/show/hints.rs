//! The relay's hints name routes of its interface; whoever is at a command line is told commands.

use super::visible_line;

/// A text of the relay, to be shown: with nothing hidden in it, and with commands for the routes it names. A route for
/// which there is no command stays.
pub(in crate::cli) fn in_commands(text: &str) -> String {
    let text = visible_line(text);
    let mut rest: &str = &text;
    let mut told = String::new();
    while let Some((at, verb)) =
        VERBS.iter().filter_map(|verb| Some((rest.find(&format!("{verb} /api/"))?, *verb))).min()
    {
        told.push_str(&rest[..at]);
        let route = &rest[at + verb.len() + " /api/".len()..];
        let end = route.find(|c: char| !is_of_a_path(c)).unwrap_or(route.len());
        let (path, after) = route.split_at(end);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if let Some((command, after)) = command(verb, &parts, after) {
            told.push_str(&format!("`agent-relay {command}`"));
            rest = after;
        } else {
            told.push_str(&format!("{verb} /api/{path}"));
            rest = after;
        }
    }
    told + rest
}

const VERBS: [&str; 4] = ["GET", "POST", "PATCH", "DELETE"];

fn is_of_a_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_')
}

/// The command for a route, and what comes after the route.
fn command<'t>(verb: &str, parts: &[&str], after: &'t str) -> Option<(String, &'t str)> {
    let told = match (verb, parts) {
        (_, ["plugins"]) => "plugin list".to_owned(),
        (_, ["plugins", "reload"]) => "plugin reload".to_owned(),
        (_, ["plugins", id]) => format!("plugin history {id}"),
        (_, ["plugins", id, "allow"]) => {
            // Its body, which is all that such a hint goes on with.
            let body = after.strip_prefix(" {\"digest\": \"").and_then(|body| body.split_once("\"}"));
            return Some(match body {
                Some((digest, after)) => (format!("plugin allow {id} {digest}"), after),
                None => (format!("plugin allow {id}"), after),
            });
        }
        (_, ["plugins", id, verb]) => format!("plugin {verb} {id}"),
        ("POST", ["tasks", id, "answer"]) => {
            return Some((format!("tasks answer {id} ANSWER"), after.strip_prefix(" with `answer`").unwrap_or(after)));
        }
        ("GET", ["tasks"]) => "tasks".to_owned(),
        ("GET", ["tasks", id]) => format!("tasks show {id}"),
        ("GET", ["commands", id]) => format!("command {id}"),
        ("GET", ["messages", id, "thread"]) => format!("read --peek --thread {id}"),
        ("GET", ["messages"]) => {
            return match after.strip_prefix("?for=") {
                Some(query) => {
                    let end = query.find(|c: char| !is_of_a_path(c)).unwrap_or(query.len());
                    Some((format!("inbox {}", &query[..end]), &query[end..]))
                }
                None => None,
            };
        }
        ("GET", ["agents"]) => "agents".to_owned(),
        ("GET", ["orchestrators"]) => "orchestrators".to_owned(),
        ("GET", ["attention"]) => "attention".to_owned(),
        ("GET", ["spec"]) => "openapi".to_owned(),
        _ => return None,
    };
    Some((told, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_becomes_the_command_that_asks_it() {
        let digest = "ab".repeat(32);
        let cases = [
            ("failed; GET /api/plugins tells why", "failed; `agent-relay plugin list` tells why".to_owned()),
            ("GET /api/plugins/guard.", "`agent-relay plugin history guard`.".to_owned()),
            ("change it and POST /api/plugins/reload", "change it and `agent-relay plugin reload`".to_owned()),
            ("POST /api/plugins/a-1/enable ends that", "`agent-relay plugin enable a-1` ends that".to_owned()),
            (
                &*format!("env; POST /api/plugins/guard/allow {{\"digest\": \"{digest}\"}}, or GET /api/plugins"),
                format!("env; `agent-relay plugin allow guard {digest}`, or `agent-relay plugin list`"),
            ),
            (
                "answer it: POST /api/tasks/7/answer with `answer`, one of: yes, no",
                "answer it: `agent-relay tasks answer 7 ANSWER`, one of: yes, no".to_owned(),
            ),
            ("GET /api/commands/3 has all of it", "`agent-relay command 3` has all of it".to_owned()),
            ("what GET /api/messages?for=AGENT lists.", "what `agent-relay inbox AGENT` lists.".to_owned()),
            ("then POST /api/callbacks/4/retry", "then POST /api/callbacks/4/retry".to_owned()),
            ("nothing\nof that", "nothing of that".to_owned()),
            ("GET /api/", "GET /api/".to_owned()),
        ];
        for (hint, command) in cases {
            assert_eq!(in_commands(hint), command);
        }
    }
}
