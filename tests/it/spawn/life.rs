//! From start to end: what is told, what is recorded, and what really runs.

use std::fs;
use std::os::unix::fs::symlink;

use agent_relay::domain::activity::ActivityKind;
use agent_relay::domain::agent::{ConditionKind, ConditionSource};
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::sessions::TmuxChoice;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::{Bench, Running, UP, cmdline, environ};
use crate::server::eventually;
use crate::sessions::{choices, runs};

/// Up once there is a file `go` where it works.
const WAITS: &str = "while [ ! -e go ]; do sleep 0.02; done; echo '(shift+tab to cycle)'; exec sleep 1000";

#[tokio::test]
async fn a_spawn_has_succeeded_when_the_program_is_up_and_not_before() {
    for tmux in choices("spawn") {
        let bench = Bench::start(tmux, WAITS).await;
        let client = bench.client();
        let mut stream = client.follow("types=command.updated").await;
        let ask = json!({
            "cwd": "project", "label": "Docs & more", "approvalMode": "read-only", "prompt": "--help me\n$(touch no)",
        });
        let answer: Value = bench.spawn(ask).await.expect(202);
        let agent = Running::read(&answer);
        let project = bench.base.join("project");
        let log = answer["logPath"].as_str().expect("a log");
        assert!(log.contains(agent.session.as_str()), "{log}");
        let expected = json!({
            "ok": true, "provider": "claude", "approvalMode": "read-only", "cwd": project, "label": "Docs & more",
            "agentId": agent.id, "session": agent.session, "pid": agent.pid, "logPath": log, "dryRun": false,
            "command": answer["command"],
        });
        assert_eq!(answer, expected);
        assert!(agent.id.starts_with("claude-") && agent.session.as_str().starts_with("ar-claude-docs-more-"));

        // It runs, and is not up: neither ready nor a success.
        let of_program = cmdline(agent.pid);
        assert_eq!(of_program.last().map(String::as_str), Some("--help me\n$(touch no)"), "{of_program:?}");
        assert_eq!(fs::read_link(format!("/proc/{}/cwd", agent.pid)).expect("its directory"), project);
        let card = bench.card(&agent).await;
        assert_eq!((card.status.as_str(), card.ready), ("online", false));
        let condition = card.condition.expect("a condition");
        assert_eq!((condition.kind, condition.source), (ConditionKind::Starting, ConditionSource::Relay));
        assert_eq!(client.get("/api/attention").await.expect::<Value>(200), json!([]), "it comes up by itself");
        assert_eq!((card.name.as_str(), card.label.as_deref()), ("Docs & more", Some("Docs & more")));
        assert_eq!(card.tags, ["claude", "spawned"]);
        assert_eq!(
            (&card.meta.value()["approvalMode"], &card.meta.value()["cwd"]),
            (&json!("read-only"), &json!(project))
        );
        let command: Command = client.get(&format!("/api/commands/{}", agent.command)).await.expect(200);
        assert_eq!(command.status, CommandStatus::Running);
        fs::write(project.join("go"), "").expect("a sign");
        let command = client.outcome(agent.command).await;
        assert_eq!((command.status, command.error), (CommandStatus::Succeeded, None));
        assert_eq!((command.kind.as_str(), command.target.as_str()), ("spawn", agent.id.as_str()));
        let request = json!({
            "action": "spawn", "provider": "claude", "cwd": project, "approvalMode": "read-only",
            "label": "Docs & more", "prompt": "--help me\n$(touch no)",
        });
        assert_eq!(command.request, request);
        let result = command.result.expect("a result").value();
        assert_eq!((&result["pid"], &result["session"]), (&json!(agent.pid), &json!(agent.session)));
        assert_eq!(result["attach"].is_string(), tmux == TmuxChoice::Auto, "{result}");
        for status in ["accepted", "running", "succeeded"] {
            assert_eq!(stream.next_event("command.updated").await.data["status"], status);
        }
        eventually("the agent is ready", async || bench.card(&agent).await.ready.then_some(())).await;
        assert_eq!(bench.card(&agent).await.condition, None);
        // A person who is wanted is told the way, and not by the agent's own card.
        client.register(json!({"id": agent.id, "meta": {"attach": "rm -r ~"}})).await;
        let path = format!("/api/agents/{}/condition", agent.id);
        client.patch(&path, json!({"kind": "dialog"})).await.expect::<Value>(200);
        let items: Value = client.get("/api/attention").await.expect(200);
        let way =
            result["attach"].as_str().map_or_else(|| format!("on {}", card.machine.expect("a host")), str::to_owned);
        assert_eq!(
            items[0]["hint"],
            json!(format!(
                "answer the dialog in its session{} {way}",
                if result["attach"].is_string() { ":" } else { "," }
            ))
        );
        client.patch(&path, json!({"kind": null})).await.expect::<Value>(200);

        let identity = environ(agent.pid, "AGENT_RELAY_AGENT_ID");
        assert_eq!(identity.as_ref(), Some(&agent.id));
        assert_eq!(environ(agent.pid, "AGENT_RELAY_URL").as_ref(), Some(&client.base));
        assert_eq!(environ(agent.pid, "AGENT_RELAY_APPROVAL").as_deref(), Some("read-only"));
        let token = environ(agent.pid, "AGENT_RELAY_TOKEN").expect("a token");
        assert!(!of_program.concat().contains(&token), "secrets are in no argument list");
        assert!(!fs::exists(project.join("no")).expect("readable"), "nothing goes through a shell");

        let entries = client.activity(&format!("agent={}", agent.id)).await;
        let asked = entries.iter().find(|entry| entry.title == "claude agent spawn requested (direct)");
        let asked = asked.unwrap_or_else(|| panic!("no request in {entries:?}"));
        assert_eq!((asked.kind, asked.body.as_deref()), (ActivityKind::Control, project.to_str()));
        assert_eq!(asked.client_id, format!("server-agent-spawn-claude-{}", agent.command));
        assert_eq!((asked.icon.as_deref(), asked.view.as_deref()), (Some("ti-plus"), Some("agents")));
        let metadata = asked.metadata.as_ref().expect("metadata");
        assert_eq!(
            (metadata.get("approvalMode"), metadata.get("dryRun")),
            (Some(json!("read-only")), Some(json!(false)))
        );
        assert!(entries.iter().any(|entry| entry.title == "Command spawn succeeded"), "{entries:?}");
    }
}

#[tokio::test]
async fn without_a_directory_the_base_directory_is_meant() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let agent = bench.agent(json!({})).await;
    let directory = fs::read_link(format!("/proc/{}/cwd", agent.pid)).expect("its directory");
    assert_eq!(directory, bench.base);
    assert!(!cmdline(agent.pid).contains(&"--".to_owned()), "no prompt is no argument");
    let command = bench.client().outcome(agent.command).await;
    assert_eq!(command.request["approvalMode"], "guarded");
}

#[tokio::test]
async fn a_dry_run_plans_and_starts_nothing() {
    let bench = Bench::start_with(TmuxChoice::Never, UP, |config| config.spawn.dry_run = true).await;
    let answer: Value = bench.spawn(json!({"cwd": "project", "prompt": "hello"})).await.expect(202);
    assert_eq!((&answer["dryRun"], &answer["pid"]), (&json!(true), &Value::Null), "{answer}");
    let id = answer["command"]["id"].as_i64().expect("a command");
    let command: Command = bench.client().get(&format!("/api/commands/{id}")).await.expect(200);
    assert_eq!(command.status, CommandStatus::Succeeded);
    let planned = &command.result.expect("a result").value()["planned"];
    assert_eq!(planned["cwd"], json!(bench.base.join("project")));
    assert_eq!(planned["args"].as_array().and_then(|args| args.last()), Some(&json!("hello")));
    assert!(bench.host.sessions.list().is_empty());
    let agents: Value = bench.client().get("/api/agents?tag=spawned").await.expect(200);
    assert_eq!(agents, json!([]));
    let entry = &bench.client().activity("kind=control").await[1];
    assert_eq!(entry.meta.as_deref(), Some("dry run"), "{entry:?}");
}

#[tokio::test]
async fn a_shutdown_ends_the_program_and_with_it_the_token() {
    for tmux in choices("shutdown") {
        let bench = Bench::start(tmux, UP).await;
        let client = bench.client();
        let agent = bench.agent(json!({"label": "one"})).await;
        let token = environ(agent.pid, "AGENT_RELAY_TOKEN").expect("a token");
        let own = client.with_token(Some(&token));
        own.get("/api/agents").await.expect::<Value>(200);
        let command = bench.act(&agent, "shutdown").await;
        assert_eq!((command.status, command.error), (CommandStatus::Succeeded, None));
        assert!(
            command.result.is_some_and(|result| !result.value()["exit"].is_null()),
            "it says how the program ended"
        );
        assert!(!runs(agent.pid));
        let card = bench.gone(&agent).await;
        assert!(!card.ready && card.condition.is_none(), "its end was asked for: {card:?}");
        own.get("/api/agents").await.problem(401, "unauthorized");
        // What was heard of it before its end does not bring it back.
        client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
        assert_eq!(bench.card(&agent).await.status.as_str(), "offline");
        let entries = client.activity(&format!("agent={}", agent.id)).await;
        assert!(entries.iter().any(|entry| entry.title == "Agent session ended"), "{entries:?}");
    }
}

#[tokio::test]
async fn a_restart_is_another_process_with_another_token() {
    for tmux in choices("restart") {
        let bench = Bench::start(tmux, UP).await;
        let client = bench.client();
        let agent = bench.agent(json!({"cwd": "project", "label": "one", "approvalMode": "read-only"})).await;
        let token = environ(agent.pid, "AGENT_RELAY_TOKEN").expect("a token");
        let before = bench.card(&agent).await;
        let command = bench.act(&agent, "restart").await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
        assert!(!runs(agent.pid), "the first one has ended");
        let [again] = &bench.host.running()[..] else { panic!("{:?}", bench.host.running()) };
        assert_eq!((&again.identity.agent_id, again.identity.label.as_deref()), (&agent.id, Some("one")));
        assert_eq!(again.identity.cwd, bench.base.join("project").to_str().expect("a plain path"));
        assert_eq!(again.identity.approval_mode.as_str(), "read-only");
        let result = command.result.expect("a result").value();
        assert_eq!(result["session"], json!(again.name), "the command says what runs now: {result}");
        let pid = u32::try_from(result["pid"].as_u64().expect("a process")).expect("a process id");
        assert!(runs(pid) && pid != agent.pid);
        let card = bench.card(&agent).await;
        assert_eq!((card.status.as_str(), card.epoch), ("online", before.epoch + 1));
        let other = environ(pid, "AGENT_RELAY_TOKEN").expect("a token");
        client.with_token(Some(&token)).get("/api/agents").await.problem(401, "unauthorized");
        client.with_token(Some(&other)).get("/api/agents").await.expect::<Value>(200);
    }
}

#[tokio::test]
async fn restarts_at_the_same_time_leave_one_process() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let agent = bench.agent(json!({"cwd": "project"})).await;
    let (one, other, third) =
        tokio::join!(bench.act(&agent, "restart"), bench.act(&agent, "restart"), bench.act(&agent, "restart"));
    let [last] = &bench.host.running()[..] else { panic!("{:?}", bench.host.running()) };
    assert_eq!(last.identity.agent_id, agent.id);
    for command in [one, other, third] {
        // One that was ended by the next before it was up says so.
        let of_last = command.result.as_ref().is_some_and(|result| result.value()["session"] == json!(last.name));
        let interrupted = command.error.as_ref().is_some_and(|error| error.contains("before it was up"));
        assert!(command.status == CommandStatus::Succeeded || (interrupted && !of_last), "{command:?}");
    }
}

/// What was approved is a directory, not a name that its agent may give to another one.
#[tokio::test]
async fn a_restart_follows_no_new_link_to_outside() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let agent = bench.agent(json!({"cwd": "project"})).await;
    let outside = bench.base.with_file_name("outside");
    fs::rename(bench.base.join("project"), &outside).expect("moved");
    symlink(&outside, bench.base.join("project")).expect("a link");
    let path = format!("/api/agents/{}/actions", agent.id);
    bench.client().post(&path, json!({"action": "restart"})).await.invalid("gone or was exchanged");
    let running = bench.host.running();
    assert_eq!(running.len(), 1, "what could not start again is not ended");
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", agent.pid)).expect("its directory"), outside);
}

#[tokio::test]
async fn the_end_of_a_program_is_noticed() {
    for tmux in choices("an end") {
        let bench = Bench::start(tmux, UP).await;
        let agent = bench.agent(json!({})).await;
        let mut stream = bench.client().follow("types=agent.status").await;
        let group = Pid::from_raw(i32::try_from(agent.pid).expect("a process id")).expect("a process id");
        kill_process_group(group, Signal::KILL).expect("a living process");
        loop {
            let frame = stream.next_event("agent.status").await;
            if frame.data["id"] == json!(agent.id) && frame.data["status"] == "offline" {
                let condition = &frame.data["condition"];
                assert_eq!((&condition["kind"], &condition["source"]), (&json!("crashed"), &json!("relay")));
                assert_eq!(condition["detail"], "was ended by signal 9");
                break;
            }
        }
        let entries = bench.client().activity(&format!("agent={}", agent.id)).await;
        let ended = entries.iter().find(|entry| entry.title == "Agent session ended").expect("an entry");
        assert_eq!(ended.body.as_deref(), Some("was ended by signal 9"));
        // There is nothing left to end, and it can be started again.
        let command = bench.act(&agent, "restart").await;
        assert_eq!(command.status.as_str(), "succeeded", "{command:?}");
        let [again] = &bench.host.running()[..] else { panic!("{:?}", bench.host.running()) };
        assert_eq!(again.identity.agent_id, agent.id);
        let card = bench.card(&agent).await;
        assert_eq!((card.status.as_str(), card.condition), ("online", None));
    }
}

#[tokio::test]
async fn a_repeated_spawn_starts_nothing_twice() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let client = bench.client();
    let mut repeats = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let request = client.request(reqwest::Method::POST, "/api/agents/spawn").header("Idempotency-Key", "once");
        let request = request.json(&json!({"provider": "claude", "label": "one"}));
        let client = client.clone();
        repeats.spawn(async move { client.call(request).await });
    }
    let answers: Vec<_> = repeats.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1, "{answers:?}");
    let agents: Vec<Value> = answers.iter().map(|answer| answer.parse::<Value>()["agentId"].clone()).collect();
    assert!(agents.iter().all(|agent| *agent == agents[0]), "{agents:?}");
    assert_eq!(bench.host.running().len(), 1);
    assert_eq!(client.commands("kind=spawn").await.len(), 1);
    // Later, the answer holds all that the first one did.
    let request = client.request(reqwest::Method::POST, "/api/agents/spawn").header("Idempotency-Key", "once");
    let again = client.call(request.json(&json!({"label": "one", "provider": "claude"}))).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(again.expect::<Value>(200)["pid"].is_u64());
}

/// What it writes on its card does not take it out of reach.
#[tokio::test]
async fn an_agent_of_this_host_can_be_shut_down_whatever_its_card_says() {
    for card in [json!({"meta": {"kind": "channel"}}), json!({"tags": ["channel"]})] {
        let bench = Bench::start(TmuxChoice::Never, UP).await;
        let agent = bench.agent(json!({})).await;
        let mut card = card;
        card["id"] = json!(agent.id);
        bench.client().post("/api/agents", card).await.expect::<Value>(200);
        assert_eq!(bench.act(&agent, "shutdown").await.status, CommandStatus::Succeeded);
        assert!(bench.host.running().is_empty());
    }
}

#[tokio::test]
async fn a_session_ends_with_its_card() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let agent = bench.agent(json!({})).await;
    bench.client().delete(&format!("/api/agents/{}", agent.id)).await.expect::<Value>(200);
    eventually("its process has ended", async || bench.host.running().is_empty().then_some(())).await;
    bench.client().get(&format!("/api/agents/{}", agent.id)).await.problem(404, "not_found");
}
