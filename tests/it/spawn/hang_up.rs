//! Callers that do not wait for the answer: what was begun is brought to its end all the same.

use std::collections::BTreeSet;

use agent_relay::domain::control::command::Command;
use agent_relay::domain::time::Timestamp;
use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Bench, UP};
use crate::server::{Client, eventually, until};

const CALLERS: i64 = 16;

/// Sends a request and hangs up after some milliseconds: before, while or after it is carried out.
async fn hang_up(client: &Client, path: &str, body: &Value, after_ms: i64) {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        client.address(),
        body.len()
    );
    let mut connection = TcpStream::connect(client.address()).await.expect("a connection");
    connection.write_all(head.as_bytes()).await.expect("it is read");
    until(Timestamp::now() + after_ms).await;
}

/// The agents that run, when every command of this kind is done; `None` until then.
async fn settled(bench: &Bench, kind: &str) -> Option<(BTreeSet<String>, Vec<Command>)> {
    let commands = bench.client().commands(&format!("kind={kind}")).await;
    let done = commands.iter().all(|command| command.status.as_str() == "succeeded");
    let running = bench.host.running().into_iter().map(|session| session.identity.agent_id).collect();
    done.then_some((running, commands))
}

fn targets(commands: &[Command]) -> BTreeSet<String> {
    commands.iter().map(|command| command.target.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_leaves_nothing_half_done() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let client = bench.client();
    for number in 0..CALLERS {
        let ask = json!({"provider": "claude", "label": format!("caller {number}")});
        hang_up(client, "/api/agents/spawn", &ask, 3 * number).await;
    }
    let last = bench.agent(json!({"label": "patient"})).await;
    let running = eventually("every spawn has an agent that runs", async || {
        let (running, commands) = settled(&bench, "spawn").await?;
        (running == targets(&commands)).then_some(running)
    })
    .await;
    assert!(running.contains(&last.id) && running.len() > 1, "some came far enough: {running:?}");
    for agent in &running {
        eventually("the agent is ready", async || super::card(client, agent).await.ready.then_some(())).await;
    }

    for (agent, number) in running.iter().zip(0..) {
        let path = format!("/api/agents/{agent}/actions");
        hang_up(client, &path, &json!({"action": "shutdown"}), 2 * number).await;
    }
    bench.act(&last, "shutdown").await;
    eventually("every shutdown has ended its agent", async || {
        let (left, commands) = settled(&bench, "shutdown").await?;
        (left == running.difference(&targets(&commands)).cloned().collect()).then_some(())
    })
    .await;
}
