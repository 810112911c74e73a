//! Tasks, what waits for a person, and what happened, from the command line.

use serde_json::{Value, json};

use super::shell::Shell;

#[tokio::test]
async fn a_task_is_asked_for_taken_and_done() {
    let shell = Shell::new();
    for id in ["bob", "carol"] {
        shell.client().register(json!({"id": id, "capabilities": ["review"]})).await;
    }
    assert_eq!(shell.run(&["tasks"]).done(), "no tasks\n");
    let new = ["tasks", "new", "Review #7", "--target", "cap:review", "--body", "The whole of it.", "--as", "ann"];
    assert_eq!(shell.run(&new).done(), "task 1 is open: Review #7\n");
    let after = shell.run(&["tasks", "new", "Merge #7", "--depends-on", "1", "--severity", "critical"]).done();
    assert_eq!(after, "task 2 is blocked until task 1 is done: Merge #7\n");
    let said = shell.run(&["tasks", "claim", "1", "--as", "bob", "--lease", "1m"]).done();
    assert!(said.starts_with("task 1 is claimed by bob (the claim ends in "), "{said}");
    assert!(shell.run(&["tasks", "claim", "1", "--as", "carol"]).failed(1).contains("409"));
    let before = shell.client().get("/api/tasks/1").await.expect::<Value>(200)["claimExpiresAt"].clone();
    let progress = shell.run(&["tasks", "progress", "1", "half of it", "--as", "bob", "--json"]).json();
    assert_eq!(progress["status"], "in_progress");
    assert!(progress["claimExpiresAt"].as_i64() > before.as_i64(), "the claim goes on from now: {progress}");
    let blocked = shell.run(&["tasks", "progress", "1", "CI is down", "--blocked", "--as", "bob"]).done();
    assert!(blocked.starts_with("task 1 is blocked by bob"), "{blocked}");
    assert!(shell.run(&["tasks", "done", "1", "--result", "{", "--as", "bob"]).failed(2).contains("not JSON"));
    let done = ["tasks", "done", "1", "all of it", "--result", r#"{"approved": true}"#, "--as", "bob"];
    assert_eq!(shell.run(&done).done(), "task 1 is done by bob: Review #7\n");
    insta::assert_snapshot!("tasks", shell.steady(&shell.run(&["tasks"]).done()));
    insta::assert_snapshot!("tasks-show", shell.steady(&shell.run(&["tasks", "show", "1"]).done()));
    let listed = shell.run(&["tasks", "list", "--status", "done", "--json"]).json();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["result"]["approved"]), (Some(1), &json!(true)));
    assert_eq!(shell.run(&["tasks", "show", "1", "--json"]).json()["events"][0]["type"], "created");

    shell.run(&["tasks", "claim", "2", "--as", "bob"]).done();
    assert_eq!(shell.run(&["tasks", "release", "2", "--as", "bob"]).done(), "task 2 is open: Merge #7\n");
    shell.run(&["tasks", "claim", "2", "--as", "bob"]).done();
    assert_eq!(
        shell.run(&["tasks", "fail", "2", "conflicts", "--as", "bob"]).done(),
        "task 2 is failed by bob: Merge #7\n"
    );
    shell.run(&["tasks", "new", "Forget it"]).done();
    assert_eq!(shell.run(&["tasks", "cancel", "3", "not wanted"]).done(), "task 3 is canceled: Forget it\n");
    assert!(shell.run(&["tasks", "claim", "3", "--as", "bob"]).failed(1).contains("409"));
    assert!(shell.run(&["tasks", "show", "99"]).failed(1).contains("404"));
    assert!(shell.run(&["tasks", "list", "--status", "dome"]).failed(2).contains("in_progress"));
}

#[tokio::test]
async fn a_question_waits_for_its_user_and_is_answered() {
    let shell = Shell::new();
    assert_eq!(shell.run(&["attention"]).done(), "nothing waits for you\n");
    assert_eq!(shell.run(&["attention", "--json"]).json(), json!([]));
    let ask = ["tasks", "new", "Which branch?", "--kind", "question", "--option", "main", "--option", "next"];
    shell.run(&[&ask[..], &["--as", "ann"]].concat()).done();
    shell.run(&["tasks", "new", "May I delete it\u{202e}?", "--kind", "approval", "--as", "ann"]).done();
    insta::assert_snapshot!("attention", shell.steady(&shell.run(&["attention"]).done()));
    let listed = shell.run(&["attention", "list", "--json"]).json();
    assert_eq!((&listed[0]["kind"], &listed[1]["taskId"]), (&json!("approval"), &json!(1)));
    assert!(shell.run(&["tasks", "answer", "1", "master"]).failed(1).contains("main"), "the options are told");
    assert_eq!(shell.run(&["tasks", "answer", "1", "next"]).done(), "task 1 is done by user: Which branch?\n");
    assert!(shell.run(&["tasks", "answer", "1", "main"]).failed(1).contains("409"));
    let told = shell.run(&["inbox", "ann", "--json"]).json();
    assert_eq!(told[0]["body"], "next");
    let item = listed[0]["id"].to_string();
    assert_eq!(shell.run(&["attention", "dismiss", &item]).done(), format!("{item} is off the list\n"));
    assert_eq!(shell.run(&["attention"]).done(), "nothing waits for you\n");
    let happened = shell.run(&["activity", "--kind", "task", "--json"]).json();
    assert!(happened.as_array().is_some_and(|entries| entries.len() > 1), "{happened}");
    let happened = shell.run(&["activity", "--kind", "task", "--limit", "2"]).done();
    assert_eq!(happened.lines().count(), 3, "{happened}");
}
