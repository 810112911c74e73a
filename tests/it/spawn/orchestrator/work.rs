//! What the daemon is for: agents are started, started again and ended, and the relay knows.

use agent_relay::domain::agent::{AgentStatus, ConditionKind};
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::domain::control::orchestrator::OrchestratorStatus;
use serde_json::{Value, json};

use super::{Site, token_of};
use crate::server::eventually;
use crate::sessions::runs;
use crate::spawn::environ;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_lives_through_the_daemon() {
    let site = Site::start().await;
    let orchestrator = site.orchestrator().await.expect("it is registered");
    assert_eq!(orchestrator.status, OrchestratorStatus::Online);
    assert!(orchestrator.providers.contains(&"claude".to_owned()), "{orchestrator:?}");

    let spawned = site.agent("docs").await;
    let command = site.command_of(spawned.command).await;
    let result = command.result.expect("a result").value();
    assert_eq!(result["agentId"], spawned.agent.as_str());
    assert!(result["plan"]["sha256"].is_string() && result["host"].is_string(), "{result}");
    let pid = site.pid(&spawned.agent);
    assert_eq!(result["pid"], pid);
    let card = site.card(&spawned.agent).await;
    assert!(card.ready && card.condition.is_none(), "{card:?}");
    assert_eq!((card.status, card.label.as_deref()), (AgentStatus::Online, Some("docs")));
    assert_eq!(card.instance_id.as_deref(), result["session"].as_str());
    assert_eq!(environ(pid, "AGENT_RELAY_URL").as_deref(), Some(site.wire.url.as_str()));
    // It acts as itself, by a token that its orchestrator had made.
    let token = token_of(pid);
    let itself = site.client.with_token(Some(&token));
    itself.post("/api/agents", json!({"id": "another"})).await.problem(403, "wrong_identity");
    let managed = eventually("it is on the list", async || {
        site.orchestrator().await?.managed_agents.into_iter().find(|managed| *managed.agent_id == *spawned.agent)
    })
    .await;
    assert_eq!(managed.pid, Some(i64::from(pid)));

    let restarted = site.act(&spawned.agent, "restart").await;
    assert_eq!(restarted.status, CommandStatus::Succeeded, "{restarted:?}");
    assert!(!runs(pid));
    let again = site.pid(&spawned.agent);
    let card = site.card(&spawned.agent).await;
    assert_eq!((card.epoch, card.ready, card.condition), (2, true, None));
    itself.get("/api/agents").await.problem(401, "unauthorized");

    let child = site.child("docs");
    assert!(runs(child));
    let ended = site.act(&spawned.agent, "shutdown").await;
    assert_eq!(ended.status, CommandStatus::Succeeded, "{ended:?}");
    assert!(!runs(again) && !runs(child), "what it had in a session of its own has ended as well");
    let card = site.card(&spawned.agent).await;
    assert_eq!((card.status, card.ready, card.condition), (AgentStatus::Offline, false, None));
    eventually("it is off the list", async || site.orchestrator().await?.managed_agents.is_empty().then_some(())).await;
    let unread: Vec<Value> = site.client.get("/api/messages?for=orchestrator-far&unread=true").await.expect(200);
    assert!(unread.is_empty(), "{unread:?}");

    // What has ended can be started again, and is the same agent.
    let back = site.act(&spawned.agent, "restart").await;
    assert_eq!(back.status, CommandStatus::Succeeded, "{back:?}");
    let card = site.card(&spawned.agent).await;
    assert_eq!((card.status, card.epoch, card.ready), (AgentStatus::Online, 3, true));
    assert_eq!(site.starts("docs"), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_agents_are_ended_or_restarted_by_one_command() {
    let site = Site::start().await;
    let one = site.agent("one").await;
    let other = site.agent("other").await;
    eventually("both are on the list", async || (site.orchestrator().await?.managed_agents.len() == 2).then_some(()))
        .await;
    let act = async |action: &str| {
        let ask = json!({"action": action, "all": true});
        let answer: Value = site.client.post("/api/orchestrators/far/actions", ask).await.expect(202);
        site.client.outcome(answer["command"]["id"].as_i64().expect("a command")).await
    };
    let before = [site.pid(&one.agent), site.pid(&other.agent)];
    let restarted = act("restart").await;
    assert_eq!(restarted.status, CommandStatus::Succeeded, "{restarted:?}");
    assert!(before.into_iter().all(|pid| !runs(pid)));
    let now = [site.pid(&one.agent), site.pid(&other.agent)];
    let ended = act("shutdown").await;
    assert_eq!(ended.status, CommandStatus::Succeeded, "{ended:?}");
    assert!(now.into_iter().all(|pid| !runs(pid)));
    for agent in [&one, &other] {
        assert_eq!(site.card(&agent.agent).await.condition, None, "it has not crashed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_ends_by_itself_has_crashed() {
    let site = Site::start().await;
    let spawned = site.agent("docs").await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(site.pid(&spawned.agent)).expect("a process"));
    rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::KILL).expect("a living process");
    let card = site.card_is(&spawned.agent, "it is offline", |card| card.status == AgentStatus::Offline).await;
    let card = match card.condition {
        Some(_) => card,
        None => site.card_is(&spawned.agent, "it has crashed", |card| card.condition.is_some()).await,
    };
    let condition = card.condition.expect("a condition");
    assert_eq!(condition.kind, ConditionKind::Crashed);
    assert_eq!(condition.detail.as_deref(), Some("was ended by signal 9"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_gone_keeps_the_running_process() {
    let site = Site::start().await;
    let spawned = site.agent("docs").await;
    let pid = site.pid(&spawned.agent);
    std::fs::rename(site.project(), site.path().join("elsewhere")).expect("a rename");
    let restarted = site.act(&spawned.agent, "restart").await;
    assert_eq!(restarted.status, CommandStatus::Failed);
    let error = restarted.error.expect("a reason");
    assert!(error.contains("directory is gone") && error.contains("base/project"), "{error}");
    assert!(runs(pid), "nothing was ended");
    assert!(site.card(&spawned.agent).await.ready);
    std::fs::rename(site.path().join("elsewhere"), site.project()).expect("a rename");
    // The same where the program is not there any more.
    let program = site.path().join("bin/claude");
    std::fs::rename(&program, site.path().join("claude")).expect("a rename");
    let restarted = site.act(&spawned.agent, "restart").await;
    assert!(restarted.error.expect("a reason").contains("no executable"));
    assert!(runs(pid), "nothing was ended");
    std::fs::rename(site.path().join("claude"), &program).expect("a rename");
    assert_eq!(site.act(&spawned.agent, "restart").await.status, CommandStatus::Succeeded);
    assert!(!runs(pid));
}
