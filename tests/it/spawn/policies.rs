//! Policies that misbehave, and policies that are replaced while control requests are under way.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_relay::config::Config;
use agent_relay::domain::control::VerdictKind;
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Bench, Running, UP};
use crate::plugins::{guest, policy, put, variant};
use crate::server::Server;

/// Replacements that a debug build on a busy machine gets through in some seconds.
const REPLACEMENTS: u8 = 40;
/// Who make control requests meanwhile.
const CONTROLLERS: usize = 32;

/// A relay with a third policy, which does what the label of a spawn says.
async fn guarded(deadline_ms: u32) -> Bench {
    let manifest = policy("guard", "marker = 'no'").replace("5000", &deadline_ms.to_string());
    let add = |config: &mut Config| put(&directory(config).join("guard"), &manifest, &guest("misbehave"));
    Bench::start_with(TmuxChoice::Never, UP, add).await
}

fn directory(config: &Config) -> PathBuf {
    config.plugins.directory.clone().expect("a directory of plugins")
}

#[tokio::test]
async fn a_policy_may_narrow_what_is_started() {
    let bench = guarded(5_000).await;
    fs::create_dir(bench.base.join("project/inner")).expect("a folder");
    let agent = bench.agent(json!({"cwd": "project", "label": "inner"})).await;
    let directory = fs::read_link(format!("/proc/{}/cwd", agent.pid)).expect("its directory");
    assert_eq!(directory, bench.base.join("project/inner"));
    let answer: Value = bench.spawn(json!({"cwd": "project", "label": "narrow"})).await.expect(202);
    assert_eq!(answer["approvalMode"], "read-only");
    let command = bench.client().outcome(Running::read(&answer).command).await;
    assert_eq!(command.request["approvalMode"], "read-only", "what was decided is what is recorded");
    assert_eq!(command.decision[2].verdict, VerdictKind::Amend);
    assert_eq!(command.decision[2].reason.as_deref(), Some("as requested"));
    // A directory that a policy names must be there; naming one that is not is the policy's failure.
    fs::remove_dir_all(bench.base.join("project/inner")).expect("removed");
    let problem = bench.spawn(json!({"cwd": "project", "label": "inner"})).await.problem(503, "policy_failed");
    assert_eq!(problem["policy"], json!("guard"));
    let problem = bench.spawn(json!({"label": "deny"})).await.problem(403, "policy_denied");
    assert_eq!((&problem["policy"], &problem["detail"]), (&json!("guard"), &json!("no")));
    assert_eq!(bench.host.running().len(), 2);
}

#[tokio::test]
async fn a_policy_that_fails_is_a_refusal() {
    for (wish, deadline_ms) in [
        ("trap", 5_000),
        ("hog", 5_000),
        ("recurse", 5_000),
        ("widen", 5_000),
        ("climb", 5_000),
        ("cannot-tell", 5_000),
        ("loop", 300),
    ] {
        let bench = guarded(deadline_ms).await;
        let problem = bench.spawn(json!({"label": wish, "cwd": "project"})).await.problem(503, "policy_failed");
        assert_eq!(problem["policy"], "guard", "{wish}");
        let id = problem["commandId"].as_i64().expect("a command");
        let command = bench.client().outcome(id).await;
        assert_eq!(command.status, CommandStatus::Denied, "{wish}");
        let verdicts: Vec<VerdictKind> = command.decision.iter().map(|record| record.verdict).collect();
        assert_eq!(verdicts, [VerdictKind::Allow, VerdictKind::Allow, VerdictKind::Error], "{wish}");
        bench.assert_nothing_started().await;
        // It harmed one call, and nothing else.
        bench.client().get("/api/agents").await.expect::<Value>(200);
    }
}

#[tokio::test]
async fn a_required_policy_that_is_not_there_refuses_everything() {
    let required = |config: &mut Config| config.plugins.required = vec!["absent".to_owned()];
    let bench = Bench::start_with(TmuxChoice::Never, UP, required).await;
    let problem = bench.spawn(json!({})).await.problem(503, "policy_failed");
    assert_eq!(problem["policy"], "absent");
    bench.assert_nothing_started().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_a_policy_is_replaced_again_and_again() {
    let mut plugins = PathBuf::new();
    let server = Server::start_with(|config| {
        config.plugins.watch = false;
        plugins = directory(config);
    })
    .await;
    let client = &server.client;
    let registration = json!({"id": "far", "hostname": "far", "baseDir": "/base"});
    client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/containment");
    let manifest = fs::read_to_string(shipped.join("plugin.toml")).expect("a manifest");
    let wasm = fs::read(crate::plugins::components::component(Path::new("plugins/containment"))).expect("a component");
    // Names that begin with a dot are left alone.
    let (place, next) = (plugins.join("containment"), plugins.join(".next"));
    put(&place, &manifest, &wasm);

    let stop = Arc::new(AtomicBool::new(false));
    let mut controllers = JoinSet::new();
    for number in 0..CONTROLLERS {
        let (client, stop) = (client.clone(), stop.clone());
        controllers.spawn(async move {
            let (mut asked, ask) = (0, json!({"provider": "claude", "cwd": format!("of-{number}")}));
            while !stop.load(Ordering::Relaxed) {
                let answer = client.post("/api/orchestrators/far/spawn", ask.clone()).await;
                let answer: Value = answer.expect(202);
                assert_eq!(answer["command"]["decision"][0]["verdict"], "allow");
                asked += 1;
            }
            asked
        });
    }
    let mut generation = 0;
    for number in 0..REPLACEMENTS {
        put(&next, &manifest, &variant(&wasm, number));
        renameat_with(CWD, &next, CWD, &place, RenameFlags::EXCHANGE).expect("exchanged");
        client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
        let plugin: Value = client.get("/api/plugins/containment").await.expect(200);
        assert_eq!((&plugin["state"], &plugin["origin"]), (&json!("active"), &json!("directory")));
        let now = plugin["generation"].as_u64().expect("a number");
        assert!(now > generation, "replacement {number} did not go live: {plugin}");
        generation = now;
    }
    stop.store(true, Ordering::Relaxed);
    let asked: Vec<usize> = controllers.join_all().await;
    assert!(asked.iter().all(|asked| *asked > 0), "{asked:?}");
    assert_eq!(client.commands("status=denied").await.len(), 0);
}
