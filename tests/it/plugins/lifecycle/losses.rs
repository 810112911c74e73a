//! Policies that are not obeyed any more though nobody decided that: said until somebody looks.

use std::fs;
use std::path::PathBuf;

use agent_relay::domain::control::Outcome;
use agent_relay::plugins::{Action, Options, PluginState, Plugins};
use serde_json::{Value, json};

use crate::plugins::{Home, decide, denial, failure, guest, open, policy, provider, put, status};
use crate::server::{Server, eventually};

const LOST: &str = "policy guard is not obeyed any more, and nobody decided that: ";

/// A relay with one policy, which is active.
async fn guarded(manifest: &str) -> (Home, Plugins) {
    let home = Home::new();
    home.put("guard", manifest, &guest("misbehave"));
    let plugins = home.open().await;
    assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request");
    assert!(plugins.current().warnings().is_empty());
    (home, plugins)
}

#[track_caller]
fn is_lost(plugins: &Plugins, why: &str) {
    let set = plugins.current();
    let [warning] = set.warnings() else { panic!("{:?}", set.warnings()) };
    assert!(warning.starts_with(&format!("{LOST}{why}")), "{warning}");
}

#[tokio::test]
async fn whatever_ends_a_policy_by_itself_is_said() {
    let manifest = policy("guard", "");
    for (change, why) in [
        (None, "its folder is gone"),
        (Some(format!("enabled = false\n{manifest}")), "it is disabled by `enabled` in its plugin.toml"),
        (Some(format!("mode = 'monitor'\n{manifest}")), "its mode is monitor now"),
        (Some(format!("mode = 'off'\n{manifest}")), "its mode is off now"),
    ] {
        let (home, plugins) = guarded(&manifest).await;
        match &change {
            None => fs::remove_dir_all(home.folder("guard")).expect("removed"),
            Some(manifest) => home.put("guard", manifest, &guest("misbehave")),
        }
        plugins.reload(None).await;
        assert!(matches!(decide(&plugins, "deny").await.outcome, Outcome::Allowed(_)), "{why}");
        is_lost(&plugins, why);
        plugins.reload(None).await;
        is_lost(&plugins, why);
        // It is back.
        home.put("guard", &manifest, &guest("misbehave"));
        plugins.reload(None).await;
        assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request");
        assert!(plugins.current().warnings().is_empty(), "{:?}", plugins.current().warnings());
    }
}

#[tokio::test]
async fn a_policy_under_another_name_is_not_the_same() {
    let (home, plugins) = guarded(&policy("guard", "")).await;
    fs::rename(home.folder("guard"), home.folder("other")).expect("renamed");
    plugins.reload(None).await;
    is_lost(&plugins, "its folder is gone");
    status(&plugins, "other", PluginState::Rejected);
}

/// What breaks ends nothing: what was active goes on.
#[tokio::test]
async fn a_policy_whose_folder_breaks_is_not_lost() {
    let (home, plugins) = guarded(&policy("guard", "")).await;
    home.put("guard", "nonsense", &guest("misbehave"));
    plugins.reload(None).await;
    fs::remove_file(home.folder("guard").join("plugin.toml")).expect("removed");
    plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).0, "denied_on_request");
    assert!(plugins.current().warnings().is_empty());
}

#[tokio::test]
async fn what_somebody_decided_is_no_loss_and_what_they_acknowledge_is_none_any_more() {
    let (home, plugins) = guarded(&policy("guard", "")).await;
    let ada = Some("ada".to_owned());
    plugins.act("guard", Action::Disable, ada.clone()).await.expect("disabled");
    assert!(plugins.current().warnings().is_empty());
    plugins.act("guard", Action::Enable, ada.clone()).await.expect("enabled");
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(None).await;
    is_lost(&plugins, "");
    plugins.reload(ada.clone()).await;
    assert!(plugins.current().warnings().is_empty());
    // Whoever removes a folder and says so has decided it.
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    plugins.reload(None).await;
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(ada).await;
    assert!(plugins.current().warnings().is_empty());
}

/// While no relay runs, nobody is told.
#[tokio::test]
async fn a_policy_that_went_away_between_two_runs_is_said_at_every_start() {
    let (home, plugins) = guarded(&policy("guard", "")).await;
    home.put("sleeper", &provider("sleeper", ""), &guest("misplan"));
    plugins.reload(None).await;
    drop(plugins);
    for id in ["guard", "sleeper"] {
        fs::remove_dir_all(home.folder(id)).expect("removed");
    }
    for _ in 0..2 {
        is_lost(&home.open().await, "its folder was there when the relay last ran, and is gone");
    }
    let plugins = home.open().await;
    plugins.reload(Some("ada".to_owned())).await;
    assert!(plugins.current().warnings().is_empty());
    drop(plugins);
    assert!(home.open().await.current().warnings().is_empty());
}

#[tokio::test]
async fn what_is_required_is_shown_even_if_there_is_nothing_of_it() {
    let home = Home::new();
    home.put("guard", &policy("guard", ""), &guest("misbehave"));
    home.put("own", &format!("required = true\n{}", policy("own", "")), &guest("misbehave"));
    let required = vec!["guard".to_owned(), "ghost".to_owned()];
    let plugins = open(Options { required, ..home.options() }).await;
    for (id, state) in [("guard", PluginState::Active), ("own", PluginState::Active), ("ghost", PluginState::Rejected)]
    {
        assert!(status(&plugins, id, state).required, "{id}");
    }
    let why = "required policy ghost is not loaded: there is no active policy of this id";
    assert_eq!(failure(&decide(&plugins, "").await), why);
    // One that the configuration requires stays that when its folder goes.
    home.put("ghost", &policy("ghost", ""), &guest("misbehave"));
    plugins.reload(None).await;
    assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(None).await;
    assert!(failure(&decide(&plugins, "").await).starts_with("required policy guard is not loaded: "));
}

#[tokio::test]
async fn everybody_is_told() {
    let mut folder = PathBuf::new();
    let server = Server::start_with(|config| {
        folder = config.plugins.directory.clone().expect("a directory of plugins").join("guard");
        put(&folder, &policy("guard", ""), &guest("misbehave"));
    })
    .await;
    let client = &server.client;
    let plugin: Value = client.get("/api/plugins/guard").await.expect(200);
    assert_eq!((&plugin["state"], &plugin["required"]), (&json!("active"), &json!(false)));
    fs::remove_dir_all(&folder).expect("removed");
    let entry = eventually("it is in the activity log", async || {
        let entries = client.activity("?kind=security").await;
        entries.into_iter().find(|entry| entry.meta.as_deref() == Some("guard"))
    })
    .await;
    assert_eq!(entry.title, "Policy removed by itself");
    let health: Value = client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "warn", "{health}");
    assert!(health.to_string().contains(LOST), "{health}");
    client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
    let health: Value = client.get("/api/health").await.expect(200);
    assert!(!health.to_string().contains(LOST), "{health}");
}
