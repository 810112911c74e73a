//! Whoever sent what nobody read hears of it, once.

use std::time::Duration;

use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::server::{Client, Server, until};

/// The bounces that an agent got, oldest first.
async fn bounces(client: &Client, agent: &str) -> Vec<Message> {
    let messages = client.messages(&format!("for={agent}&type=system&limit=1000")).await;
    messages.into_iter().filter(|message| message.meta.contains("bounce")).collect()
}

async fn reap(client: &Client) {
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
}

/// One bounce, which must be this.
#[track_caller]
fn assert_bounce(bounce: &Message, messages: &[&Message], reason: &str) {
    let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    let newest = messages.last().expect("a message");
    let expected = json!({"messageId": newest.id, "messageIds": ids, "to": newest.to, "reason": reason});
    assert_eq!(bounce.meta.value()["bounce"], expected);
    assert_eq!((bounce.from.as_str(), bounce.to.as_str()), ("system", newest.from.as_str()));
    assert_eq!((bounce.kind.as_str(), bounce.subject.as_deref()), ("system", Some("Not read")));
    assert_eq!((bounce.reply_to, bounce.thread_id), (Some(newest.id), newest.thread_id));
    assert!(bounce.sender.verified && bounce.body.contains(&newest.id.to_string()), "{bounce:?}");
}

#[tokio::test]
async fn what_expired_unread_is_told_to_its_sender() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "bob", "tags": ["t"]})).await;
    let expires_at = Timestamp::now() + 3_000;
    let send = async |from: &str, to: &str, more: Value| {
        let mut draft = json!({"from": from, "to": to, "body": "b", "expiresAt": expires_at});
        draft.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        client.send(draft).await
    };
    let first = send("ada", "bob", json!({})).await;
    let second = send("ada", "bob", json!({})).await;
    let other = send("ada", "nobody", json!({})).await;
    let of_eve = send("eve", "bob", json!({})).await;
    let read = send("ada", "bob", json!({})).await;
    client.post(&format!("/api/messages/{}/read", read.id), json!({"agentId": "bob"})).await.expect::<Message>(200);
    let claimed = send("ada", "bob", json!({"claimable": true})).await;
    client.post(&format!("/api/messages/{}/claim", claimed.id), json!({"agentId": "bob"})).await.expect::<Message>(200);
    send("ada", "tag:t", json!({})).await;
    send("bob", "bob", json!({})).await;
    let of_user = send("user", "bob", json!({})).await;
    client.send(json!({"from": "ada", "to": "bob", "body": "still there"})).await;
    reap(client).await;
    assert!(bounces(client, "ada").await.is_empty(), "their time is not over");
    until(expires_at).await;
    for _ in 0..2 {
        reap(client).await;
        let told = bounces(client, "ada").await;
        let [to_bob, to_nobody] = &told[..] else { panic!("{told:?}") };
        assert_bounce(to_bob, &[&first, &second], "expired");
        assert_bounce(to_nobody, &[&other], "expired");
        let told = bounces(client, "eve").await;
        assert_eq!(told.len(), 1);
        assert_bounce(&told[0], &[&of_eve], "expired");
        for nobody in ["bob", "user", "system"] {
            assert!(bounces(client, nobody).await.is_empty(), "{nobody}");
        }
        let entries = client.activity("kind=message").await;
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((entry.title.as_str(), entry.message_id), ("Not read", Some(of_user.id)));
        assert_eq!(entry.agent_id.as_deref(), Some("bob"));
    }
    // Gone as well, the agent has left nothing more to tell but what was still there.
    client.delete("/api/agents/bob").await.expect::<Value>(200);
    assert_eq!((bounces(client, "ada").await.len(), bounces(client, "eve").await.len()), (3, 1));
}

#[tokio::test]
async fn what_an_agent_left_unread_is_told_when_it_is_deleted_and_not_again() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada", "bob"]).await;
    let mut stream = client.follow("agent=ada&types=message.new").await;
    let read = client.say("ada", "bob", "read").await;
    client.post(&format!("/api/messages/{}/read", read.id), json!({"agentId": "bob"})).await.expect::<Message>(200);
    let (first, second) = (client.say("ada", "bob", "1").await, client.say("ada", "bob", "2").await);
    client.say("ada", "broadcast", "to all").await;
    client.delete("/api/agents/bob").await.expect::<Value>(200);
    let told = bounces(client, "ada").await;
    assert_eq!(told.len(), 1);
    assert_bounce(&told[0], &[&first, &second], "deleted");
    assert_eq!(stream.next().await.data["id"], json!(told[0].id), "it is told live");
    // Whoever comes under this id gets what waits, and leaves nothing that was not told.
    client.register_all(&["bob"]).await;
    assert_eq!(client.inbox("bob").await, ["read", "1", "2"]);
    let third = client.say("ada", "bob", "3").await;
    client.delete("/api/agents/bob").await.expect::<Value>(200);
    let told = bounces(client, "ada").await;
    assert_eq!(told.len(), 2);
    assert_bounce(&told[1], &[&third], "deleted");
    // The one who was told goes too: a bounce is not told.
    client.delete("/api/agents/ada").await.expect::<Value>(200);
    assert!(bounces(client, "system").await.is_empty());
    assert!(client.activity("kind=message").await.is_empty());
}

#[tokio::test]
async fn what_a_forgotten_agent_left_unread_is_told() {
    let server = Server::start_with(|config| {
        config.agents.offline_after = Duration::from_millis(1);
        config.agents.prune_after = Duration::from_millis(2);
    })
    .await;
    let client = &server.client;
    let card = client.register(json!({"id": "bob"})).await;
    let left = client.say("ada", "bob", "1").await;
    until(card.last_seen + 50).await;
    reap(client).await;
    let told = bounces(client, "ada").await;
    assert_eq!(told.len(), 1);
    assert_bounce(&told[0], &[&left], "pruned");
}

#[tokio::test]
async fn what_an_agent_left_unread_is_told_when_its_shutdown_has_succeeded() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["bob"]).await;
    let left = client.say("ada", "bob", "1").await;
    for (action, status, told) in [
        ("restart", "succeeded", 0),
        ("shutdown", "failed", 0),
        ("shutdown", "succeeded", 1),
        ("shutdown", "succeeded", 1),
    ] {
        let begun: Value = client.post("/api/agents/bob/actions", json!({"action": action})).await.expect(202);
        assert!(bounces(client, "ada").await.len() <= told, "not before it has succeeded");
        let command = format!("/api/commands/{}", begun["command"]["id"]);
        client.patch(&command, json!({"status": status})).await.expect::<Value>(200);
        assert_eq!(bounces(client, "ada").await.len(), told, "{action} {status}");
    }
    assert_bounce(&bounces(client, "ada").await[0], &[&left], "shutdown");
    // The commands themselves have their own records.
    assert!(client.activity("kind=message").await.is_empty());
}

#[tokio::test]
async fn what_an_orchestrator_shut_down_left_unread_is_told() {
    let server = Server::start().await;
    let client = &server.client;
    let host = json!({"id": "o", "hostname": "h", "baseDir": "/"});
    client.post("/api/orchestrators", host).await.expect::<Value>(201);
    let managed: Vec<_> = ["bob", "cyd"]
        .map(|id| {
            json!({"agentId": id, "provider": "claude", "tmuxSession": id,
        "cwd": "/", "approvalMode": "guarded", "startedAt": 1})
        })
        .into();
    client.patch("/api/orchestrators/o/agents", json!({"agents": managed})).await.expect::<Value>(200);
    for (to, action) in
        [("bob", json!({"action": "shutdown", "agentId": "bob"})), ("cyd", json!({"action": "shutdown", "all": true}))]
    {
        let left = client.say("ada", to, "1").await;
        let begun: Value = client.post("/api/orchestrators/o/actions", action).await.expect(202);
        let command = format!("/api/commands/{}", begun["command"]["id"]);
        client.patch(&command, json!({"status": "succeeded"})).await.expect::<Value>(200);
        let told = bounces(client, "ada").await;
        assert_bounce(told.last().expect("a bounce"), &[&left], "shutdown");
    }
    assert_eq!(bounces(client, "ada").await.len(), 2);
}

/// More than one transaction looks at is told in several, each message once.
#[tokio::test]
async fn very_many_unread_messages_are_told_in_steps() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["bob"]).await;
    let mut sent = Vec::new();
    for n in 0..1_203 {
        sent.push(client.say("ada", "bob", &n.to_string()).await.id);
    }
    client.delete("/api/agents/bob").await.expect::<Value>(200);
    assert_eq!(bounces(client, "ada").await.len(), 1, "the first ones at once");
    // What is left is on disk: a relay that ends here goes on.
    let server = Server::start_in(server.stop(), |_| {}).await;
    let client = &server.client;
    reap(client).await;
    let told = bounces(client, "ada").await;
    assert!(told.len() > 1);
    let mut ids = Vec::new();
    for bounce in told {
        let bounce = bounce.meta.value()["bounce"].clone();
        ids.extend(bounce["messageIds"].as_array().expect("ids").iter().map(|id| id.as_i64().expect("a number")));
    }
    assert_eq!(ids, sent.iter().map(|id| id.get()).collect::<Vec<_>>(), "each once");
}
