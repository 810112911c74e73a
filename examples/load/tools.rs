//! `tools`: what a call of a tool over MCP takes, for each request over HTTP that does the same.
//!
//! One agent with a token of its own sends a message to another, and reads one, over one connection: by turns as a
//! request of the API and as a call of the tool, so that both have the same machine. Reading is two operations for the
//! tool, which marks the message and shows its sender's host; the request marks it alone.

use std::sync::Arc;

use crate::http::{Connection, now};
use crate::report::{Goal, Report, millis, percentile};
use crate::server::Target;
use crate::{Load, Outcome, on_this_thread};

/// Pairs of what is compared, for each of the two.
const PAIRS: usize = 1_500;
/// Of a request's time, a call of a tool may take so much.
const SHARE: f64 = 1.3;
/// What the agents write.
const BODY: &str = "The tests of the parser pass again; the branch is ready to be looked at by somebody else.";

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for agent in ["ada", "bob"] {
            let answer = connection.post("/api/agents", &format!(r#"{{"id":"{agent}"}}"#)).await?;
            if answer.status != 200 {
                answer.expect(201)?;
            }
        }
        let token = r#"{"name":"load","scopes":["agent"],"agentId":"ada"}"#;
        let answer = connection.post("/api/tokens", token).await?;
        answer.expect(201)?;
        let authorization: Arc<str> = format!("Authorization: Bearer {}\r\n", answer.text("token")?).into();
        let ada = Target { authorization, ..server.target().clone() };
        let mut ids = Vec::with_capacity(2 * PAIRS);
        for _ in 0..2 * PAIRS {
            let message = format!(r#"{{"from":"bob","to":"ada","body":"{BODY}"}}"#);
            let answer = connection.post("/api/messages", &message).await?;
            answer.expect(201)?;
            ids.push(answer.number("id")?);
        }
        let mut connection = Connection::open(&ada).await?;
        let send = format!(r#"{{"to":"bob","body":"{BODY}"}}"#);
        compare(&mut connection, "send", report, |_| ("/api/messages".to_owned(), send.clone(), 201, send.clone()))
            .await?;
        compare(&mut connection, "read", report, |index| {
            let (by_request, by_tool) = (ids[2 * index], ids[2 * index + 1]);
            (format!("/api/messages/{by_request}/read"), "{}".to_owned(), 200, format!(r#"{{"id":{by_tool}}}"#))
        })
        .await
    })
}

/// Does the same by a request and by a tool, one after the other. `of` answers the request's path, its body and its
/// status, and the arguments of the tool.
async fn compare(
    connection: &mut Connection,
    tool: &'static str,
    report: &mut Report,
    of: impl Fn(usize) -> (String, String, u16, String),
) -> Outcome<()> {
    let (mut by_request, mut by_tool) = (Vec::with_capacity(PAIRS), Vec::with_capacity(PAIRS));
    for index in 0..PAIRS {
        let (path, body, status, arguments) = of(index);
        let started = now();
        connection.post(&path, &body).await?.expect(status)?;
        by_request.push(now() - started);
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{index},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        let started = now();
        let answer = connection.post_with("/mcp", "MCP-Protocol-Version: 2025-11-25\r\n", &call).await?;
        by_tool.push(now() - started);
        answer.expect(200)?;
        if !std::str::from_utf8(answer.body)?.contains(r#""isError":false"#) {
            return Err(format!("the tool {tool} failed: {}", String::from_utf8_lossy(answer.body)).into());
        }
    }
    by_request.sort_unstable();
    by_tool.sort_unstable();
    let (request, call) = (millis(percentile(&by_request, 50.0)), millis(percentile(&by_tool, 50.0)));
    report.add(format!("{tool}: request, median"), request, "ms", Goal::None);
    report.add(format!("{tool}: tool, median"), call, "ms", Goal::None);
    report.add(format!("{tool}: tool for each request"), call / request, "", Goal::AtMost(SHARE));
    Ok(())
}
