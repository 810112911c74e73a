//! Attention: what waits for a person comes and goes with its cause, in the order of its urgency.

use std::time::Duration;

use agent_relay::domain::activity::ActivityKind;
use agent_relay::domain::attention::{Attention, AttentionKind};
use agent_relay::domain::control::command::Command;
use agent_relay::domain::message::Message;
use agent_relay::domain::task::Task;
use serde_json::{Value, json};

use crate::api::control::with_tokens;
use crate::plugins::{guest, policy, put};
use crate::server::{Client, Server, eventually, until};

async fn list(client: &Client) -> Vec<Attention> {
    client.get("/api/attention").await.expect(200)
}

/// The kinds on the list, in its order.
async fn kinds(client: &Client) -> Vec<&'static str> {
    list(client).await.iter().map(|item| item.kind.as_str()).collect()
}

async fn condition(client: &Client, agent: &str, body: Value) {
    client.patch(&format!("/api/agents/{agent}/condition"), body).await.expect::<Value>(200);
}

async fn ask(client: &Client, kind: &str, more: Value) -> Task {
    let mut draft = json!({"from": "a", "title": format!("a {kind}"), "kind": kind});
    draft.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client.post("/api/tasks", draft).await.expect(201)
}

async fn answer(client: &Client, task: &Task) {
    client.post(&format!("/api/tasks/{}/answer", task.id), json!({"answer": "yes"})).await.expect::<Value>(200);
}

/// Has a command fail, or succeed; its id.
async fn command(client: &Client, agent: &str, action: &str, status: &str) -> i64 {
    let path = format!("/api/agents/{agent}/actions");
    let answer: Value = client.post(&path, json!({"action": action})).await.expect(202);
    let id = answer["command"]["id"].as_i64().expect("an id");
    let report =
        json!({"status": status, "error": if status == "failed" { json!("no such program") } else { Value::Null }});
    client.patch(&format!("/api/commands/{id}"), report).await.expect::<Value>(200);
    id
}

async fn dismiss(client: &Client, item: &Attention) {
    let done: Value = client.post(&format!("/api/attention/{}/dismiss", item.id), json!({})).await.expect(200);
    assert_eq!(done, json!({"ok": true}));
}

#[tokio::test]
async fn the_most_urgent_comes_first_and_of_that_the_oldest() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    assert_eq!(list(client).await, []);
    for (agent, kind) in [
        ("b", "limit"),
        ("c", "crashed"),
        ("d", "input"),
        ("e", "approval"),
        ("f", "stalled"),
        ("g", "dialog"),
        ("h", "starting"),
    ] {
        condition(client, agent, json!({"kind": kind, "detail": "what it shows"})).await;
    }
    command(client, "a", "restart", "failed").await;
    let question = ask(client, "question", json!({})).await;
    let approval = ask(client, "approval", json!({"options": ["yes", "no"]})).await;
    let expected =
        ["approval", "dialog", "approval", "input", "question", "crashed", "command", "limit", "stalled", "starting"];
    assert_eq!(kinds(client).await, expected);
    let items = list(client).await;
    let of_task = &items[2];
    assert_eq!(
        (&*of_task.title, of_task.task_id, of_task.agent_id.as_deref()),
        ("a approval", Some(approval.id), Some("a"))
    );
    assert_eq!((of_task.message_id, of_task.since), (approval.message_id, approval.created_at));
    let hint = format!("answer it: POST /api/tasks/{}/answer with `answer`, one of: yes, no", approval.id);
    assert_eq!(of_task.hint, hint);
    assert_eq!(
        (items[1].agent_id.as_deref(), &*items[1].title),
        (Some("g"), "g waits in a dialog of its program: what it shows")
    );
    let of_command = &items[6];
    assert_eq!(of_command.title, "restart of a failed: no such program");
    assert!(of_command.hint.contains(&format!("/api/commands/{}", of_command.command_id.expect("a command"))));
    let stats: Value = client.get("/api/stats").await.expect(200);
    assert_eq!(stats["attention"], 10);
    // Page by page it is the same.
    let (mut paged, mut path) = (Vec::new(), Some("/api/attention?limit=3".to_owned()));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        paged.extend(answer.expect::<Vec<Attention>>(200));
    }
    assert_eq!(paged, items);
    // What is answered or over waits no more.
    answer(client, &question).await;
    client
        .patch(&format!("/api/tasks/{}/status", approval.id), json!({"agentId": "a", "status": "canceled"}))
        .await
        .expect::<Value>(200);
    for agent in ["b", "c", "d", "e"] {
        condition(client, agent, json!({"kind": null})).await;
    }
    client.delete("/api/agents/f").await.expect::<Value>(200);
    assert_eq!(kinds(client).await, ["dialog", "command", "starting"]);
    let reopened = Server::start_in(server.stop(), |_| {}).await;
    assert_eq!(kinds(&reopened.client).await, ["dialog", "command", "starting"], "it is kept");
}

#[tokio::test]
async fn who_listens_is_told_what_comes_and_goes() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let mut stream = client.follow("types=attention.added,attention.removed").await;
    let mut of_agent = client.follow("agent=a&types=attention.added,attention.removed,agent.removed").await;
    condition(client, "a", json!({"kind": "dialog"})).await;
    let [first] = &list(client).await[..] else { panic!("one item") };
    let added = stream.next().await;
    assert_eq!((&*added.event, added.data), ("attention.added", json!(first)));
    // The same in other words is the same item.
    condition(client, "a", json!({"kind": "dialog", "detail": "Trust?"})).await;
    let [same] = &list(client).await[..] else { panic!("one item") };
    assert_eq!((same.id, same.since), (first.id, first.since));
    assert!(same.title.ends_with(": Trust?"), "{}", same.title);
    condition(client, "a", json!({"kind": "input"})).await;
    let [second] = &list(client).await[..] else { panic!("one item") };
    let removed = stream.next().await;
    assert_eq!((&*removed.event, removed.data), ("attention.removed", json!({"id": first.id})));
    assert_eq!(stream.next().await.data, json!(second));
    dismiss(client, second).await;
    assert_eq!(stream.next().await.data, json!({"id": second.id}));
    client.delete("/api/agents/a").await.expect::<Value>(200);
    client.register_all(&["b"]).await;
    condition(client, "b", json!({"kind": "stalled"})).await;
    assert_eq!(stream.next().await.data["agentId"], "b", "what was dismissed is removed once");
    assert_eq!(of_agent.next().await.event, "agent.removed", "it is for persons");
}

#[tokio::test]
async fn what_is_dismissed_stays_away_until_it_is_something_else() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b"]).await;
    condition(client, "a", json!({"kind": "dialog"})).await;
    let task = ask(client, "question", json!({})).await;
    let failed = command(client, "b", "restart", "failed").await;
    let items = list(client).await;
    for item in &items {
        dismiss(client, item).await;
        client.post(&format!("/api/attention/{}/dismiss", item.id), json!({})).await.problem(404, "not_found");
    }
    let entries = client.activity("kind=state").await;
    let dismissed: Vec<_> = entries.iter().filter(|entry| entry.title == "Attention dismissed").collect();
    assert_eq!((dismissed.len(), dismissed[0].kind), (3, ActivityKind::State));
    assert_eq!(dismissed[2].body.as_deref(), Some(items[0].title.as_str()));
    assert_eq!(dismissed[2].meta.as_deref(), Some("dashboard"));
    // The same goes on.
    condition(client, "a", json!({"kind": "dialog", "detail": "still there"})).await;
    let draft = json!({"agentId": "b"});
    client.post(&format!("/api/tasks/{}/claim", task.id), draft).await.problem(403, "not_addressed");
    let server = Server::start_in(server.stop(), |_| {}).await;
    let client = &server.client;
    assert_eq!(list(client).await, []);
    // Another condition, the same one again after its end, and another failure are news.
    condition(client, "a", json!({"kind": "limit"})).await;
    let [limit] = &list(client).await[..] else { panic!("one item") };
    dismiss(client, limit).await;
    condition(client, "a", json!({"kind": null})).await;
    condition(client, "a", json!({"kind": "limit"})).await;
    let [again] = &list(client).await[..] else { panic!("one item") };
    assert!(again.id > limit.id);
    let later = command(client, "b", "restart", "failed").await;
    let items = list(client).await;
    assert_eq!(items[0].command_id.map(i64::from), Some(later));
    assert!(later > failed && items.len() == 2);
}

#[tokio::test]
async fn a_command_that_succeeds_ends_what_failed_before() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b"]).await;
    command(client, "a", "restart", "failed").await;
    command(client, "a", "shutdown", "failed").await;
    command(client, "b", "restart", "failed").await;
    let newest = command(client, "a", "restart", "failed").await;
    let of_commands = async || -> Vec<_> { list(client).await.into_iter().map(|item| item.title).collect() };
    assert_eq!(of_commands().await.len(), 3, "the newest of each kind and agent");
    assert_eq!(list(client).await[2].command_id.map(i64::from), Some(newest));
    command(client, "a", "restart", "succeeded").await;
    assert_eq!(of_commands().await, ["shutdown of a failed: no such program", "restart of b failed: no such program"]);
}

#[tokio::test]
async fn what_nobody_took_up_waits_too() {
    let server = Server::start_with(|config| config.command_lifetime = Duration::from_millis(50)).await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let answer: Value = client.post("/api/agents/a/actions", json!({"action": "shutdown"})).await.expect(202);
    let command: Command = serde_json::from_value(answer["command"].clone()).expect("a command");
    until(command.expires_at + 10).await;
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let [item] = &list(client).await[..] else { panic!("one item") };
    assert_eq!((item.command_id, &*item.title), (Some(command.id), "shutdown of a: nobody took it up in time"));
}

#[tokio::test]
async fn only_questions_that_a_person_can_answer_now_wait() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b"]).await;
    ask(client, "question", json!({"target": "b"})).await;
    ask(client, "work", json!({"target": "user"})).await;
    let first = ask(client, "question", json!({})).await;
    let second = ask(client, "approval", json!({"dependsOn": [first.id]})).await;
    let never = ask(client, "approval", json!({"dependsOn": [second.id]})).await;
    assert_eq!(kinds(client).await, ["question"]);
    answer(client, &first).await;
    let [item] = &list(client).await[..] else { panic!("one item") };
    let unblocked: Task = client.get(&format!("/api/tasks/{}", second.id)).await.expect(200);
    assert_eq!((item.task_id, item.message_id), (Some(second.id), unblocked.message_id));
    assert!(item.message_id.is_some());
    let cancel = json!({"agentId": "a", "status": "canceled"});
    client.patch(&format!("/api/tasks/{}/status", second.id), cancel).await.expect::<Value>(200);
    assert_eq!(list(client).await, [], "{} is canceled with it", never.id);
}

#[tokio::test]
async fn a_suspected_loop_waits_until_a_person_sees_to_it() {
    let server = Server::start_with(|config| config.thread_replies = 1).await;
    let client = &server.client;
    let reply = async |from: &str, parent: &Message| {
        let draft = json!({"from": from, "to": "b", "body": "b", "replyTo": parent.id});
        client.post("/api/messages", draft).await.status
    };
    let mut threads = Vec::new();
    for _ in 0..3 {
        let first = client.say("a", "b", "1").await;
        assert_eq!((reply("b", &first).await, reply("a", &first).await, reply("b", &first).await), (201, 429, 429));
        threads.push(first);
    }
    let items = list(client).await;
    let of_threads: Vec<_> = items.iter().map(|item| (item.kind, item.message_id, item.agent_id.as_deref())).collect();
    let expected: Vec<_> = threads.iter().map(|first| (AttentionKind::Loop, Some(first.id), Some("a"))).collect();
    assert_eq!(of_threads, expected, "each once");
    assert_eq!(reply("user", &threads[0]).await, 201);
    client.delete(&format!("/api/messages/{}", threads[1].id)).await.expect::<Value>(200);
    assert_eq!(list(client).await, items[2..]);
}

#[tokio::test]
async fn a_plugin_that_is_not_as_it_should_be_waits_until_it_is() {
    let (server, directory) = Server::start_unwatched().await;
    let client = &server.client;
    let folder = directory.join("guard");
    let (good, component) = (policy("guard", ""), guest("misbehave"));
    let reload = async |client: &Client| client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
    let becomes = async |client: &Client, expected: &[&str]| {
        eventually(&format!("{expected:?}"), async || {
            let titles: Vec<_> = list(client).await.into_iter().map(|item| item.title).collect();
            let is_so = titles.len() == expected.len() && titles.iter().zip(expected).all(|(a, b)| a.starts_with(b));
            is_so.then_some(())
        })
        .await;
    };
    put(&folder, "nonsense", &component);
    reload(client).await;
    becomes(client, &["plugin guard was rejected: "]).await;
    let [rejected] = &list(client).await[..] else { panic!("one item") };
    assert_eq!((rejected.kind, rejected.plugin_id.as_deref()), (AttentionKind::Plugin, Some("guard")));
    dismiss(client, rejected).await;
    reload(client).await;
    // It is as before after a restart, and stays dismissed.
    let server = Server::start_in(server.stop(), |config| config.plugins.watch = false).await;
    let client = &server.client;
    assert_eq!(list(client).await, []);
    // Something else is wrong with it: who knew of the first does not know of this.
    put(&folder, &good, b"no component");
    reload(client).await;
    becomes(client, &["plugin guard was rejected: "]).await;
    put(&folder, &good, &component);
    reload(client).await;
    becomes(client, &[]).await;
}

#[tokio::test]
async fn a_plugin_that_failed_too_often_waits_until_it_is_tried_again() {
    let (mut folder, mut base) = (std::path::PathBuf::new(), std::path::PathBuf::new());
    let secret = agent_relay::config::Secret::parse("test", "the-administrators").expect("a token");
    let server = Server::start_with(|config| {
        (config.token, config.spawn.dry_run) = (Some(secret), true);
        folder = config.plugins.directory.clone().expect("a directory").join("guard");
        base.clone_from(&config.base_dir);
        put(&folder, &policy("guard", ""), &guest("misbehave"));
    })
    .await;
    let admin = &server.client;
    let mut callers = Vec::new();
    for name in ["ada", "bob"] {
        let made: Value = admin.post("/api/tokens", json!({"name": name, "scopes": ["control"]})).await.expect(201);
        callers.push(admin.with_token(made["token"].as_str()));
    }
    for number in 0..5_usize {
        let place = base.join(number.to_string());
        std::fs::create_dir_all(&place).expect("a directory");
        let ask = json!({"provider": "claude", "label": "trap", "cwd": place});
        callers[number % 2].post("/api/agents/spawn", ask).await.problem(503, "policy_failed");
    }
    let item = eventually("it is refused", async || list(admin).await.pop()).await;
    assert_eq!((item.kind, item.plugin_id.as_deref()), (AttentionKind::Plugin, Some("guard")));
    assert!(item.title.starts_with("plugin guard failed too often: "), "{item:?}");
    admin.post("/api/plugins/guard/enable", json!({})).await.expect::<Value>(202);
    eventually("it is well again", async || list(admin).await.is_empty().then_some(())).await;
}

/// A policy that nobody wanted to end, which a restart would hide.
#[tokio::test]
async fn a_lost_policy_is_known_after_a_restart_until_somebody_knows_it() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut folder = std::path::PathBuf::new();
    let good = policy("guard", "");
    let server = Server::start_in(home, |config| {
        folder = config.plugins.directory.clone().expect("a directory").join("guard");
        put(&folder, &good, &guest("misbehave"));
    })
    .await;
    let lost = "policy guard is not obeyed any more, and nobody decided that: its mode is monitor now";
    put(&folder, &format!("mode = 'monitor'\n{good}"), &guest("misbehave"));
    let item = eventually("it is lost", async || list(&server.client).await.pop()).await;
    assert_eq!((item.title.as_str(), item.plugin_id.as_deref()), (lost, Some("guard")));
    let mut home = server.stop();
    for _ in 0..2 {
        let server = Server::start_in(home, |config| config.plugins.watch = false).await;
        let health = server.client.get("/api/health").await.text;
        assert!(health.contains(lost), "{health}");
        assert_eq!(list(&server.client).await, std::slice::from_ref(&item), "the same one");
        home = server.stop();
    }
    let server = Server::start_in(home, |config| config.plugins.watch = false).await;
    dismiss(&server.client, &item).await;
    assert!(!server.client.get("/api/health").await.text.contains(lost), "it was acknowledged");
    let server = Server::start_in(server.stop(), |config| config.plugins.watch = false).await;
    assert!(!server.client.get("/api/health").await.text.contains(lost));
    assert_eq!(list(&server.client).await, []);
}

#[tokio::test]
async fn readers_see_it_and_controllers_dismiss() {
    let (server, [reader, controller, agent, orchestrator]) = with_tokens([
        ("a-reader", "read", None),
        ("a-controller", "control", None),
        ("of-a", "agent send", Some("a")),
        ("of-o", "orchestrator", Some("orchestrator-o")),
    ])
    .await;
    let admin = &server.client;
    admin.register_all(&["a"]).await;
    condition(&agent, "a", json!({"kind": "input"})).await;
    let [item] = &list(&reader).await[..] else { panic!("one item") };
    let path = format!("/api/attention/{}/dismiss", item.id);
    for client in [&reader, &agent, &orchestrator] {
        client.post(&path, json!({})).await.problem(403, "not_allowed");
    }
    for client in [&controller, &agent, &orchestrator] {
        client.get("/api/attention").await.problem(403, "not_allowed");
    }
    dismiss(&controller, item).await;
    let entry = admin.activity("kind=state").await.into_iter().find(|entry| entry.title == "Attention dismissed");
    assert_eq!(entry.expect("an entry").meta.as_deref(), Some("a-controller"));
    assert_eq!(list(admin).await, []);
}

#[tokio::test]
async fn what_waits_is_said_in_few_words() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "name": "n".repeat(120)})).await;
    condition(client, "a", json!({"kind": "dialog", "detail": format!("line\n{}", "x".repeat(900))})).await;
    let options: Vec<String> = (10..30).map(|n| n.to_string().repeat(100)).collect();
    ask(client, "question", json!({"title": "t".repeat(200), "options": options})).await;
    let [dialog, question] = &list(client).await[..] else { panic!("two items") };
    let lengths = |item: &Attention| (item.title.chars().count(), item.hint.chars().count());
    assert_eq!((lengths(dialog).0, lengths(question)), (200, (200, 1_000)));
    assert!(!dialog.title.contains('\n'), "on one line");
}
