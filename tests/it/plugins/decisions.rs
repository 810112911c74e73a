//! How the verdicts of several policies become one decision.

use agent_relay::domain::control::{
    ApprovalMode, Control, ControlKind, ControlTarget, Outcome, PolicyMode, Spawn, VerdictKind,
};
use agent_relay::plugins::{Embedded, PluginConfig, PluginState};

use super::{Home, context, decide, denial, failure, guest, open, policy, spawn, status};

fn ordered(id: &str, order: i32, settings: &str) -> String {
    format!("order = {order}\n{}", policy(id, settings))
}

fn monitored(id: &str, order: i32, settings: &str) -> String {
    format!("mode = 'monitor'\n{}", ordered(id, order, settings))
}

#[track_caller]
fn allowed(outcome: &Outcome) -> &Spawn {
    match outcome {
        Outcome::Allowed(Control::Spawn(spawn)) => spawn,
        other => panic!("{other:?} is no allowed spawn"),
    }
}

#[tokio::test]
async fn the_first_denial_wins_and_later_policies_are_not_asked() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("zeta", &ordered("zeta", 1, ""), &wasm);
    home.put("beta", &ordered("beta", 2, "decide = 'deny'\nmarker = 'beta'"), &wasm);
    home.put("alpha", &ordered("alpha", 3, "decide = 'deny'\nmarker = 'alpha'"), &wasm);
    let plugins = home.open().await;
    let decision = decide(&plugins, "").await;
    assert_eq!(denial(&decision), ("denied_on_request", "beta"));
    let asked: Vec<_> = decision.verdicts.iter().map(|record| (record.plugin.as_str(), record.verdict)).collect();
    assert_eq!(asked, [("zeta", VerdictKind::Allow), ("beta", VerdictKind::Deny)]);
    assert!(
        decision
            .verdicts
            .iter()
            .all(|record| record.micros > 0 && record.digest.len() == 64 && record.version == "1.0.0")
    );
}

#[tokio::test]
async fn policies_of_one_order_are_asked_by_id() {
    let home = Home::new();
    let wasm = guest("misbehave");
    for id in ["c", "a", "b"] {
        home.put(id, &policy(id, ""), &wasm);
    }
    let plugins = home.open().await;
    let asked: Vec<_> = decide(&plugins, "").await.verdicts.into_iter().map(|record| record.plugin).collect();
    assert_eq!(asked, ["a", "b", "c"]);
}

/// `narrow` makes a spawn read-only; `widen` then would make it open, which is more.
#[tokio::test]
async fn what_one_policy_takes_away_the_next_cannot_give_back() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("first", &ordered("first", 1, "decide = 'narrow'"), &wasm);
    home.put("second", &ordered("second", 2, "decide = 'inner'"), &wasm);
    let plugins = home.open().await;
    let decision = decide(&plugins, "").await;
    let spawn = allowed(&decision.outcome);
    assert_eq!(spawn.approval_mode, ApprovalMode::ReadOnly);
    assert_eq!(spawn.cwd.normalised, "/base/code/inner");

    home.put("third", &ordered("third", 3, "decide = 'widen'"), &wasm);
    plugins.reload(None).await;
    let decision = decide(&plugins, "").await;
    assert!(failure(&decision).contains("open allows more than read-only"), "{decision:?}");
    assert_eq!(decision.verdicts[2].verdict, VerdictKind::Error);
}

#[tokio::test]
async fn an_amendment_cannot_leave_the_directory() {
    let home = Home::new();
    home.put("liar", &policy("liar", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let decision = decide(&plugins, "climb").await;
    assert!(failure(&decision).contains("amendment.cwd: /etc is not in /base/code"), "{decision:?}");
    let decision = decide(&plugins, "widen").await;
    assert!(failure(&decision).contains("open allows more than guarded"), "{decision:?}");
}

#[tokio::test]
async fn a_monitored_policy_is_recorded_and_not_obeyed() {
    let home = Home::new();
    let wasm = guest("misbehave");
    for (order, wish) in ["deny", "trap", "narrow", "cannot-tell"].into_iter().enumerate() {
        let id = format!("watch-{order}");
        home.put(&id, &monitored(&id, i32::try_from(order).expect("small"), ""), &wasm);
        let plugins = home.open().await;
        let decision = decide(&plugins, wish).await;
        assert_eq!(allowed(&decision.outcome).approval_mode, ApprovalMode::Guarded, "{wish}");
        assert!(
            decision
                .verdicts
                .iter()
                .all(|record| record.mode == PolicyMode::Monitor && record.verdict != VerdictKind::Allow)
        );
        assert_eq!(decision.verdicts.len(), order + 1);
    }
}

#[tokio::test]
async fn a_policy_that_cannot_tell_refuses() {
    let home = Home::new();
    home.put("unsure", &policy("unsure", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let decision = decide(&plugins, "cannot-tell").await;
    assert_eq!(failure(&decision), "policy unsure cannot tell: the stars are not right");
    assert_eq!(decision.verdicts[0].code.as_deref(), Some("cannot_tell"));
    assert_eq!(status(&plugins, "unsure", PluginState::Active).traps, 0, "it is well");
}

#[tokio::test]
async fn policies_are_only_asked_about_what_they_described() {
    let home = Home::new();
    home.put("misbehave", &policy("misbehave", ""), &guest("misbehave"));
    let plugins = home.open().await;
    let Control::Spawn(Spawn { site, .. }) = spawn("") else { unreachable!("it is a spawn") };
    let everyone = || ControlTarget::EveryAgentOf(site.clone());
    let set = plugins.current();
    let restart = set.decide(Control::Restart(everyone()), &context()).await;
    assert!(restart.verdicts.is_empty());
    assert!(matches!(restart.outcome, Outcome::Allowed(control) if control.kind() == ControlKind::Restart));
    let shutdown = set.decide(Control::Shutdown(everyone()), &context()).await;
    assert_eq!(denial(&shutdown).0, "not_on_my_watch");
}

#[tokio::test]
async fn a_required_policy_that_is_not_loaded_refuses_everything() {
    let home = Home::new();
    let mut options = home.options();
    options.required = vec!["guard".into()];
    let plugins = open(options.clone()).await;
    let decision = decide(&plugins, "").await;
    assert_eq!(failure(&decision), "required policy guard is not loaded: there is no active policy of this id");
    assert_eq!(plugins.current().missing().count(), 1);

    home.put("guard", &policy("guard", "refuse = 'bad taste'"), &guest("misbehave"));
    plugins.reload(None).await;
    assert!(failure(&decide(&plugins, "").await).contains("bad taste"));

    home.put("guard", &format!("enabled = false\n{}", policy("guard", "")), &guest("misbehave"));
    plugins.reload(None).await;
    assert!(failure(&decide(&plugins, "").await).contains("it is disabled"));

    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    plugins.reload(None).await;
    allowed(&decide(&plugins, "").await.outcome);

    options.plugins.insert("guard".into(), PluginConfig { mode: Some(PolicyMode::Off), ..PluginConfig::default() });
    assert!(failure(&decide(&open(options).await, "").await).contains("required policy guard"));
}

#[tokio::test]
async fn a_manifest_can_say_that_it_is_required() {
    let home = Home::new();
    let manifest = |settings| format!("required = true\n{}", policy("guard", settings));
    home.put("guard", &manifest("refuse = 'bad taste'"), &guest("misbehave"));
    let plugins = home.open().await;
    assert!(failure(&decide(&plugins, "").await).contains("bad taste"));
    home.put("guard", &manifest(""), &guest("misbehave"));
    plugins.reload(None).await;
    allowed(&decide(&plugins, "").await.outcome);
}

#[tokio::test]
async fn the_operator_overrules_the_manifest() {
    let home = Home::new();
    home.put("misbehave", &policy("misbehave", "marker = 'manifest'\ndecide = 'deny'"), &guest("misbehave"));
    let mut options = home.options();
    let config = "[settings]\nmarker = 'operator'\n[limits]\nmemory_mb = 7";
    options.plugins.insert("misbehave".into(), toml::from_str(config).expect("a good configuration"));
    let plugins = open(options).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "operator");
    let limits = status(&plugins, "misbehave", PluginState::Active).limits.expect("known");
    assert_eq!((limits.memory_mb, limits.deadline_ms), (7, 5000));
}

#[tokio::test]
async fn a_built_in_policy_gives_way_to_a_folder_of_its_id() {
    let home = Home::new();
    let wasm: &'static [u8] = guest("misbehave").leak();
    let manifest: &'static str = policy("guard", "decide = 'deny'\nmarker = 'built-in'").leak();
    let mut options = home.options();
    options.embedded = vec![Embedded { manifest, wasm }];
    let plugins = open(options).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "built-in");

    // A bad folder changes nothing but is listed beside it.
    home.put("guard", "nonsense", wasm);
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "built-in");
    let both: Vec<_> = plugins.list().iter().map(|status| (status.origin, status.state)).collect();
    assert_eq!(
        serde_json::to_value(both).expect("JSON"),
        serde_json::json!([["built-in", "active"], ["directory", "rejected"]])
    );

    // A folder cannot turn a policy into something else and so get rid of it.
    home.put("guard", "id = 'guard'\nkind = 'provider'", &guest("misplan"));
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "built-in");

    home.put("guard", &policy("guard", "decide = 'deny'\nmarker = 'folder'"), wasm);
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "folder");
    assert_eq!(plugins.list().len(), 1);

    std::fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "").await).1, "built-in");
}
