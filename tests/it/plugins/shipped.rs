//! The plugins that ship, as built components under the manifests beside them.

use std::fs;
use std::path::Path;

use agent_relay::domain::control::plan::{EnvValue, LaunchSite, SpawnRequest, StopReason};
use agent_relay::domain::control::{ApprovalMode, CallerFacts, Context, Control, Outcome, Spawn};
use agent_relay::domain::text::path::PathFacts;
use agent_relay::plugins::{PluginState, Plugins};

use crate::server::SHIPPED;

use super::{Home, context, denial, spawn, status};

async fn opened() -> (Home, Plugins) {
    let home = Home::new();
    for id in SHIPPED {
        let folder = Path::new("plugins").join(id);
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder).join("plugin.toml");
        let manifest = fs::read_to_string(manifest).expect("a shipped manifest");
        let wasm = fs::read(crate::plugins::components::component(&folder)).expect("a built component");
        // The deadline is for machines that do little else.
        home.put(id, &manifest.replace("deadline_ms = 100", "deadline_ms = 5000"), &wasm);
    }
    let plugins = home.open().await;
    (home, plugins)
}

#[tokio::test]
async fn every_one_goes_live_and_imports_nothing_but_its_host() {
    let (_home, plugins) = opened().await;
    for id in SHIPPED {
        let status = status(&plugins, id, PluginState::Active);
        assert_eq!(status.error, None, "{id}");
    }
    assert_eq!(plugins.current().provider_ids(), ["claude", "codex"]);
}

#[tokio::test]
async fn policies_keep_spawns_inside_and_agents_from_control() {
    let (_home, plugins) = opened().await;
    let set = plugins.current();
    let inside = set.decide(spawn("one"), &context()).await;
    assert!(matches!(inside.outcome, Outcome::Allowed(_)), "{inside:?}");
    let asked: Vec<&str> = inside.verdicts.iter().map(|verdict| verdict.plugin.as_str()).collect();
    assert_eq!(asked, ["containment", "control-guard"]);

    let Control::Spawn(wish) = spawn("two") else { unreachable!("a spawn is a spawn") };
    let outside = PathFacts { given: "../base-evil".into(), normalised: "/base-evil".into(), resolved: None };
    let decision = set.decide(Control::Spawn(Spawn { cwd: outside, ..wish }), &context()).await;
    assert_eq!(denial(&decision), ("cwd_outside_base", "cwd must be within orchestrator base directory: /base"));

    let caller = CallerFacts {
        name: "session".into(),
        agent_id: Some("a1".into()),
        administrator: false,
        scopes: vec!["agent".into()],
        loopback: true,
    };
    let decision = set.decide(spawn("three"), &Context { caller, ..context() }).await;
    assert_eq!(denial(&decision).0, "agent_may_not_control");
}

#[tokio::test]
async fn plans_of_every_mode_stay_within_the_manifest() {
    let (_home, plugins) = opened().await;
    let set = plugins.current();
    for provider in ["claude", "codex"] {
        for mode in [ApprovalMode::Open, ApprovalMode::Guarded, ApprovalMode::ReadOnly] {
            for root in [false, true] {
                let plan = set.plan("tester", provider, &request(mode), &site(root)).await.expect("a good plan");
                let plan = plan.plan();
                assert_eq!(plan.program, provider);
                assert_eq!(plan.args[plan.args.len() - 2..], ["--", "-v --help"]);
                assert!(plan.env.iter().any(|variable| variable.value == EnvValue::FromHost("HTTPS_PROXY".into())));
            }
        }
        let stop = set.stop(provider, StopReason::Shutdown).await.expect("a way to stop");
        assert!(stop.keys.contains(&"C-c".to_owned()), "{stop:?}");
    }
}

fn request(approval_mode: ApprovalMode) -> SpawnRequest {
    SpawnRequest {
        agent_id: "a1".into(),
        approval_mode,
        label: Some("reviewer".into()),
        prompt: Some("-v --help".into()),
        resume: None,
        conversation: None,
    }
}

fn site(root: bool) -> LaunchSite {
    LaunchSite {
        cwd: "/base/code".into(),
        home: "/home/me".into(),
        hostname: "here".into(),
        session_dir: "/run/session".into(),
        relay_url: "http://127.0.0.1:1".into(),
        token_variable: "AGENT_RELAY_TOKEN".into(),
        mcp_url: Some("http://127.0.0.1:1/mcp".into()),
        host_variables: vec!["HTTPS_PROXY".into(), "SECRET".into()],
        root,
    }
}
