//! The relay's hints name routes of its interface; whoever is at a command line is told commands.

use super::plain;

/// A text of the relay, to be shown: without control characters, and with commands for the routes it names.
pub(super) fn told(text: &str) -> String {
    let mut rest = plain(text);
    let mut told = String::new();
    loop {
        let begins = |verb: &str| rest.find(&format!("{verb} /api/plugins")).map(|at| (at, verb.len() + 1));
        let Some((at, verb)) = ["GET", "POST"].iter().filter_map(|verb| begins(verb)).min() else { break };
        told.push_str(&rest[..at]);
        let (command, after) = command(&rest[at + verb + "/api/plugins".len()..]);
        told.push_str(&command);
        rest = after.to_owned();
    }
    told + &rest
}

/// The command for a route, of which only what follows `/api/plugins` is given; and what comes after the route.
fn command(route: &str) -> (String, &str) {
    let end = route.find(|c: char| !(c.is_ascii_alphanumeric() || c == '/' || c == '-')).unwrap_or(route.len());
    let (path, after) = route.split_at(end);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["reload"] => ("`agent-relay plugin reload`".to_owned(), after),
        [id] => (format!("`agent-relay plugin history {id}`"), after),
        [id, "allow"] => {
            // Its body, which is all that such a hint goes on with.
            let body = after.strip_prefix(" {\"digest\": \"").and_then(|body| body.split_once("\"}"));
            match body {
                Some((digest, after)) => (format!("`agent-relay plugin allow {id} {digest}`"), after),
                None => (format!("`agent-relay plugin allow {id}`"), after),
            }
        }
        [id, verb] => (format!("`agent-relay plugin {verb} {id}`"), after),
        _ => ("`agent-relay plugin list`".to_owned(), after),
    }
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
            ("nothing\nof that", "nothing of that".to_owned()),
        ];
        for (hint, command) in cases {
            assert_eq!(told(hint), command);
        }
    }
}
