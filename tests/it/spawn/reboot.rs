//! The relay's own host is started anew under it and its agents.

use std::fs;

use agent_relay::domain::agent::{AgentStatus, ConditionKind};
use agent_relay::sessions::TmuxChoice;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Host, Running, UP, card, install, serve_beside};
use crate::cli::shell::typed;
use crate::program::{Serving, program};
use crate::server::eventually;

#[tokio::test]
async fn the_relays_own_agents_end_with_the_machine_and_one_action_brings_each_back() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    fs::create_dir_all(path.join("base")).expect("a base directory");
    install(&path, "claude", UP);
    let (serving, client) = serve_beside(&path);
    let host = Host::at(&path.join("data"), TmuxChoice::Auto).await;
    let mut agents = Vec::new();
    for label in ["one", "other"] {
        let asked = client.post("/api/agents/spawn", json!({"provider": "claude", "label": label})).await;
        let agent = Running::read(&asked.expect(202));
        assert_eq!(client.outcome(agent.command).await.status.as_str(), "succeeded");
        agents.push(agent.id);
    }
    let [one, other] = &agents[..] else { panic!("{agents:?}") };
    let unread = client.say("ann", one, "kept").await.id;

    serving.signal(Signal::KILL);
    drop(serving);
    host.end_with_the_machine().await;
    let (serving, client) = serve_beside(&path);
    for agent in &agents {
        let card = eventually("its end is noticed", async || {
            Some(card(&client, agent).await).filter(|card| card.condition.is_some())
        })
        .await;
        let condition = card.condition.expect("a condition");
        assert_eq!((card.status, card.ready, condition.kind), (AgentStatus::Offline, false, ConditionKind::Crashed));
        assert_eq!(condition.detail.as_deref(), Some("ended with the machine"));
    }
    let types = |args: &[&str], serving: &Serving| {
        typed(program(&path).args(args).env("AGENT_RELAY_URL", &serving.url), None).done()
    };
    let shown = types(&["attention"], &serving);
    assert_eq!(shown.matches("ended with the machine").count(), 2, "{shown}");

    let said = types(&["restart", one], &serving);
    assert!(said.starts_with(&format!("agent {one} is up again")), "{said}");
    let back = card(&client, one).await;
    assert_eq!((back.status, back.epoch, back.ready, back.condition), (AgentStatus::Online, 2, true, None));
    let waiting: Vec<Value> = client.get(&format!("/api/messages?for={one}&unread=true")).await.expect(200);
    assert!(waiting.iter().any(|message| message["id"] == json!(unread)), "{waiting:?}");
    // The other one waits for its own, and nothing was started that nobody asked for.
    assert_eq!(card(&client, other).await.status, AgentStatus::Offline);
    assert_eq!(host.running().len(), 1, "{:?}", host.running());
    let said = types(&["restart", other], &serving);
    assert!(said.starts_with(&format!("agent {other} is up again")), "{said}");
    assert_eq!(types(&["attention", "--json"], &serving).trim(), "[]");
}
