//! What operators do to a plugin, and that it holds across a restart.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use agent_relay::domain::control::Outcome;
use agent_relay::plugins::{Action, ActionError, ChangeKind, Embedded, PluginConfig, PluginState, Plugins};
use serde_json::{Value, json};

use crate::plugins::{Home, change, decide, denial, failure, guest, open, policy, put, status, variant};
use crate::server::Server;

fn marked(marker: &str) -> String {
    policy("guard", &format!("marker = '{marker}'"))
}

/// What `guard` says, or nothing when nobody asks it.
async fn says(plugins: &Plugins) -> Option<String> {
    let decision = decide(plugins, "deny").await;
    match decision.outcome {
        Outcome::Allowed(_) => None,
        _ => Some(denial(&decision).1.to_owned()),
    }
}

async fn is(plugins: &Plugins, marker: &str) {
    assert_eq!(says(plugins).await.as_deref(), Some(marker), "{:#?}", plugins.list());
}

/// A home in which `guard` was each of these, one after the other.
async fn through(markers: &[&str]) -> (Home, Plugins) {
    let home = Home::new();
    let plugins = home.open().await;
    for marker in markers {
        home.put("guard", &marked(marker), &guest("misbehave"));
        plugins.reload(None).await;
        is(&plugins, marker).await;
    }
    (home, plugins)
}

async fn refused(plugins: &Plugins, id: &str, action: Action) -> String {
    match plugins.act(id, action, None).await {
        Err(ActionError::Conflict(reason)) => reason,
        other => panic!("{other:?} is no conflict"),
    }
}

async fn act(plugins: &Plugins, action: Action) -> PluginState {
    plugins.act("guard", action, None).await.expect("done").state
}

#[tokio::test]
async fn going_back_holds_until_the_folder_changes() {
    let (home, plugins) = through(&["one", "two"]).await;
    let mut changes = plugins.changes();
    assert_eq!(act(&plugins, Action::RollBack).await, PluginState::Active);
    is(&plugins, "one").await;
    change(&mut changes, ChangeKind::RolledBack, "guard").await;
    let aside = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert_eq!(aside.stage.as_str(), "rollback");
    assert!(aside.reason.contains("POST /api/plugins/guard/enable"), "{}", aside.reason);

    plugins.reload(None).await;
    is(&plugins, "one").await;
    // A folder that is written again without a change is the one that was set aside.
    home.put("guard", &marked("two"), &guest("misbehave"));
    plugins.reload(None).await;
    is(&plugins, "one").await;
    drop(plugins);

    let plugins = home.open().await;
    is(&plugins, "one").await;
    status(&plugins, "guard", PluginState::Rejected);
    plugins.reload(None).await;
    is(&plugins, "one").await;
    // A bad change leaves what was gone back to, even across a start.
    home.put("guard", "nonsense", b"nonsense");
    plugins.reload(None).await;
    is(&plugins, "one").await;
    drop(plugins);
    let plugins = home.open().await;
    is(&plugins, "one").await;

    home.put("guard", &marked("three"), &guest("misbehave"));
    plugins.reload(None).await;
    is(&plugins, "three").await;
    assert_eq!(plugins.list().len(), 1);
    // What was set aside may be loaded as any other change, now that this one was.
    home.put("guard", &marked("two"), &guest("misbehave"));
    plugins.reload(None).await;
    is(&plugins, "two").await;
}

#[tokio::test]
async fn what_was_set_aside_comes_back_by_enabling_it() {
    let (home, plugins) = through(&["one", "two"]).await;
    act(&plugins, Action::RollBack).await;
    drop(plugins);
    let plugins = home.open().await;
    is(&plugins, "one").await;
    assert_eq!(act(&plugins, Action::Enable).await, PluginState::Active);
    is(&plugins, "two").await;
    assert_eq!(plugins.list().len(), 1);
    drop(plugins);
    is(&home.open().await, "two").await;
}

#[tokio::test]
async fn five_generations_back_and_no_further() {
    let markers = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let (home, plugins) = through(&markers).await;
    drop(plugins);
    let plugins = home.open().await;
    for earlier in ["7", "6", "5", "4", "3"] {
        act(&plugins, Action::RollBack).await;
        is(&plugins, earlier).await;
    }
    let reason = refused(&plugins, "guard", Action::RollBack).await;
    assert_eq!(reason, "plugin guard has nothing to go back to; put the files you want into its folder");
    is(&plugins, "3").await;
    // Five before the latest: six manifests, and the component that is the same in all of them.
    let kept = fs::read_dir(home.state().join("generations")).expect("listed");
    assert_eq!(kept.count(), 7);
    let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(home.state()), mode(home.state().join("choices.json"))), (0o700, 0o600));
}

#[tokio::test]
async fn a_generation_that_was_damaged_on_disk_is_passed_over() {
    let (home, plugins) = through(&["one", "two", "three"]).await;
    for entry in fs::read_dir(home.state().join("generations")).expect("listed") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.contains("'two'") {
            fs::write(&path, text.replace("two", "evil")).expect("written");
        }
    }
    act(&plugins, Action::RollBack).await;
    is(&plugins, "one").await;
    let reason = refused(&plugins, "guard", Action::RollBack).await;
    assert!(reason.contains("nothing to go back to"), "{reason}");
}

#[tokio::test]
async fn a_folder_over_one_in_the_binary_gives_way_to_it() {
    let home = Home::new();
    let mut options = home.options();
    let wasm: &'static [u8] = guest("misbehave").leak();
    options.embedded = vec![Embedded { manifest: marked("built-in").leak(), wasm }];
    let plugins = open(options.clone()).await;
    let reason = refused(&plugins, "guard", Action::RollBack).await;
    assert!(reason.contains("in the relay's binary") && reason.contains("put a folder guard"), "{reason}");
    home.put("guard", &marked("folder"), wasm);
    plugins.reload(None).await;
    is(&plugins, "folder").await;
    act(&plugins, Action::RollBack).await;
    is(&plugins, "built-in").await;
    plugins.reload(None).await;
    is(&plugins, "built-in").await;
    drop(plugins);
    let plugins = open(options).await;
    is(&plugins, "built-in").await;
    act(&plugins, Action::Enable).await;
    is(&plugins, "folder").await;
    // Disabled is disabled, in the folder and in the binary.
    assert_eq!(act(&plugins, Action::Disable).await, PluginState::Disabled);
    assert_eq!(says(&plugins).await, None);
    assert_eq!(plugins.list().len(), 1);
}

#[tokio::test]
async fn disabling_holds_until_it_is_enabled() {
    let (home, plugins) = through(&["one"]).await;
    home.put("other", &policy("other", "marker = 'other'"), &variant(&guest("misbehave"), 1));
    plugins.reload(None).await;
    assert_eq!(act(&plugins, Action::Disable).await, PluginState::Disabled);
    assert_eq!(act(&plugins, Action::Disable).await, PluginState::Disabled, "once more is no mistake");
    is(&plugins, "other").await;
    let error = status(&plugins, "guard", PluginState::Disabled).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "disabled");
    assert_eq!(error.reason, "it is disabled by the operator; POST /api/plugins/guard/enable ends that");
    let reason = refused(&plugins, "guard", Action::RollBack).await;
    assert!(reason.contains("POST /api/plugins/guard/enable"), "{reason}");

    // Neither a reload nor other files nor a start bring it back, nor a folder that went and came.
    plugins.reload(None).await;
    home.put("guard", &marked("two"), &guest("misbehave"));
    plugins.reload(None).await;
    is(&plugins, "other").await;
    drop(plugins);
    let plugins = home.open().await;
    is(&plugins, "other").await;
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(None).await;
    home.put("guard", &marked("two"), &guest("misbehave"));
    plugins.reload(None).await;
    is(&plugins, "other").await;

    assert_eq!(act(&plugins, Action::Enable).await, PluginState::Active);
    is(&plugins, "two").await;
    drop(plugins);
    is(&home.open().await, "two").await;
}

#[tokio::test]
async fn what_was_gone_back_to_is_what_comes_back_after_disabling() {
    let (home, plugins) = through(&["one", "two"]).await;
    act(&plugins, Action::RollBack).await;
    act(&plugins, Action::Disable).await;
    drop(plugins);
    let plugins = home.open().await;
    assert_eq!(says(&plugins).await, None);
    act(&plugins, Action::Enable).await;
    is(&plugins, "one").await;
    act(&plugins, Action::Enable).await;
    is(&plugins, "two").await;
}

#[tokio::test]
async fn enabling_is_no_way_around_the_files() {
    let home = Home::new();
    home.put("guard", &format!("enabled = false\n{}", marked("one")), &guest("misbehave"));
    let plugins = home.open().await;
    let reason = refused(&plugins, "guard", Action::Enable).await;
    assert!(reason.contains("`enabled` in its plugin.toml"), "{reason}");
    assert_eq!(says(&plugins).await, None);
    drop(plugins);

    home.put("guard", &marked("one"), &guest("misbehave"));
    let mut options = home.options();
    let off = PluginConfig { enabled: Some(false), ..PluginConfig::default() };
    options.plugins.insert("guard".into(), off);
    let plugins = open(options).await;
    let reason = refused(&plugins, "guard", Action::Enable).await;
    assert!(reason.contains("[plugin.guard] in the relay's configuration"), "{reason}");
}

#[tokio::test]
async fn a_required_policy_that_is_disabled_refuses_everything() {
    let (home, plugins) = through(&["one"]).await;
    drop(plugins);
    let mut options = home.options();
    options.required = vec!["guard".into()];
    let plugins = open(options).await;
    act(&plugins, Action::Disable).await;
    let decision = decide(&plugins, "").await;
    assert!(failure(&decision).contains("required policy guard is not loaded: it is disabled by the operator"));
}

/// A start with a broken folder must not be a way to get rid of a policy.
#[tokio::test]
async fn a_folder_that_is_broken_at_the_start_gives_way_to_its_predecessor() {
    let (home, plugins) = through(&["one", "two"]).await;
    drop(plugins);
    fs::write(home.folder("guard").join("plugin.wasm"), "garbage").expect("written");
    let plugins = home.open().await;
    is(&plugins, "two").await;
    let error = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
    assert_eq!(error.stage.as_str(), "compile");
    act(&plugins, Action::RollBack).await;
    is(&plugins, "one").await;
    fs::remove_dir_all(home.folder("guard")).expect("removed");
    plugins.reload(None).await;
    assert!(plugins.list().is_empty(), "a folder that is gone is gone");
    drop(plugins);
    assert!(home.open().await.list().is_empty());
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_can_be() {
    let home = Home::new();
    fs::write(home.state(), "a file where the directory should be").expect("written");
    home.put("guard", &marked("one"), &guest("misbehave"));
    let plugins = home.open().await;
    is(&plugins, "one").await;
    let error = plugins.act("guard", Action::Disable, None).await.expect_err("it cannot be kept");
    assert!(matches!(&error, ActionError::NotKept(_)), "{error:?}");
    is(&plugins, "one").await;
    assert_eq!(plugins.current().warnings().len(), 1);
    assert!(matches!(plugins.act("nobody", Action::Disable, None).await, Err(ActionError::Unknown)));
}

#[tokio::test]
async fn a_broken_file_of_choices_is_said_and_stops_nothing() {
    let server = Server::start_with(|config| {
        let directory = config.plugins.directory.clone().expect("a directory of plugins");
        put(&directory.join("guard"), &marked("no"), &guest("misbehave"));
    })
    .await;
    let disabled: Value = server.client.post("/api/plugins/guard/disable", json!({})).await.expect(202);
    assert_eq!(disabled["state"], "disabled");
    let home = server.stop();
    let state = home.path().join("data/plugin-state");
    fs::write(state.join("choices.json"), "{\"version\": 1, \"plugins\": {\"guard\": {\"disab").expect("cut short");

    let server = Server::start_in(home, |_| {}).await;
    let health: Value = server.client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "warn", "{health}");
    assert!(health.to_string().contains("plugins that were disabled or rolled back may be active"), "{health}");
    let guard: Value = server.client.get("/api/plugins/guard").await.expect(200);
    assert_eq!(guard["state"], "active");
    // It is said at every start, until somebody has looked.
    let server = Server::start_in(server.stop(), |_| {}).await;
    let health: Value = server.client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "warn", "{health}");
    let home = server.stop();
    fs::remove_file(home.path().join("data/plugin-state/choices.broken.json")).expect("moved aside");
    let server = Server::start_in(home, |_| {}).await;
    let health: Value = server.client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "ok", "{health}");
}

#[tokio::test]
async fn operators_act_over_http_and_nobody_else() {
    let mut directory = None;
    let server = Server::start_with_token("ar_the-administrator").await;
    let nobody = server.client.with_token(None);
    for action in ["rollback", "enable", "disable"] {
        nobody.post(&format!("/api/plugins/claude/{action}"), json!({})).await.problem(401, "unauthorized");
        server.client.post(&format!("/api/plugins/nothing/{action}"), json!({})).await.problem(404, "not_found");
    }
    nobody.post("/api/plugins/claude/allow", json!({"digest": "x"})).await.problem(401, "unauthorized");
    drop(server);

    let server = Server::start_with(|config| directory.clone_from(&config.plugins.directory)).await;
    let client = &server.client;
    let folder = directory.expect("a directory of plugins").join("guard");
    for marker in ["one", "two"] {
        put(&folder, &marked(marker), &guest("misbehave"));
        client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
    }
    let spawn = json!({"provider": "claude", "label": "deny"});
    let problem = client.post("/api/agents/spawn", spawn.clone()).await.problem(403, "policy_denied");
    assert_eq!(problem["detail"], "two");
    let back: Value = client.post("/api/plugins/guard/rollback", json!({})).await.expect(202);
    assert_eq!((&back["state"], &back["origin"]), (&json!("active"), &json!("directory")));
    let problem = client.post("/api/agents/spawn", spawn.clone()).await.problem(403, "policy_denied");
    assert_eq!(problem["detail"], "one");
    let problem = client.post("/api/plugins/guard/rollback", json!({})).await.problem(409, "plugin_state");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("nothing to go back to")), "{problem}");
    let problem = client.post("/api/plugins/guard/allow", json!({"digest": "0"})).await.problem(409, "plugin_state");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("waits to be allowed")), "{problem}");
    client.post("/api/plugins/guard/allow", json!({})).await.problem(400, "invalid_request");

    let server = Server::start_in(server.stop(), |_| {}).await;
    let problem = server.client.post("/api/agents/spawn", spawn).await.problem(403, "policy_denied");
    assert_eq!(problem["detail"], "one");
}

/// Spoils every copy that the relay keeps of earlier generations.
fn spoil_copies(home: &Home) {
    for copy in fs::read_dir(home.state().join("generations")).expect("listed") {
        fs::write(copy.expect("an entry").path(), "spoilt").expect("written");
    }
}

/// Denied is what remains: a policy that has to be there is missed even when all that is known of it is
/// what was remembered.
#[tokio::test]
async fn a_required_policy_that_cannot_come_back_refuses_everything() {
    let required = |marker: &str| format!("required = true\n{}", marked(marker));
    for (spoil, why) in [("rolled back", "set aside"), ("unreadable", "plugin.toml")] {
        let home = Home::new();
        let plugins = home.open().await;
        for marker in ["one", "two"] {
            home.put("guard", &required(marker), &guest("misbehave"));
            plugins.reload(None).await;
        }
        if spoil == "rolled back" {
            assert_eq!(act(&plugins, Action::RollBack).await, PluginState::Active);
        }
        drop(plugins);
        spoil_copies(&home);
        if spoil == "unreadable" {
            home.put("guard", "this is no manifest", &guest("misbehave"));
        }
        let plugins = home.open().await;
        let decision = decide(&plugins, "").await;
        let reason = failure(&decision);
        assert!(reason.starts_with("required policy guard is not loaded") && reason.contains(why), "{spoil}: {reason}");
        // An operator who disables it has said that it need not be there.
        act(&plugins, Action::Disable).await;
        assert!(matches!(decide(&plugins, "").await.outcome, Outcome::Allowed(_)));
    }
}
