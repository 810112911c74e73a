//! Plugins that fail too often and have nothing before them: refused at once, probed, let back.

use std::time::Duration;

use agent_relay::domain::control::plan::LaunchSite;
use agent_relay::domain::control::{Context, Outcome};
use agent_relay::domain::time::Timestamp;
use agent_relay::plugins::{
    CallError, ChangeKind, Embedded, Options, Pauses, PluginChange, PluginError, PluginState, Plugins,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fickle;
use crate::plugins::plans::{request, site};
use crate::plugins::{
    CALLERS, Home, change, context, decide, denial, fail_too_often, failure, guest, open, policy, provider, put, spawn,
    status, variant,
};
use crate::server::{Client, Server, database, eventually, until};

const REFUSED: &str = "policy guard is quarantined because it failed on too many questions within a minute";

/// Makes `guard` fail until it is quarantined.
async fn wear_out(plugins: &Plugins) {
    let mut changes = plugins.changes();
    fail_too_often(plugins).await;
    change(&mut changes, ChangeKind::Quarantined, "guard").await;
}

#[tokio::test]
async fn a_policy_with_nothing_before_it_is_refused_without_being_run() {
    let home = Home::new();
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    let plugins = home.open().await;
    wear_out(&plugins).await;

    let now = status(&plugins, "guard", PluginState::Quarantined);
    let error = now.error.expect("a reason");
    assert_eq!((error.stage.as_str(), &error.digest), ("quarantine", &now.digest));
    assert!(error.reason.contains("at last: decide trapped: "), "{}", error.reason);
    assert!(error.reason.contains("it is probed after 30 s"), "{}", error.reason);
    assert!(error.at > 0);
    for _ in 0..20 {
        let decision = decide(&plugins, "").await;
        assert!(failure(&decision).starts_with(REFUSED), "{decision:?}");
        assert_eq!(decision.verdicts[0].code.as_deref(), Some("quarantined"));
    }
    let after = status(&plugins, "guard", PluginState::Quarantined);
    assert_eq!((after.calls, after.traps), (now.calls, now.traps), "nothing ran");

    // The same files again are the same plugin.
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    // Whoever reloads wants it tried now.
    let mut changes = plugins.changes();
    plugins.reload(None).await;
    change(&mut changes, ChangeKind::Activated, "guard").await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    assert_eq!(status(&plugins, "guard", PluginState::Active).generation, Some(1));
}

#[tokio::test]
async fn the_pause_over_a_probe_lets_it_back_by_itself() {
    let home = Home::new();
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    let mut options = home.options();
    options.pauses = Pauses { first: Duration::from_millis(20), longest: Duration::from_millis(50) };
    let plugins = open(options).await;
    for _ in 0..3 {
        let mut changes = plugins.changes();
        wear_out(&plugins).await;
        change(&mut changes, ChangeKind::Quarantined, "guard").await;
        change(&mut changes, ChangeKind::Activated, "guard").await;
        assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    }
    assert!(status(&plugins, "guard", PluginState::Active).error.is_none());
}

/// A policy that is well at some times only, active and left with these pauses.
async fn fickle(home: &Home, pauses: Pauses) -> Plugins {
    home.put("guard", &policy("guard", ""), &fickle::component());
    let plugins = open(Options { pauses, ..home.options() }).await;
    eventually("it is probed at a time when it is well", async || {
        plugins.reload(None).await;
        plugins.list().iter().any(|status| status.state == PluginState::Active).then_some(())
    })
    .await;
    plugins
}

/// Makes it fail until it is quarantined, whatever the time is.
async fn wear_out_fickle(plugins: &Plugins) {
    let mut changes = plugins.changes();
    for number in 0..5 {
        failure(&fickle::decide(plugins, false, number).await);
    }
    change(&mut changes, ChangeKind::Quarantined, "guard").await;
}

fn why_quarantined(plugins: &Plugins) -> String {
    status(plugins, "guard", PluginState::Quarantined).error.expect("a reason").reason
}

/// It is asked again, and answers.
async fn is_well(plugins: &Plugins) {
    let decision = fickle::decide(plugins, true, 9).await;
    assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{decision:?}");
    let active = status(plugins, "guard", PluginState::Active);
    assert_eq!((active.generation, active.error, plugins.list().len()), (Some(1), None, 1));
}

/// Every call is refused without being made, the ones it would allow included.
async fn is_refused(plugins: &Plugins) {
    let before = status(plugins, "guard", PluginState::Quarantined);
    for _ in 0..20 {
        let decision = fickle::decide(plugins, true, 9).await;
        assert!(failure(&decision).starts_with(REFUSED), "{decision:?}");
        assert_eq!(decision.verdicts[0].code.as_deref(), Some("quarantined"));
    }
    let now = status(plugins, "guard", PluginState::Quarantined);
    assert_eq!((now.calls, now.traps, now.error), (before.calls, before.traps, before.error), "nothing ran");
}

#[tokio::test]
async fn a_probe_that_fails_doubles_the_pause_and_one_that_succeeds_ends_it() {
    let home = Home::new();
    // So long that nothing but the test probes.
    let [first, longest] = [1_000, 100_000].map(Duration::from_secs);
    let plugins = fickle(&home, Pauses { first, longest }).await;
    wear_out_fickle(&plugins).await;
    let reason = why_quarantined(&plugins);
    assert!(reason.starts_with("failed five times within a minute, at last: decide trapped: "), "{reason}");
    assert!(reason.contains("it is probed after 1000 s, or at once by POST"), "{reason}");

    let mut failed = 0;
    eventually("two probes fail, one after the other", async || {
        plugins.reload(None).await;
        if plugins.list()[0].state == PluginState::Active {
            // It was well. That a call succeeded makes the next pause the first again.
            is_well(&plugins).await;
            wear_out_fickle(&plugins).await;
            failed = 0;
            return None;
        }
        failed += 1;
        let reason = why_quarantined(&plugins);
        assert!(reason.starts_with("failed too often, and when it was probed: trapped: "), "{reason}");
        let pause = format!("it is probed after {} s, or at once by POST", 1_000 << failed);
        assert!(reason.contains(&pause), "{reason:?} does not say {pause:?}");
        is_refused(&plugins).await;
        (failed == 2).then_some(())
    })
    .await;

    eventually("a probe succeeds", async || {
        plugins.reload(None).await;
        (plugins.list()[0].state == PluginState::Active).then_some(())
    })
    .await;
    is_well(&plugins).await;
    wear_out_fickle(&plugins).await;
    let reason = why_quarantined(&plugins);
    assert!(reason.contains("it is probed after 1000 s, or at once by POST"), "{reason}");
}

#[tokio::test]
async fn probes_go_on_by_themselves_until_one_succeeds() {
    let home = Home::new();
    let pauses = Pauses { first: Duration::from_millis(20), longest: Duration::from_millis(40) };
    let plugins = fickle(&home, pauses).await;
    loop {
        let mut changes = plugins.changes();
        let before = status(&plugins, "guard", PluginState::Active).traps;
        wear_out_fickle(&plugins).await;
        change(&mut changes, ChangeKind::Quarantined, "guard").await;
        let between = change(&mut changes, ChangeKind::Activated, "guard").await;
        let of_a_probe = |change: &PluginChange| {
            let reason = change.plugin.error.as_ref().map_or("", |error| &error.reason);
            change.kind == ChangeKind::Quarantined && reason.starts_with("failed too often, and when it was probed")
        };
        assert!(between.iter().all(of_a_probe), "{between:#?}");
        is_well(&plugins).await;
        if status(&plugins, "guard", PluginState::Active).traps > before + 5 {
            // More than the five calls failed: it was not well when it was first probed, and nobody
            // had to do anything for it to be probed again.
            return;
        }
    }
}

#[tokio::test]
async fn a_better_folder_ends_the_quarantine() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'old'"), &guest("misbehave"));
    let plugins = home.open().await;
    wear_out(&plugins).await;
    home.put("guard", &policy("guard", "marker = 'new'"), &guest("misbehave"));
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "new");
    assert_eq!(plugins.list().len(), 1);
}

#[tokio::test]
async fn one_in_the_binary_is_quarantined_too() {
    let home = Home::new();
    let mut options = home.options();
    let manifest: &'static str = policy("guard", "").leak();
    options.embedded = vec![Embedded { manifest, wasm: guest("misbehave").leak() }];
    let plugins = open(options).await;
    wear_out(&plugins).await;
    assert!(failure(&decide(&plugins, "").await).starts_with(REFUSED));
    plugins.reload(None).await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
}

#[tokio::test]
async fn a_provider_is_refused_as_well_and_the_others_are_not() {
    let home = Home::new();
    home.put("misplan", &provider("misplan", ""), &guest("misplan"));
    home.put("other", &provider("other", ""), &guest("misplan"));
    let plugins = home.open().await;
    let mut changes = plugins.changes();
    let set = plugins.current();
    for number in 0..5 {
        let site = LaunchSite { cwd: format!("/base/{number}"), ..site() };
        set.plan(CALLERS[number % 2], "misplan", &request("trap"), &site).await.expect_err("it traps");
    }
    change(&mut changes, ChangeKind::Quarantined, "misplan").await;
    let error = set.plan("tester", "misplan", &request(""), &site()).await.expect_err("refused");
    assert_eq!(error, PluginError::Failed { provider: "misplan".into(), error: CallError::Quarantined });
    let stop = set.stop("misplan", agent_relay::domain::control::plan::StopReason::Shutdown).await;
    assert!(matches!(stop, Err(PluginError::Failed { error: CallError::Quarantined, .. })), "{stop:?}");
    set.plan("tester", "other", &request(""), &site()).await.expect("a plan of the other");
}

/// What was active before is found on disk when the relay has been started again since.
#[tokio::test]
async fn what_was_active_before_the_start_is_gone_back_to() {
    let home = Home::new();
    home.put("guard", &policy("guard", "marker = 'old'"), &guest("misbehave"));
    let plugins = home.open().await;
    home.put("guard", &policy("guard", "marker = 'new'"), &variant(&guest("misbehave"), 1));
    plugins.reload(None).await;
    drop(plugins);

    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "new");
    let mut changes = plugins.changes();
    fail_too_often(&plugins).await;
    change(&mut changes, ChangeKind::Rejected, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "old");
    wear_out(&plugins).await;
    assert!(failure(&decide(&plugins, "").await).starts_with(REFUSED), "there is nothing before the old one");
}

/// A relay with a policy and a provider that misbehave when they are asked to, and a client that is another caller
/// than the administrator.
async fn with_second_caller() -> (Server, Client) {
    let home = Server::start().await.stop();
    let connection = rusqlite::Connection::open(database(&home)).expect("the database");
    let hash = Sha256::digest("second");
    connection
        .execute(
            "INSERT INTO tokens (name, hash, scopes, created_at) VALUES ('second', ?1, 'control', 0)",
            rusqlite::params![&hash[..]],
        )
        .expect("a token");
    drop(connection);
    let server = Server::start_in(home, |config| {
        let directory = config.plugins.directory.clone().expect("a directory of plugins");
        put(&directory.join("guard"), &policy("guard", "marker = 'no'"), &guest("misbehave"));
        put(&directory.join("misplan"), &provider("misplan", ""), &guest("misplan"));
    })
    .await;
    let other = server.client.with_token(Some("second"));
    (server, other)
}

async fn state_of(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/plugins/{id}")).await.expect::<Value>(200)["state"].clone()
}

#[tokio::test]
async fn callers_are_told_and_everything_else_goes_on() {
    let (server, other) = with_second_caller().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let mut stream = client.follow("types=plugin.updated").await;
    let spawn = |label: &str| json!({"provider": "claude", "label": label});
    for number in 0..5 {
        let client = [client, &other][number % 2];
        let ask = json!({"provider": "claude", "label": "trap", "prompt": number.to_string()});
        client.post("/api/agents/spawn", ask).await.problem(503, "policy_failed");
        let ask = json!({"label": "trap", "prompt": number.to_string()});
        client.post("/api/plugins/misplan/plan", ask).await.problem(502, "provider_failed");
    }
    for _ in 0..2 {
        let told = stream.next_event("plugin.updated").await;
        assert_eq!((told.text("change"), told.text("state")), ("quarantined", "quarantined"));
        assert_eq!(told.data["error"]["stage"], "quarantine");
    }
    for id in ["guard", "misplan"] {
        assert_eq!(state_of(client, id).await, "quarantined");
    }
    let problem = client.post("/api/agents/spawn", spawn("")).await.problem(503, "policy_failed");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("is quarantined")), "{problem}");
    let problem = client.post("/api/plugins/misplan/plan", json!({})).await.problem(502, "provider_failed");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("is quarantined")), "{problem}");
    // Neither is asked about these.
    client.post("/api/agents/ada/actions", json!({"action": "restart"})).await.expect::<Value>(202);
    client.post("/api/plugins/claude/plan", json!({})).await.expect::<Value>(200);
    let health: Value = client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "warn", "{health}");
    assert!(health.to_string().contains("plugin guard is quarantined: failed five times"), "{health}");
    let metrics = client.get("/metrics").await.text;
    for line in [
        "agent_relay_plugin_reloads_total{result=\"quarantined\",stage=\"quarantine\"}",
        "outcome=\"quarantined\"",
        "agent_relay_plugin_instantiate_seconds_bucket{plugin=\"guard\"",
        "agent_relay_plugin_call_memory_bytes_bucket{plugin=\"guard\"",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    // Tests beside this one in the same process count theirs in the same place.
    eventually("no call of it is left over", async || {
        let metrics = client.get("/metrics").await.text;
        metrics.contains("agent_relay_plugin_calls_running{plugin=\"guard\"} 0").then_some(())
    })
    .await;

    let enabled: Value = client.post("/api/plugins/guard/enable", json!({})).await.expect(202);
    assert_eq!(enabled["state"], "active");
    client.post("/api/agents/spawn", spawn("deny")).await.problem(403, "policy_denied");
    assert_eq!(state_of(client, "misplan").await, "quarantined");
    eventually("both changes are in the activity log", async || {
        let entries = client.activity("").await;
        let of =
            |title: &str| entries.iter().any(|entry| entry.title == title && entry.meta.as_deref() == Some("guard"));
        (of("Plugin quarantined") && of("Plugin activated")).then_some(())
    })
    .await;
}

/// Whoever asks decides what is asked: that must not take a plugin away from others, nor from themselves.
#[tokio::test]
async fn one_caller_takes_a_plugin_away_from_nobody() {
    let (server, other) = with_second_caller().await;
    let client = &server.client;
    let spawn = |label: &str, prompt: &str| json!({"provider": "claude", "label": label, "prompt": prompt});
    let plan = |label: &str, prompt: &str| json!({"label": label, "prompt": prompt});
    // The same again and again, then anything different; many more than are too many of different callers.
    for number in 0..12 {
        let prompt = if number < 6 { "the same".to_owned() } else { number.to_string() };
        client.post("/api/agents/spawn", spawn("trap", &prompt)).await.problem(503, "policy_failed");
        client.post("/api/plugins/misplan/plan", plan("trap", &prompt)).await.problem(502, "provider_failed");
    }
    for client in [client, &other] {
        client.post("/api/agents/spawn", spawn("deny", "")).await.problem(403, "policy_denied");
        client.post("/api/plugins/misplan/plan", plan("", "hello")).await.expect::<Value>(200);
    }
    for id in ["guard", "misplan"] {
        let plugin: Value = client.get(&format!("/api/plugins/{id}")).await.expect(200);
        assert_eq!(plugin["state"], "active", "{plugin}");
        assert_eq!(plugin["traps"], 7, "the same question is asked once: {plugin}");
    }
}

/// One that fails whatever it is asked is quarantined, though nobody but one caller uses the relay.
#[tokio::test]
async fn a_plugin_that_fails_at_everything_is_quarantined_for_one_caller() {
    let home = Home::new();
    // It is well until a time that comes soon after it was loaded.
    let mut soon = 500;
    let (plugins, ends) = loop {
        soon *= 2;
        let ends = Timestamp::now().as_ms() + soon;
        home.put("guard", &policy("guard", ""), &fickle::well_until(ends));
        let plugins = home.open().await;
        if plugins.list()[0].state == PluginState::Active {
            break (plugins, ends);
        }
    };
    until(Timestamp::from_ms(ends)).await;
    let mut changes = plugins.changes();
    let decide = async || {
        let context = Context { now: ends, ..context() };
        plugins.current().decide(spawn(""), &context).await
    };
    // The same question each time: the relay asks one of its own, and that decides.
    for _ in 0..5 {
        failure(&decide().await);
    }
    change(&mut changes, ChangeKind::Quarantined, "guard").await;
    let reason = why_quarantined(&plugins);
    assert!(reason.starts_with("failed five times within a minute, and when it was probed: "), "{reason}");
    assert!(failure(&decide().await).starts_with(REFUSED));
}
