//! Backups, and what comes back.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::shell::{Shell, typed};
use crate::program::{Serving, program};
use crate::server::Client;

#[tokio::test]
async fn what_was_backed_up_comes_back_and_nothing_after_it() {
    let shell = Shell::new();
    let client = shell.client();
    client.register_all(&["ann"]).await;
    client.say("user", "ann", "before").await;
    let plugins = shell.home.path().join(".local/share/agent-relay/plugins");
    std::fs::create_dir_all(plugins.join("mine")).expect("a folder");
    std::fs::write(plugins.join("mine/notes.txt"), "kept").expect("a file");
    std::os::unix::fs::symlink("/etc", plugins.join("link")).expect("a link");
    let position = client.get("/api/events/log?limit=1").await.expect::<Value>(200)[0]["id"].clone();

    let file = shell.home.path().join("relay.backup");
    let file = file.to_str().expect("a plain path");
    let said = shell.run(&["backup", file]);
    assert!(said.err.contains("not in it: plugins/link"), "{said:?}");
    assert!(said.done().contains("has the database and"));
    assert_eq!(std::fs::metadata(file).expect("a backup").permissions().mode() & 0o777, 0o600);
    assert!(shell.run(&["backup", file]).failed(1).contains("is there already"));
    client.say("user", "ann", "after").await;

    // Not over what is there, nor under a relay that runs.
    assert!(shell.run(&["restore", file]).failed(1).contains("in use by another agent-relay"));
    shell.serving.signal(Signal::TERM);
    let Shell { home, serving } = shell;
    serving.ended();
    let run = |args: &[&str]| typed(program(home.path()).args(args), None);
    assert!(run(&["restore", file]).failed(1).contains("is not empty"));
    assert!(run(&["restore", "/nowhere", "--force"]).failed(2).contains("no file"));
    std::fs::write(home.path().join("junk"), "not a database at all").expect("a file");
    let junk = home.path().join("junk");
    let refused = run(&["restore", junk.to_str().expect("a plain path"), "--force"]).failed(1);
    assert!(refused.contains("is no backup"), "{refused}");

    let fresh = home.path().join("fresh");
    let fresh = fresh.to_str().expect("a plain path");
    run(&["restore", file, "--data-dir", fresh]).done();
    assert_eq!(std::fs::read_to_string(home.path().join("fresh/plugins/mine/notes.txt")).expect("a file"), "kept");
    let restored = run(&["restore", file, "--force", "--json"]).json();
    let aside = restored["movedAside"].as_str().expect("a folder");
    assert!(std::path::Path::new(aside).join("relay.db").is_file(), "{restored}");
    for data_dir in [None, Some(fresh)] {
        let mut command = program(home.path());
        command.envs(data_dir.map(|dir| ("AGENT_RELAY_DATA_DIR", dir)));
        let serving = Serving::start(&mut command);
        let client = Client::new(&serving.url, None);
        assert_eq!(client.inbox("ann").await, ["before"]);
        let health: Value = client.get("/api/health").await.expect(200);
        let records = health["checks"].as_array().expect("checks").iter().any(|check| check["name"] == "records");
        assert!(!records, "nothing is missed: {health}");
        // Whoever followed the events must begin anew.
        let since = position.as_str().expect("a position");
        let log: Value = client.get(&format!("/api/events/log?since={since}")).await.expect(200);
        assert_eq!((&log[0]["event"], &log[0]["data"]["reason"]), (&json!("relay.reset"), &json!("unknown_epoch")));
        client.say("user", "ann", "again").await;
    }
}

#[test]
fn there_is_no_backup_of_nothing() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let said = typed(program(home.path()).args(["backup", "x", "--data-dir", "/nowhere"]), None).failed(1);
    assert!(said.contains("there is no database in /nowhere"), "{said}");
}
