//! Replacing plugins while they are in use.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agent_relay::domain::control::Outcome;
use agent_relay::plugins::{Action, ChangeKind, PluginState};

use crate::plugins::{
    Home, change, context, decide, denial, fail_too_often, failure, guest, policy, put, spawn, status, variant,
};

/// 300 replacements, each by renaming a whole folder into place, every third of them a bad one, under
/// calls that never pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_plugins_are_replaced() {
    const REPLACEMENTS: u64 = 300;
    let home = Home::new();
    let wasm = guest("misbehave");
    let versions = [variant(&wasm, 0), variant(&wasm, 1)];
    home.put("guard", &policy("guard", ""), &versions[0]);
    let plugins = home.open().await;

    let done = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (plugins, done, calls) = (plugins.clone(), Arc::clone(&done), Arc::clone(&calls));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let decision = plugins.current().decide(spawn(""), &context()).await;
                    assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{decision:?}");
                    assert_eq!(decision.verdicts.len(), 1);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let next = home.plugins().join(".next");
    let old = home.plugins().join(".old");
    let mut generation = 1;
    for replacement in 1..=REPLACEMENTS {
        let good = &versions[usize::try_from(generation % 2).expect("0 or 1")];
        let bad = replacement % 3 == 0;
        match (bad, replacement % 4) {
            (false, _) => put(&next, &policy("guard", ""), good),
            (true, 0) => put(&next, &policy("guard", "decide = 'trap'"), good),
            (true, 1) => put(&next, &policy("guard", ""), &good[..good.len() / 2]),
            (true, 2) => put(&next, "id = 'guard'", good),
            (true, _) => put(&next, &policy("guard", "refuse = 'never'"), good),
        }
        fs::rename(home.folder("guard"), &old).expect("moved away");
        fs::rename(&next, home.folder("guard")).expect("moved into place");
        fs::remove_dir_all(&old).expect("removed");
        plugins.reload(None).await;
        if bad {
            status(&plugins, "guard", PluginState::Rejected);
        } else {
            generation += 1;
        }
        assert_eq!(status(&plugins, "guard", PluginState::Active).generation, Some(generation));
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    assert!(calls.load(Ordering::Relaxed) > REPLACEMENTS, "calls went on all the time");
}

#[tokio::test]
async fn a_request_keeps_the_set_it_took() {
    let home = Home::new();
    home.put("guard", &policy("guard", "decide = 'deny'\nmarker = 'old'"), &guest("misbehave"));
    let plugins = home.open().await;
    let taken = plugins.current();
    home.put("guard", &policy("guard", "decide = 'deny'\nmarker = 'new'"), &guest("misbehave"));
    plugins.reload(None).await;
    assert_eq!(denial(&taken.decide(spawn(""), &context()).await).1, "old");
    assert_eq!(denial(&decide(&plugins, "").await).1, "new");
}

#[tokio::test]
async fn disabling_takes_a_plugin_out_and_enabling_brings_it_back() {
    let home = Home::new();
    let off = format!("enabled = false\n{}", policy("guard", "decide = 'deny'"));
    home.put("guard", &off, &guest("misbehave"));
    let plugins = home.open().await;
    status(&plugins, "guard", PluginState::Disabled);
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    home.put("guard", &policy("guard", "decide = 'deny'"), &guest("misbehave"));
    plugins.reload(None).await;
    denial(&decide(&plugins, "").await);
    home.put("guard", &off, &guest("misbehave"));
    plugins.reload(None).await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
}

#[tokio::test]
async fn a_plugin_that_fails_too_often_is_put_back() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &policy("guard", "marker = 'old'"), &wasm);
    let plugins = home.open().await;
    let old = status(&plugins, "guard", PluginState::Active);
    home.put("guard", &policy("guard", "marker = 'new'"), &variant(&wasm, 1));
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "new");

    let mut changes = plugins.changes();
    fail_too_often(&plugins).await;
    change(&mut changes, ChangeKind::Rejected, "guard").await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "old");
    let now = status(&plugins, "guard", PluginState::Active);
    assert_eq!((now.digest, now.generation), (old.digest, old.generation));
    let error = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "quarantine");

    // There is nothing before the old one, so it stays although it fails.
    for _ in 0..6 {
        failure(&decide(&plugins, "trap").await);
    }
    // Neither a reload nor a start brings back what is known to fail.
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "old");
    drop(plugins);
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "old");
    let again = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert_eq!((again.stage, again.reason), (error.stage, error.reason));

    // Whoever enables it wants the new one again.
    let enabled = plugins.act("guard", Action::Enable, Some("ada".to_owned())).await.expect("enabled");
    assert_eq!((enabled.state, enabled.generation), (PluginState::Active, Some(2)));
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "new");
}
