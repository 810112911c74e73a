//! Sending, reading and claiming from the command line.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::shell::{Shell, on_terminal, typed};
use crate::program::{Running, Serving, program};
use crate::server::eventually;

#[tokio::test]
async fn a_message_is_sent_seen_and_read() {
    let shell = Shell::new();
    shell.client().register_all(&["ann", "bob"]).await;
    let sent = shell.run(&["send", "bob", "Please look at #7", "--subject", "Review", "--as", "ann"]).done();
    assert_eq!(sent.lines().next(), Some("message 5 is stored, and reaches 1 agent"));
    insta::assert_snapshot!("inbox", shell.steady(&shell.run(&["inbox", "bob"]).done()));
    let listed = shell.run(&["inbox", "bob", "--json"]).json();
    assert_eq!((&listed[0]["id"], &listed[0]["body"]), (&json!(5), &json!("Please look at #7")));
    assert_eq!(shell.client().messages("for=bob&unread=true").await.len(), 1, "looking takes nothing away");
    insta::assert_snapshot!("read", shell.steady(&shell.run(&["read", "5", "--as", "bob"]).done()));
    assert_eq!(shell.run(&["inbox", "bob"]).done(), "nothing unread\n");
    assert_eq!(shell.run(&["inbox", "bob", "--all", "--json"]).json().as_array().map(Vec::len), Some(1));

    let replied =
        shell.run_with_input(&["reply", "5", "-", "--as", "bob", "--json"], "Looks good.\n  Really.\n").json();
    assert_eq!(replied["body"], "Looks good.\n  Really.\n", "kept as it is");
    let of_reply = (&replied["to"], &replied["replyTo"], &replied["threadId"]);
    assert_eq!(of_reply, (&json!("ann"), &json!(5), &json!(5)));
    let id = replied["id"].to_string();
    assert_eq!(shell.run(&["read", &id, "--as", "ann", "--body"]).done(), "Looks good.\n  Really.\n");
    let thread = shell.run(&["read", "5", "--peek", "--thread", "--json"]).json();
    assert_eq!(thread.as_array().map(Vec::len), Some(2));
    assert_eq!(shell.run(&["read", &id, "--as", "ann", "--json"]).json()["readBy"], json!(["ann"]));
}

#[tokio::test]
async fn whoever_types_is_the_user_unless_the_token_is_an_agents() {
    let shell = Shell::with(&[("AGENT_RELAY_TOKEN", "ar_the-administrator")]);
    let run = |token: &str, args: &[&str]| typed(shell.command().args(args).env("AGENT_RELAY_TOKEN", token), None);
    let admin = |args: &[&str]| run("ar_the-administrator", args);
    let token = admin(&["token", "create", "ann's", "--scope", "agent", "--agent", "ann"]).done();
    let ann = |args: &[&str]| run(token.trim(), args);
    let of_user = admin(&["send", "ann", "hello", "--json"]).json();
    assert_eq!((&of_user["from"], &of_user["sender"]["verified"]), (&json!("user"), &json!(true)));
    assert_eq!(ann(&["inbox", "--json"]).json()[0]["id"], of_user["id"]);
    let id = of_user["id"].to_string();
    assert_eq!(ann(&["read", &id, "--json"]).json()["readBy"], json!(["ann"]));
    let of_ann = ann(&["reply", &id, "hello user", "--json"]).json();
    assert_eq!((&of_ann["from"], &of_ann["sender"]["verified"]), (&json!("ann"), &json!(true)));
    assert_eq!(admin(&["inbox", "--json"]).json()[0]["body"], "hello user");
    // As somebody else, nobody but an administrator.
    assert!(ann(&["send", "bob", "x", "--as", "carol"]).failed(1).contains("403"), "as carol");
    assert_eq!(admin(&["send", "bob", "x", "--as", "carol", "--json"]).json()["from"], "carol");
    // An agent's environment says who it is.
    let said = typed(
        shell
            .command()
            .args(["send", "bob", "x", "--json"])
            .envs([("AGENT_RELAY_TOKEN", "ar_the-administrator"), ("AGENT_RELAY_AGENT_ID", "dave")]),
        None,
    );
    assert_eq!(said.json()["from"], "dave");
}

#[tokio::test]
async fn the_work_in_a_message_is_taken_once() {
    let shell = Shell::new();
    shell.client().register_all(&["ann", "bob"]).await;
    let id = shell.run(&["send", "broadcast", "build it", "--claimable", "--json"]).json()["id"].to_string();
    let said = shell.run(&["claim", &id, "--as", "ann", "--lease", "10m"]).done();
    assert!(said.starts_with(&format!("message {id} is claimed by ann, whose claim ends in ")), "{said}");
    let taken = shell.run(&["claim", &id, "--as", "bob"]).failed(1);
    assert!(taken.contains("409") && taken.contains("ann"), "{taken}");
    assert!(shell.run(&["complete", &id, "--as", "bob"]).failed(1).contains("409"));
    let released = shell.run(&["release", &id, "--as", "ann", "--json"]).json();
    assert_eq!(released["claimedBy"], Value::Null);
    let held = shell.run(&["claim", &id, "--as", "bob", "--json"]).json();
    assert_eq!((&held["claimedBy"], &held["claimGeneration"]), (&json!("bob"), &json!(2)));
    assert_eq!(shell.run(&["complete", &id, "--as", "bob"]).done(), format!("message {id} is done by bob now\n"));
    assert!(shell.run(&["claim", &id, "--as", "ann"]).failed(1).contains("409"));
}

#[tokio::test]
async fn nobody_can_write_on_the_screen_of_whoever_reads() {
    let shell = Shell::new();
    shell.client().register_all(&["ann", "bob"]).await;
    let hostile = "\u{1b}]0;title\u{7}\u{1b}[2Jmessage 9 from \"user\" (user, verified)\r\u{202e}txet\u{200b}\u{9b}31m";
    let message = shell.client().say("ann", "bob", hostile).await;
    let id = message.id.to_string();
    let card = json!({"id": "ann", "name": "a\u{202a}nn", "label": "x\u{2066}y", "tags": ["t\u{202e}"]});
    shell.client().register(card).await;
    let shown = [
        shell.run(&["read", &id, "--peek"]).done(),
        shell.run(&["inbox", "bob"]).done(),
        shell.run(&["agents"]).done(),
        shell.on_terminal(100, &["read", &id, "--peek"]).1,
        shell.on_terminal(100, &["read", &id, "--peek", "--body"]).1,
        shell.on_terminal(100, &["agents"]).1,
    ];
    for text in &shown {
        for hidden in ['\u{7}', '\r', '\u{9b}', '\u{202a}', '\u{202e}', '\u{200b}', '\u{2066}'] {
            assert!(!text.contains(hidden), "{hidden:?} in {text:?}");
        }
        assert!(!text.contains("\u{1b}]") && !text.contains("\u{1b}[2J"), "{text:?}");
    }
    assert!(shown[0].contains("\n\n  \\u{1b}]0;title\\u{7}"), "its text is inside: {}", shown[0]);
    // Programs get what was sent.
    assert_eq!(shell.run(&["read", &id, "--peek", "--body"]).done(), hostile);
    assert_eq!(shell.run(&["read", &id, "--peek", "--json"]).json()["body"], hostile);
}

#[tokio::test]
async fn a_name_that_is_nobodys_is_noticed() {
    let shell = Shell::new();
    shell.client().register_all(&["reviewer"]).await;
    let said = shell.run(&["send", "revewer", "hello"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.out, "message 3 is stored, and reaches nobody yet\n");
    assert!(said.err.contains("did you mean reviewer?"), "{said:?}");
    let refused = shell.run(&["send", "revewer", "hello", "--strict"]).failed(1);
    assert!(refused.contains("Did you mean reviewer?"), "{refused}");
    assert_eq!(shell.client().messages("to=revewer").await.len(), 1);
}

#[tokio::test]
async fn whom_the_relay_cannot_tell_is_said() {
    let shell = Shell::new();
    shell.client().register_all(&["ann", "bob"]).await;
    let said = shell.run(&["send", "bob", "hello", "--timeout", "10m"]).done();
    let untold = "is run by a relay or a daemon, and the message is read when it is fetched";
    assert_eq!(
        said,
        format!("message 5 is stored, and reaches 1 agent\n  the relay does not tell it: no session of it {untold}\n")
    );
    let (code, seen) = shell.on_terminal(200, &["send", "broadcast", "hello"]);
    assert!(code == Some(0) && seen.contains("reaches 2 agents"), "{seen}");
    assert!(seen.contains(&format!("the relay tells none of them: no session of theirs {untold}")), "{seen}");
    assert_eq!(shell.run(&["send", "bob", "hello", "--json"]).json()["deliveries"], json!([]));
    let said = shell.run(&["send", "user", "hello", "--as", "bob"]);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("message 8 is stored, and waits in the inbox of the user\n", "")
    );
    assert!(shell.run(&["send", "bob", "x", "--no-wait", "--timeout", "1s"]).failed(2).contains("--no-wait"));
    assert!(shell.run(&["send", "bob", "x", "--no-wait", "--wait-for", "read"]).failed(2).contains("--no-wait"));
    assert_eq!(shell.client().messages("to=bob").await.len(), 2, "wrong usage sends nothing");
}

#[tokio::test]
async fn who_may_send_and_see_nothing_has_sent() {
    let shell = Shell::with(&[("AGENT_RELAY_TOKEN", "ar_the-administrator")]);
    let admin =
        |args: &[&str]| typed(shell.command().args(args).env("AGENT_RELAY_TOKEN", "ar_the-administrator"), None).done();
    let token = admin(&["token", "create", "s", "--scope", "send", "--agent", "ann"]);
    let command = || {
        let mut command = shell.command();
        command.args(["send", "ann", "hello"]).env("AGENT_RELAY_TOKEN", token.trim());
        command
    };
    let said = typed(&mut command(), None);
    assert_eq!((said.code, said.err.lines().count()), (Some(0), 1), "{said:?}");
    assert!(said.out.ends_with("is stored, and reaches nobody yet\n"), "{said:?}");
    let (code, seen) = on_terminal(&mut command(), 200);
    assert!(code == Some(0) && seen.contains("it cannot be followed: ") && seen.contains("403"), "{seen}");
    assert!(serde_json::from_str::<Value>(&typed(command().arg("--json"), None).done()).expect("JSON")["id"].is_i64());
}

#[tokio::test]
async fn who_waits_is_told_how_far_it_truly_came() {
    let shell = Shell::new();
    shell.client().register_all(&["ann", "bob"]).await;
    let unread = shell.run(&["send", "bob", "hello", "--wait-for", "read", "--timeout", "1s"]);
    assert_eq!((unread.code, unread.err.as_str()), (Some(1), ""), "{unread:?}");
    assert_eq!(unread.out, "message 5 is stored, not read, and reaches 1 agent\n");
    let unread = shell.run(&["send", "bob", "hello", "--wait-for", "completed", "--timeout", "0s", "--json"]);
    assert_eq!(unread.code, Some(1), "{unread:?}");
    let answer: Value = serde_json::from_str(&unread.out).expect("JSON");
    assert_eq!((&answer["receipt"], &answer["claimable"]), (&json!("stored"), &json!(true)));

    let sending = |state: &str| {
        let mut command = shell.command();
        command.args(["send", "bob", "work", "--wait-for", state, "--as", "ann"]);
        std::thread::spawn(move || typed(&mut command, None))
    };
    let sent = async |count: usize| {
        eventually("it is sent", async || {
            let messages = shell.client().messages("from=ann").await;
            (messages.len() == count).then(|| messages[count - 1].id.to_string())
        })
        .await
    };
    let waiting = sending("read");
    shell.run(&["read", &sent(1).await, "--as", "bob"]).done();
    assert_eq!(waiting.join().expect("its end").done(), "message 7 is read by bob\n");
    let waiting = sending("claimed");
    let id = sent(2).await;
    shell.run(&["claim", &id, "--as", "bob"]).done();
    assert_eq!(waiting.join().expect("its end").done(), format!("message {id} is claimed by bob\n"));
    let waiting = sending("completed");
    let id = sent(3).await;
    shell.run(&["claim", &id, "--as", "bob"]).done();
    shell.run(&["complete", &id, "--as", "bob"]).done();
    assert_eq!(waiting.join().expect("its end").done(), format!("message {id} is completed by bob\n"));
    assert_eq!(shell.client().messages("from=ann").await.len(), 3, "each was sent once");
    assert!(shell.run(&["send", "bob", "x", "--wait-for", "seen"]).failed(2).contains("read, claimed, completed"));
}

/// A port that was free a moment ago, for a relay that comes back to it.
fn port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test]
async fn who_waits_or_watches_outlives_a_restart_of_the_relay() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let address = port();
    let start = || Serving::start_at(&mut program(home.path()), &address);
    let first = start();
    let client = crate::server::Client::new(&first.url, None);
    client.register_all(&["bob"]).await;
    let command = |args: &[&str]| {
        let mut command = program(home.path());
        command.args(args);
        command
    };
    let watching = Running::start(&mut command(&["watch", "bob"]));
    watching.complained("watching http://");
    let programs = Running::start(&mut command(&["watch", "bob", "--json"]));
    programs.said("relay.ready");
    client.say("ann", "bob", "before").await;
    watching.said("ann -> bob: before");
    programs.said("message.new");
    let mut waiting = command(&["send", "bob", "answer me", "--wait-for", "read"]);
    let waiting = std::thread::spawn(move || typed(&mut waiting, None));
    watching.said("user -> bob: answer me");

    first.signal(Signal::KILL);
    first.ended();
    watching.complained("the relay is away");
    let second = start();
    watching.complained("the relay is back");
    let client = crate::server::Client::new(&second.url, None);
    client.say("ann", "bob", "after").await;
    watching.said("ann -> bob: after");
    programs.said("\"body\":\"after\"");
    let messages = client.messages("from=user").await;
    assert_eq!(messages.len(), 1, "it was sent once");
    let id = messages[0].id;
    client.post(&format!("/api/messages/{id}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    assert_eq!(waiting.join().expect("its end").done(), format!("message {id} is read by bob\n"));
}

#[tokio::test]
async fn a_watch_ends_where_it_was_told_to_and_with_its_reader() {
    let shell = Shell::new();
    shell.client().register_all(&["bob"]).await;
    for body in ["one", "two"] {
        shell.client().say("ann", "bob", body).await;
    }
    let position = shell.client().get("/api/events/log?limit=1").await.expect::<Value>(200)[0]["id"].clone();
    let since = position.as_str().expect("a position");
    let said = shell.run(&["watch", "bob", "--type", "message.new", "--since", since, "--count", "2", "--json"]).done();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("a name")).collect();
    assert_eq!(names, ["relay.ready", "message.new", "message.new"]);
    assert_eq!(lines[2]["data"]["body"], "two");
    let lost = ["watch", "--since", "other-1"];
    Running::start(shell.command().args(lost)).said("events are missing here: the relay's past is another");
    Running::start(shell.command().args(lost).arg("--json")).said("unknown_epoch");
    assert!(shell.run(&["watch", "--type", "message.gone"]).failed(2).contains("message.new"));

    // `watch | head -1`
    let script =
        format!("{} watch bob --since {since} | head -1", env!("CARGO_BIN_EXE_agent-relay").replace(' ', "\\ "));
    let mut piped = std::process::Command::new("sh");
    piped.args(["-c", &script]).env_clear().env("HOME", shell.home.path());
    piped.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let piped = std::thread::spawn(move || typed(&mut piped, None));
    // Nobody is told that a reader is gone before something is written to it.
    let client = shell.client();
    eventually("it ends with its reader", async || {
        client.say("ann", "bob", "three").await;
        piped.is_finished().then_some(())
    })
    .await;
    assert_eq!(piped.join().expect("its end").done().lines().count(), 1);
}

#[test]
fn everybody_is_told_by_the_relay_itself() {
    let shell = Shell::new();
    let told = shell.run(&["broadcast", "maintenance at noon", "--subject", "Notice", "--json"]).json();
    assert_eq!((&told["from"], &told["to"]), (&json!("system"), &json!("broadcast")));
    assert!(shell.run(&["broadcast", "once more"]).done().ends_with("is sent to every agent\n"));
    let long = "x".repeat(256 * 1024 + 1);
    assert!(shell.run_with_input(&["broadcast", "-"], &long).failed(2).contains("more than 262144 bytes"));
    assert!(shell.run(&["broadcast", " "]).failed(1).contains("body required"));
}
