//! `plugin replay`: what was decided is asked again, of the same component and of a changed one.

use serde_json::{Value, json};

use super::{Said, plugin, plugin_with, shipped};
use crate::server::Server;

/// Runs a command beside a relay that lives on this test's runtime.
async fn beside(home: &tempfile::TempDir, args: Vec<String>) -> Said {
    let home = home.path().to_owned();
    let run = move || plugin(&home, &args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("the program")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn the_same_component_decides_the_same_and_a_changed_one_shows_what_it_changes() {
    let server = Server::start().await;
    let client = &server.client;
    let far = json!({"id": "far", "hostname": "far", "baseDir": "/base"});
    client.post("/api/orchestrators", far).await.expect::<Value>(201);
    let spawn = async |mode: &str, cwd: &str| {
        let body = json!({"provider": "claude", "approvalMode": mode, "cwd": cwd});
        client.post("/api/orchestrators/far/spawn", body).await
    };
    for mode in ["open", "guarded", "read-only", "open"] {
        assert!(spawn(mode, "/base/code").await.status < 300);
    }
    spawn("open", "/elsewhere").await.problem(403, "policy_denied");
    let act = json!({"action": "shutdown", "all": true});
    assert!(client.post("/api/orchestrators/far/actions", act).await.status < 300);

    let decisions: Vec<Value> = client.get("/api/plugins/decisions").await.expect(200);
    assert_eq!(decisions.len(), 6);
    assert_eq!(decisions[0]["kind"], "shutdown", "newest first");
    assert_eq!(decisions[5]["question"]["control"]["spawn"]["approvalMode"], "open");
    assert_eq!(decisions[5]["question"]["context"]["caller"]["administrator"], true);
    let before = decisions[1]["commandId"].as_i64().expect("an id");
    let page: Vec<Value> = client.get(&format!("/api/plugins/decisions?limit=2&before={before}")).await.expect(200);
    assert_eq!(page, decisions[2..4]);

    let home = tempfile::tempdir().expect("a directory");
    for id in ["containment", "control-guard"] {
        let folder = shipped(&home, id);
        let said = beside(&home, words(&["replay", &folder, "--url", &client.base])).await;
        assert_eq!(said.exits(0).out, "6 decisions: 0 would change\n", "{id}");
    }

    let folder = shipped(&home, "control-guard");
    let narrower = r#"{"max_approval_mode": "guarded"}"#;
    let mut args = words(&["replay", &folder, "--url", &client.base, "--settings", narrower, "--json"]);
    let replayed = beside(&home, args.clone()).await;
    let replayed = replayed.exits(1).json();
    // The fifth was refused by another policy before this one would have been asked.
    let changed: Vec<&Value> =
        replayed["changes"].as_array().expect("a list").iter().map(|change| &change["commandId"]).collect();
    assert_eq!(changed, [&decisions[2]["commandId"], &decisions[5]["commandId"]]);
    let change = &replayed["changes"][0];
    assert_eq!((&change["recorded"]["verdict"], &change["candidate"]["verdict"]), (&json!("allow"), &json!("deny")));
    args.push("--exit-zero".to_owned());
    beside(&home, args).await.exits(0);
}

#[tokio::test]
async fn what_an_earlier_policy_narrowed_is_asked_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let plugins = directory.path().join("plugins");
    let guard = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/control-guard");
    let wasm = std::fs::read(guard.join("plugin.wasm")).expect("a component");
    let settings = "max_approval_mode = 'guarded'\non_excess = 'amend'";
    let manifest = format!(
        "id = 'control-guard'\nkind = 'policy'\norder = 5\n[limits]\ndeadline_ms = 5000\n[settings]\n{settings}\n"
    );
    crate::plugins::make_directory(&plugins);
    crate::plugins::put(&plugins.join("control-guard"), &manifest, &wasm);
    let server = Server::start_with(|config| config.plugins.directory = Some(plugins.clone())).await;
    let client = &server.client;
    let far = json!({"id": "far", "hostname": "far", "baseDir": "/base"});
    client.post("/api/orchestrators", far).await.expect::<Value>(201);
    let body = json!({"provider": "claude", "approvalMode": "open", "cwd": "/base/code"});
    assert!(client.post("/api/orchestrators/far/spawn", body).await.status < 300);
    let decisions: Vec<Value> = client.get("/api/plugins/decisions").await.expect(200);
    let question = &decisions[0]["question"];
    assert_eq!(question["control"]["spawn"]["approvalMode"], "open");
    assert_eq!(question["narrowed"][0]["by"], "control-guard");
    assert_eq!(question["narrowed"][0]["control"]["spawn"]["approvalMode"], "guarded");

    let home = tempfile::tempdir().expect("a directory");
    let containment = shipped(&home, "containment");
    beside(&home, words(&["replay", &containment, "--url", &client.base])).await.exits(0);
    let guard = plugins.join("control-guard").to_str().expect("text").to_owned();
    let said = beside(&home, words(&["replay", &guard, "--url", &client.base])).await;
    assert_eq!(said.exits(0).out, "1 decisions: 0 would change\n");
    // Without its settings it would let the mode be.
    let said = beside(
        &home,
        words(&["replay", &guard, "--url", &client.base, "--settings", r#"{"max_approval_mode": "open"}"#]),
    )
    .await;
    assert!(said.exits(1).out.contains("amend guarded"), "{}", said.out);
}

#[tokio::test]
async fn a_running_relay_is_asked_and_told() {
    let server = Server::start().await;
    let url = server.client.base.clone();
    let home = tempfile::tempdir().expect("a directory");
    let said = beside(&home, words(&["reload", "--url", &url])).await;
    assert!(said.exits(0).out.contains("control-guard"), "{}", said.out);
    let said = beside(&home, words(&["evaluate", "--kind", "spawn", "--provider", "claude", "--url", &url])).await;
    assert!(said.exits(0).out.ends_with("allowed\n"), "{}", said.out);
    let at = home.path().to_owned();
    let asked = json!({"kind": "spawn", "provider": "claude", "cwd": "/"}).to_string();
    let of_thread = url.clone();
    let said =
        tokio::task::spawn_blocking(move || plugin_with(&at, &["evaluate", "--json", "--url", &of_thread], &asked));
    assert_eq!(said.await.expect("the program").exits(1).json()["outcome"], "denied");
    // As somebody else: an agent may start nobody.
    server.client.register_all(&["ada"]).await;
    let spawn = ["evaluate", "--kind", "spawn", "--provider", "claude", "--url", &url];
    let said = beside(&home, words(&[&spawn[..], &["--as", "ada", "--at", "2026-01-31T09:00:00Z"]].concat())).await;
    assert!(said.exits(1).out.contains("agent_may_not_control"), "{} {}", said.out, said.err);
    let said =
        beside(&home, words(&[&spawn[..], &["--as", r#"{"name": "ops", "scopes": ["control"]}"#]].concat())).await;
    assert!(said.exits(0).out.contains("mode guarded\nallowed"), "{} {}", said.out, said.err);
    let said = beside(&home, words(&[&spawn[..], &["--as", "nobody"]].concat())).await;
    assert!(said.exits(1).err.contains("no token and no agent is called"), "{}", said.err);
    beside(&home, words(&[&spawn[..], &["--at", "yesterday"]].concat())).await.exits(2);
    beside(&home, words(&["rollback", "No/Such", "--url", &url])).await.exits(2);
    let unknown = beside(&home, words(&["allow", "nothing", "--url", &url])).await;
    assert!(unknown.exits(1).err.contains("nothing of nothing waits to be allowed"), "{}", unknown.err);
}
