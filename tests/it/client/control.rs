//! Control requests by typed requests: through an orchestrator, here, and refused.

use agent_relay::client::control::{Action, CommandQuery, CommandReport, Dispatched, Managed, SpawnOrder, Spawned};
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::control::orchestrator::OrchestratorRegistration;
use agent_relay::domain::control::{ApprovalMode, ControlKind, VerdictKind};
use agent_relay::domain::id::CommandId;
use serde_json::json;

use super::agent;
use crate::server::Server;

#[tokio::test]
async fn an_orchestrator_is_asked_and_reports() {
    let server = Server::start().await;
    let client = &server.client.relay;
    let text = |text: &str| Some(text.to_owned());
    let far = OrchestratorRegistration {
        id: text("far"),
        hostname: text("h"),
        base_dir: text("/base"),
        ..OrchestratorRegistration::default()
    };
    client.orchestrators().register(&far).send().await.expect("an orchestrator");
    let control = client.control();
    let order = SpawnOrder {
        approval_mode: Some(ApprovalMode::ReadOnly),
        cwd: text("/base/code"),
        label: text("one"),
        ..SpawnOrder::of("claude")
    };
    let told = control.spawn_through("far", &order).idempotency_key("k").send().await.expect("dispatched");
    assert_eq!(told.orchestrator_id.as_deref(), Some("far"));
    assert_eq!((told.message.to.as_str(), told.command.status), ("orchestrator-far", CommandStatus::Pending));
    assert!(told.command.decision.iter().all(|verdict| verdict.verdict == VerdictKind::Allow));
    let replayed = control.spawn_through("far", &order).idempotency_key("k").answer().await.expect("an answer");
    assert!(replayed.is_replayed());
    assert_eq!(replayed.json::<Dispatched>().expect("dispatched").command.id, told.command.id);
    match control.spawn(&order).send().await.expect("dispatched") {
        Spawned::Through(through) => assert_eq!(through.orchestrator_id.as_deref(), Some("far")),
        Spawned::Here(here) => panic!("started here: {here:?}"),
    }

    let outside = SpawnOrder { cwd: text("/elsewhere"), ..SpawnOrder::of("claude") };
    let denied = control.spawn_through("far", &outside).send().await.expect_err("denied");
    assert!(denied.is("policy_denied") && !denied.is_transient(), "{denied}");
    let problem = denied.problem().expect("a problem");
    assert_eq!(problem.members["policy"], "containment");
    let recorded = control.command(CommandId::new(problem.members["commandId"].as_i64().expect("an id"))).send().await;
    assert_eq!(recorded.expect("a command").status, CommandStatus::Denied);

    let all = control.act_on_managed("far", Action::Shutdown, Managed::All).send().await.expect("dispatched");
    assert_eq!((all.action, all.command.kind), (Some(Action::Shutdown), ControlKind::Shutdown));
    let nobody = control.act_on_managed("far", Action::Restart, Managed::One("nobody")).send().await;
    assert!(nobody.expect_err("nobody").is("not_found"));

    let report = |status| CommandReport { status, result: Some(json!({"seen": true}).into()), error: None };
    let running = control.report(told.command.id, &report(CommandStatus::Running)).send().await.expect("a command");
    assert_eq!((running.status, running.result), (CommandStatus::Running, Some(json!({"seen": true}).into())));
    let back = control.report(told.command.id, &report(CommandStatus::Accepted)).send().await;
    assert!(back.expect_err("steps go forward only").is("illegal_transition"));

    let spawns = CommandQuery { kind: Some(ControlKind::Spawn), limit: Some(2), ..CommandQuery::default() };
    let listed: Vec<Command> = control.commands(&spawns).collect(100).await.expect("commands");
    assert_eq!(listed.len(), 3);
    assert!(listed.is_sorted_by(|a, b| a.id > b.id), "newest first");
    let running = CommandQuery { status: Some(CommandStatus::Running), ..CommandQuery::default() };
    assert_eq!(control.commands(&running).first().await.expect("commands")[0].id, told.command.id);
}

#[tokio::test]
async fn the_relay_itself_is_asked() {
    let server = Server::start_with(|config| config.spawn.dry_run = true).await;
    let client = &server.client.relay;
    let control = client.control();
    let directories = control.spawn_directories(None).send().await.expect("a listing");
    assert_eq!(directories.path, directories.cwd);
    assert!(directories.entries.iter().any(|entry| entry.name == "data"), "{directories:?}");
    assert!(control.spawn_directories(Some("/")).send().await.expect_err("outside").is("outside_base_directory"));

    let order = SpawnOrder { cwd: Some("data".to_owned()), ..SpawnOrder::of("claude") };
    match control.spawn(&order).send().await.expect("planned") {
        Spawned::Here(here) => {
            assert!(here.dry_run && here.pid.is_none() && here.cwd.ends_with("/data"), "{here:?}");
            assert_eq!((here.approval_mode, here.command.status), (ApprovalMode::Guarded, CommandStatus::Succeeded));
        }
        Spawned::Through(through) => panic!("dispatched: {through:?}"),
    }
    let unknown = control.spawn(&SpawnOrder::of("aider")).send().await;
    assert!(unknown.expect_err("no provider").is("no_orchestrator"));

    client.agents().register(&agent("ann", &[])).send().await.expect("a card");
    let asked = control.act_on_agent("ann", Action::Restart).send().await.expect("dispatched");
    assert_eq!((asked.action, asked.message.to.as_str()), (Some(Action::Restart), "ann"));
    let user = control.act_on_agent("user", Action::Restart).send().await;
    assert!(user.expect_err("a person").is("not_controllable"));
}
