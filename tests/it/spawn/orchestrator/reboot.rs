//! The machine ends under its agents.

use std::fs;

use agent_relay::domain::agent::{AgentStatus, ConditionKind};
use agent_relay::domain::control::command::CommandStatus;
use serde_json::Value;

use super::Site;
use crate::server::eventually;
use crate::sessions::processes_with;

/// What a machine that ends leaves: no process, and files of another boot.
async fn end_with_the_machine(site: &Site, agent: &str) {
    let name =
        site.host.running().into_iter().find(|session| session.identity.agent_id == agent).expect("it runs").name;
    let folder = site.path().join("far/sessions").join(name.as_str());
    let shown = folder.to_str().expect("a plain path").to_owned();
    // Its host first, which would note the end.
    for pid in processes_with("cmdline", &shown).into_iter().chain([site.pid(agent)]) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    eventually("nothing of it runs", async || processes_with("cmdline", &shown).is_empty().then_some(())).await;
    let state = folder.join("state.json");
    let mut written: Value = serde_json::from_slice(&fs::read(&state).expect("a state")).expect("JSON");
    assert!(written["bootId"].as_str().is_some_and(|id| id.len() == 36), "{written}");
    written["bootId"] = "00000000-0000-0000-0000-000000000000".into();
    fs::write(state, written.to_string()).expect("a state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_end_with_the_machine_and_one_action_brings_each_back() {
    let mut site = Site::start().await;
    let spawned = site.agent("docs").await;
    site.kill_daemon();
    end_with_the_machine(&site, &spawned.agent).await;
    site.start_daemon().await;
    let card = site.card_is(&spawned.agent, "its end is noticed", |card| card.condition.is_some()).await;
    let condition = card.condition.expect("a condition");
    assert_eq!((card.status, condition.kind), (AgentStatus::Offline, ConditionKind::Crashed));
    assert_eq!(condition.detail.as_deref(), Some("ended with the machine"));

    let back = site.act(&spawned.agent, "restart").await;
    assert_eq!(back.status, CommandStatus::Succeeded, "{back:?}");
    let card = site.card(&spawned.agent).await;
    assert_eq!((card.status, card.epoch, card.condition, card.ready), (AgentStatus::Online, 2, None, true));
    site.pid(&spawned.agent);
}
