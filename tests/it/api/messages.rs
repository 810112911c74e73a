//! Messages: sending, routing, reading, threads, long polls, expiry.

mod bounces;
mod channels;
mod claims;
mod loops;
mod receipts;
mod recipients;
mod senders;

use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, until};

#[tokio::test]
async fn a_message_is_answered_as_it_is_stored() {
    let server = Server::start().await;
    let client = &server.client;
    let before = Timestamp::now();
    let draft = json!({"from": "a", "to": "b", "subject": "  Hello ", "body": "text", "meta": {"k": [1, null]}});
    let sent: Value = client.post("/api/messages", draft).await.expect(201);
    let created = sent["createdAt"].as_i64().expect("a time");
    assert!((before..=Timestamp::now()).contains(&Timestamp::from_ms(created)));
    let id = sent["id"].as_i64().expect("a number");
    // Written out, so that a field that appears, vanishes or changes its name is noticed.
    let mut expected = json!({
        "id": id, "from": "a", "sender": {"as": "agent", "verified": false, "via": "loopback"}, "to": "b", "type": "message", "subject": "Hello", "body": "text", "threadId": id,
        "claimable": false, "claimGeneration": 0, "meta": {"k": [1, null]}, "createdAt": created, "readBy": [], "readCount": 0,
    });
    let stored: Value = client.get(&format!("/api/messages/{id}")).await.expect(200);
    assert_eq!(stored, expected);
    let listed: Vec<Value> = client.get("/api/messages").await.expect(200);
    assert_eq!(listed, [stored]);
    // Beside what is stored, whoever sent it is told whom it reaches.
    expected["recipients"] = json!(0);
    expected["similar"] = json!([]);
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn bodies_and_meta_are_kept_to_the_last_space() {
    let server = Server::start().await;
    let body = "  fn main() {\n\t// ünï\u{1F600}\u{0}\n}\n\n";
    let draft = json!({"from": " a ", "to": "\tb\n", "body": body, "meta": {" k ": " v "}, "subject": " "});
    let sent = server.client.send(draft).await;
    assert_eq!((sent.body.as_str(), sent.from.as_str(), sent.to.as_str()), (body, "a", "b"));
    assert_eq!(sent.meta.value()[" k "], " v ");
    assert_eq!(sent.subject, None, "blank counts as absent");
    let read: Message = server.client.get(&format!("/api/messages/{}", sent.id)).await.expect(200);
    assert_eq!(read, sent);
}

#[tokio::test]
async fn every_form_of_target_reaches_whom_it_names() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["ops"], "label": "Lead", "meta": {"channels": ["dev"]}})).await;
    client.register(json!({"id": "bob", "tags": ["ops", "channel:dev"], "capabilities": ["review"]})).await;
    client.register(json!({"id": "cyd", "label": "Lead", "capabilities": ["review"]})).await;
    client.register(json!({"id": "low", "label": "lead", "tags": ["OPS"], "capabilities": ["ops"]})).await;
    let table: [(&str, &[&str]); 9] = [
        ("bob", &["bob"]),
        ("broadcast", &["ada", "bob", "cyd", "low", "user"]),
        ("tag:ops", &["ada", "bob"]),
        ("cap:review", &["bob", "cyd"]),
        ("label:Lead", &["ada", "cyd"]),
        ("label:Nobody", &[]),
        ("channel:dev", &["ada", "bob"]),
        ("user", &["user"]),
        ("host:1", &[]),
    ];
    for (target, _) in table {
        client.say("sender", target, target).await;
    }
    for agent in ["ada", "bob", "cyd", "low", "user", "host:1"] {
        let expected: Vec<_> = table.iter().filter(|(_, reached)| reached.contains(&agent)).collect();
        let mut expected: Vec<_> = expected.iter().map(|(target, _)| *target).collect();
        if agent == "host:1" {
            // No prefix that means a group: an id like any other.
            expected = vec!["host:1"];
        }
        assert_eq!(client.inbox(agent).await, expected, "{agent}");
    }
}

#[tokio::test]
async fn groups_do_not_reach_their_sender_and_direct_messages_do() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"], "capabilities": ["c"], "label": "l"})).await;
    for target in ["broadcast", "tag:t", "cap:c", "label:l", "a"] {
        client.say("a", target, target).await;
    }
    assert_eq!(client.inbox("a").await, ["a"]);
}

#[tokio::test]
async fn a_message_waits_for_an_agent_that_has_not_come_yet() {
    let server = Server::start().await;
    let client = &server.client;
    let direct = client.say("a", "late", "direct").await;
    let group = client.say("a", "broadcast", "to all").await;
    assert_eq!(client.inbox("late").await, ["direct"]);
    // The group message is older than the agent.
    until(group.created_at + 1).await;
    client.register_all(&["late"]).await;
    client.say("a", "broadcast", "to all again").await;
    assert_eq!(client.inbox("late").await, ["direct", "to all again"]);
    assert!(direct.id < group.id);
}

#[tokio::test]
async fn routing_follows_the_card() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    client.say("b", "tag:late", "1").await;
    assert!(client.inbox("a").await.is_empty());
    client.patch("/api/agents/a/tags", json!({"tags": ["late"]})).await.expect::<Value>(200);
    assert_eq!(client.inbox("a").await, ["1"]);
    client.patch("/api/agents/a/tags", json!({"tags": []})).await.expect::<Value>(200);
    assert!(client.inbox("a").await.is_empty());
}

#[tokio::test]
async fn a_channel_is_a_field_or_a_target() {
    let server = Server::start().await;
    let client = &server.client;
    let by_target = client.say("a", "channel:dev", "1").await;
    assert_eq!(by_target.channel.as_deref(), Some("dev"));
    client.send(json!({"from": "a", "to": "b", "channel": "dev", "body": "2"})).await;
    client.say("a", "channel:other", "3").await;
    let bodies: Vec<_> = client.messages("channel=dev").await.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["1", "2"]);
}

#[tokio::test]
async fn filters_narrow_and_pages_follow_each_other() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "me", "tags": ["t"]})).await;
    let mut ids = Vec::new();
    for n in 0..25 {
        let (from, to) = (["a", "b"][n % 2], ["me", "tag:t", "else"][n % 3]);
        ids.push(client.say(from, to, &n.to_string()).await.id);
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");

    let numbers = async |query: &str| -> Vec<usize> {
        let messages = client.messages(query).await;
        messages.iter().map(|message| message.body.parse().expect("a number")).collect()
    };
    let expected = |matches: &dyn Fn(usize) -> bool| (0..25).filter(|n| matches(*n)).collect::<Vec<_>>();
    assert_eq!(numbers("").await, expected(&|_| true));
    assert_eq!(numbers("from=a").await, expected(&|n| n % 2 == 0));
    assert_eq!(numbers("to=tag%3At").await, expected(&|n| n % 3 == 1));
    assert_eq!(numbers("for=me").await, expected(&|n| n % 3 != 2));
    assert_eq!(numbers("for=me&from=b&to=me").await, expected(&|n| n % 3 == 0 && n % 2 == 1));
    assert_eq!(numbers(&format!("for=me&since={}", ids[20])).await, expected(&|n| n > 20 && n % 3 != 2));
    assert_eq!(numbers("type=system").await, [0_usize; 0]);
    assert_eq!(numbers("limit=3").await, [0, 1, 2], "a page is the oldest");

    let mut seen = Vec::new();
    let mut path = Some("/api/messages?for=me&from=a&limit=2".to_owned());
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        let messages: Vec<Message> = answer.expect(200);
        assert!(messages.len() == 2 || path.is_none(), "only the last page is short");
        seen.extend(messages.into_iter().map(|message| message.body.parse::<usize>().expect("a number")));
    }
    assert_eq!(seen, expected(&|n| n % 3 != 2 && n % 2 == 0));
}

#[tokio::test]
async fn reading_is_noted_once_and_empties_the_unread() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b"]).await;
    let message = client.say("sender", "broadcast", "1").await;
    client.say("sender", "a", "2").await;
    let mut stream = client.follow("types=message.read,message.deleted").await;
    let path = format!("/api/messages/{}/read", message.id);
    for _ in 0..2 {
        let read: Message = client.post(&path, json!({"agentId": "a"})).await.expect(200);
        assert_eq!(read.read_by, ["a"]);
    }
    let unread: Vec<_> = client.messages("for=a&unread=true").await.into_iter().map(|message| message.body).collect();
    assert_eq!(unread, ["2"]);
    assert_eq!(client.inbox("a").await, ["1", "2"], "read is not gone");
    assert_eq!(client.messages("for=b&unread=true").await.len(), 1, "each for itself");
    let both: Message = client.post(&path, json!({"agentId": "b"})).await.expect(200);
    assert_eq!(both.read_by, ["a", "b"]);

    // The repeat was no news: the next event is the other agent's.
    let frame = stream.next().await;
    assert_eq!(frame.data, json!({"id": message.id, "agentId": "a"}));
    let frame = stream.next().await;
    assert_eq!(frame.data, json!({"id": message.id, "agentId": "b"}));

    client.post(&path, json!({})).await.invalid("agentId required");
    client.post(&path, json!({"agentId": "stranger"})).await.problem(403, "not_addressed");
    client.post("/api/messages/999/read", json!({"agentId": "a"})).await.problem(404, "not_found");
    client.get("/api/messages?unread=true").await.invalid("unread needs for=AGENT");
}

#[tokio::test]
async fn a_thread_is_found_from_any_of_its_messages() {
    let server = Server::start().await;
    let client = &server.client;
    let first = client.say("a", "b", "1").await;
    let other = client.say("a", "b", "another thread").await;
    let second = client.send(json!({"from": "b", "to": "a", "body": "2", "replyTo": first.id})).await;
    let third = client.send(json!({"from": "a", "to": "b", "body": "3", "replyTo": second.id})).await;
    assert_eq!((second.reply_to, second.thread_id), (Some(first.id), first.id));
    assert_eq!((third.reply_to, third.thread_id), (Some(second.id), first.id));
    for id in [first.id, second.id, third.id] {
        let thread: Vec<Message> = client.get(&format!("/api/messages/{id}/thread")).await.expect(200);
        assert_eq!(thread, [first.clone(), second.clone(), third.clone()]);
        assert_eq!(client.messages(&format!("thread={}", first.id)).await, thread);
    }
    let alone: Vec<Message> = client.get(&format!("/api/messages/{}/thread", other.id)).await.expect(200);
    assert_eq!(alone, [other]);
    client.get("/api/messages/999/thread").await.problem(404, "not_found");
    let orphan = json!({"from": "a", "to": "b", "body": "x", "replyTo": 999});
    client.post("/api/messages", orphan).await.problem(404, "not_found");
    assert_eq!(client.get("/api/messages/cursor").await.expect::<Value>(200), json!({"latestId": third.id}));
}

#[tokio::test]
async fn a_long_poll_ends_with_the_first_message_for_it() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    client.say("x", "a", "old").await;
    let since = client.get("/api/messages/cursor").await.expect::<Value>(200)["latestId"].clone();
    // Subscribing is not announced, so the poll may begin before or after any of these: each is right.
    let polling = client.clone();
    let path = format!("/api/messages?for=a&since={since}&wait=60");
    let poll = tokio::spawn(async move { polling.get(&path).await.expect::<Vec<Message>>(200) });
    client.say("x", "b", "for another").await;
    client.say("x", "tag:t", "for the group").await;
    let polled = tokio::time::timeout(PATIENCE / 2, poll).await.expect("well before its 60 seconds").expect("messages");
    assert_eq!(polled.first().map(|message| message.body.as_str()), Some("for the group"));
    // There is something already: it does not wait at all.
    assert_eq!(client.messages("for=a&wait=60").await.len(), 2);
}

#[tokio::test]
async fn a_long_poll_for_nothing_ends_empty_when_its_time_is_over() {
    let server = Server::start().await;
    let before = Timestamp::now();
    assert!(server.client.messages("for=nobody&wait=1").await.is_empty());
    assert!(Timestamp::now() - before >= 1_000, "after {} ms", Timestamp::now() - before);
}

#[tokio::test]
async fn an_expired_message_is_no_longer_delivered_but_still_there() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let past = json!({"from": "x", "to": "a", "body": "b", "expiresAt": Timestamp::now() - 1});
    client.post("/api/messages", past).await.invalid("expiresAt must lie in the future");

    let expires_at = Timestamp::now() + 3_000;
    let short = client.send(json!({"from": "x", "to": "a", "body": "short", "expiresAt": expires_at})).await;
    let long =
        client.send(json!({"from": "x", "to": "a", "body": "long", "expiresAt": Timestamp::now() + 600_000})).await;
    assert_eq!(short.expires_at, Some(expires_at));
    until(expires_at).await;
    assert_eq!(client.inbox("a").await, ["long"]);
    assert_eq!(client.messages("for=a&unread=true").await, std::slice::from_ref(&long));
    assert_eq!(client.get(&format!("/api/messages/{}", short.id)).await.expect::<Message>(200), short);
    assert_eq!(client.messages("to=a").await, [short, long]);
}

#[tokio::test]
async fn a_deleted_message_is_gone_and_its_number_is_not_given_again() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.follow("agent=b&types=message.deleted").await;
    let message = client.say("a", "b", "1").await;
    let path = format!("/api/messages/{}", message.id);
    assert_eq!(client.delete(&path).await.expect::<Value>(200), json!({"ok": true}));
    assert_eq!(stream.next().await.data, json!({"id": message.id}));
    client.delete(&path).await.problem(404, "not_found");
    client.get(&path).await.problem(404, "not_found");
    assert!(client.inbox("b").await.is_empty());
    // Not even after a restart, when the newest number can be read from no row.
    let server = Server::start_in(server.stop(), |_| {}).await;
    assert!(server.client.say("a", "b", "2").await.id > message.id);
}

#[tokio::test]
async fn senders_are_who_they_say() {
    let server = Server::start().await;
    let client = &server.client;
    // On loopback everybody is the administrator, but nobody is the relay.
    client.post("/api/messages", json!({"from": "system", "to": "a", "body": "b"})).await.problem(403, "not_allowed");
    client.say("user", "a", "from the human").await;
    let system = client.send(json!({"from": "user", "to": "a", "body": "b", "type": "system"})).await;
    assert_eq!(client.messages("type=system").await, [system]);
    for key in ["agentControl", "orchestratorControl", "commandId"] {
        let draft = json!({"from": "a", "to": "b", "body": "b", "meta": {key: 1}});
        client.post("/api/messages", draft).await.problem(400, "reserved_meta");
    }
    assert_eq!(client.messages("").await.len(), 2, "what was refused was not stored");
}

#[tokio::test]
async fn a_thread_comes_in_pages_like_every_list() {
    let server = Server::start().await;
    let client = &server.client;
    let first = client.say("a", "b", "0").await;
    for n in 1..=4 {
        client.send(json!({"from": "b", "to": "a", "body": n.to_string(), "replyTo": first.id})).await;
    }
    let path = format!("/api/messages/{}/thread", first.id);
    let (mut bodies, mut next) = (Vec::new(), Some(format!("{path}?limit=2")));
    while let Some(page) = next {
        let answer = client.get(&page).await;
        next = answer.next_page();
        let page: Vec<Message> = answer.expect(200);
        assert!(page.len() <= 2);
        bodies.extend(page.into_iter().map(|message| message.body));
    }
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    let rest: Vec<Message> = client.get(&format!("{path}?since={}", first.id)).await.expect(200);
    assert_eq!(rest.len(), 4);
    for wrong in ["0", "1001"] {
        client.get(&format!("{path}?limit={wrong}")).await.invalid("limit must be between 1 and 1000");
    }
}

#[tokio::test]
async fn a_sender_is_somebody_and_no_group() {
    let server = Server::start().await;
    for from in ["broadcast", "tag:x", "cap:x", "label:x", "channel:x"] {
        let message = json!({"from": from, "to": "b", "body": "x"});
        server.client.post("/api/messages", message).await.problem(400, "reserved_id");
    }
}

#[tokio::test]
async fn only_the_first_readers_are_named() {
    let server = Server::start().await;
    let client = &server.client;
    let readers: Vec<String> = (0..102).map(|n| format!("reader-{n:03}")).collect();
    for reader in &readers {
        client.register(json!({"id": reader})).await;
    }
    let message = client.say("x", "broadcast", "news").await;
    assert_eq!((message.read_by.len(), message.read_count), (0, 0));
    for (number, reader) in readers.iter().enumerate() {
        let read = client.post(&format!("/api/messages/{}/read", message.id), json!({"agentId": reader})).await;
        assert_eq!(read.expect::<Message>(200).read_count, i64::try_from(number).expect("a number") + 1);
    }
    let read = client.get(&format!("/api/messages/{}", message.id)).await.expect::<Message>(200);
    assert_eq!(read.read_by.iter().map(|reader| reader.as_str()).collect::<Vec<_>>(), readers[..100]);
    assert_eq!(read.read_count, 102);
}
