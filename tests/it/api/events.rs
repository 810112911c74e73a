//! The event stream: what comes first, what is told to whom, and where a stream may begin.

mod log;
mod replay;
mod slow;

use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::server::{Server, Stream, eventually, until};

#[tokio::test]
async fn a_stream_begins_by_saying_where_it_is() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.open_stream("types=message.new", None).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("no-store"));
    assert_eq!(stream.header("x-accel-buffering"), Some("no"));
    assert!(stream.header("x-request-id").is_some());
    let ready = stream.ready().await;
    assert_eq!(ready.text("from"), ready.text("latest"), "from now on");
    assert_eq!(stream.parser.retries.len(), 1, "clients are told how long to wait before they come back");
    let sent: Value = client.post("/api/messages", json!({"from": "a", "to": "b", "body": "1"})).await.expect(201);
    let message: Value = client.get(&format!("/api/messages/{}", sent["id"])).await.expect(200);
    let frame = stream.next().await;
    assert_eq!((frame.event.as_str(), &frame.data), ("message.new", &message));
    let (epoch, seq) = frame.id.as_deref().and_then(|id| id.rsplit_once('-')).expect("EPOCH-NUMBER");
    assert!(ready.text("from").starts_with(&format!("{epoch}-")) && seq.parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_is_alive() {
    let server = Server::start().await;
    let mut stream = server.client.follow("agent=nobody").await;
    let before = Timestamp::now();
    while stream.parser.comments == 0 {
        assert!(stream.read().await);
    }
    assert!(Timestamp::now() - before > 10_000, "not more often than it takes");
    assert!(stream.parser.frames.is_empty());
}

#[tokio::test]
async fn an_agents_stream_has_what_concerns_it_and_nothing_else() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["ops"]})).await;
    client.register(json!({"id": "bob", "tags": ["ops"]})).await;
    client.register_all(&["cyd"]).await;
    let mut ada = client.follow("agent=ada").await;
    client.say("bob", "cyd", "not hers").await;
    client.say("ada", "tag:ops", "her own").await;
    let own = client.send(json!({"from": "ada", "to": "bob", "body": "work", "claimable": true})).await;
    client.patch("/api/agents/bob/status", json!({"status": "busy"})).await.expect::<Value>(200);
    client.post("/api/plugins/reload", json!({})).await;
    client.say("bob", "broadcast", "to all").await;
    client.say("bob", "tag:ops", "to ops").await;
    client.say("bob", "ada", "to her").await;
    let path = format!("/api/messages/{}/claim", own.id);
    client.post(&path, json!({"agentId": "bob"})).await.expect::<Value>(200);
    client.patch("/api/agents/ada/status", json!({"status": "busy"})).await.expect::<Value>(200);
    let told: Vec<_> = [ada.next().await, ada.next().await, ada.next().await, ada.next().await, ada.next().await]
        .into_iter()
        .map(|frame| {
            (frame.event.clone(), frame.data["body"].as_str().or(frame.data["id"].as_str()).map(str::to_owned))
        })
        .collect();
    let new = |body: &str| ("message.new".to_owned(), Some(body.to_owned()));
    assert_eq!(
        told,
        [
            new("to all"),
            new("to ops"),
            new("to her"),
            ("message.claimed".to_owned(), None),
            ("agent.status".to_owned(), Some("ada".to_owned())),
        ]
    );
}

#[tokio::test]
async fn types_are_chosen_by_name() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.follow("types=message.deleted,%20agent.removed").await;
    client.register_all(&["a"]).await;
    let message = client.say("a", "b", "1").await;
    client.delete(&format!("/api/messages/{}", message.id)).await.expect::<Value>(200);
    client.delete("/api/agents/a").await.expect::<Value>(200);
    assert_eq!(stream.next().await.event, "message.deleted");
    assert_eq!(stream.next().await.event, "agent.removed");
    for route in ["/api/events", "/api/events/log"] {
        client.get(&format!("{route}?types=message.new,nonsense")).await.invalid("\"nonsense\"");
        for wrong in ["7", "x", "e-", "-1", "e--1", "e-1x"] {
            client.get(&format!("{route}?since={wrong}")).await.invalid("since");
        }
    }
    let wrong = client.request(reqwest::Method::GET, "/api/events").header("Last-Event-ID", "nonsense");
    client.call(wrong).await.invalid("Last-Event-ID");
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_and_the_header_wins() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.follow("agent=a").await;
    let mut ids = Vec::new();
    for n in 0..4 {
        client.say("x", "a", &n.to_string()).await;
        ids.push(stream.next().await.id.expect("an id"));
    }
    drop(stream);
    let mut by_query = client.follow(&format!("agent=a&since={}", ids[1])).await;
    assert_eq!(by_query.bodies_until("3").await, ["2", "3"]);
    let mut by_header = client.open_stream(&format!("agent=a&since={}", ids[0]), Some(&ids[2])).await;
    let ready = by_header.ready().await;
    assert_eq!(ready.text("from"), ids[2]);
    assert_eq!(by_header.bodies_until("3").await, ["3"]);
    // Also over a restart: the numbers go on.
    let server = Server::start_in(server.stop(), |_| {}).await;
    let mut after = server.client.open_stream("agent=a", Some(&ids[2])).await;
    after.ready().await;
    server.client.say("x", "a", "4").await;
    assert_eq!(after.bodies_until("4").await, ["3", "4"]);
}

/// Opens a stream at a position that is not there: the reason, and the stream after it.
async fn reset(server: &Server, position: &str) -> (String, Stream) {
    let mut stream = server.client.open_stream("agent=a", Some(position)).await;
    let frame = stream.next().await;
    assert_eq!((frame.event.as_str(), &frame.id), ("relay.reset", &None));
    assert!(frame.text("oldest").contains('-'));
    stream.ready().await;
    (frame.text("reason").to_owned(), stream)
}

#[tokio::test]
async fn a_gap_is_told_and_never_silent() {
    let server = Server::start().await;
    let mut stream = server.client.follow("agent=a").await;
    for n in 0..20 {
        server.client.say("x", "a", &n.to_string()).await;
    }
    let first = stream.next().await;
    let (epoch, _) = first.id.as_deref().and_then(|id| id.rsplit_once('-')).expect("EPOCH-NUMBER");
    for position in [format!("other-{}", first.seq()), format!("{epoch}-{}", first.seq() + 1_000)] {
        let (reason, mut stream) = reset(&server, &position).await;
        assert_eq!(reason, "unknown_epoch", "{position}");
        server.client.say("x", "a", &position).await;
        assert_eq!(stream.bodies_until(&position).await, [position], "from now on");
    }

    // What is older than what is kept: only the newest events survive this restart.
    let server = Server::start_in(server.stop(), |config| config.events.count = 5).await;
    let oldest = eventually("old events are deleted", async || {
        let oldest: Vec<Value> = server.client.get("/api/events/log?limit=1").await.expect(200);
        let id = oldest[0]["id"].as_str()?.to_owned();
        let seq: i64 = id.rsplit_once('-')?.1.parse().ok()?;
        (seq > first.seq() + 10).then_some(seq)
    })
    .await;
    let (reason, mut stream) = reset(&server, first.id.as_deref().expect("an id")).await;
    assert_eq!(reason, "too_old");
    server.client.say("x", "a", "end").await;
    assert!(stream.next().await.seq() >= oldest, "what is left comes all the same");
    stream.bodies_until("end").await;
}

#[tokio::test]
async fn a_replay_tells_a_message_as_it_was_sent() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let mut live = client.open_stream("agent=a&types=message.new", None).await;
    let start = live.ready().await.text("from").to_owned();
    let sent = client.send(json!({"from": "x", "to": "a", "body": "work", "claimable": true})).await;
    let id = sent.id.get();
    let path = format!("/api/messages/{id}");
    let claim: Value = client.post(&format!("{path}/claim"), json!({"agentId": "a"})).await.expect(200);
    let done = json!({"agentId": "a", "claimGeneration": claim["claimGeneration"]});
    client.post(&format!("{path}/claim/complete"), done).await.expect::<Value>(200);
    client.post(&format!("{path}/read"), json!({"agentId": "a"})).await.expect::<Value>(200);
    let told = live.next().await;
    let mut later = client.open_stream("agent=a&types=message.new", Some(&start)).await;
    later.ready().await;
    let replayed = later.next().await;
    assert_eq!((&replayed.id, &replayed.data), (&told.id, &told.data));
    assert_eq!((&told.data, told.seq()), (&json!(sent), id), "a message is its own event");
}

#[tokio::test]
async fn what_expired_is_not_replayed() {
    let server = Server::start_with(|config| config.command_lifetime = std::time::Duration::from_secs(3)).await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let mut stream = client.open_stream("agent=a&types=message.new", None).await;
    let start = stream.ready().await.text("from").to_owned();
    let expires_at = Timestamp::now() + 3_000;
    client.send(json!({"from": "x", "to": "a", "body": "short", "expiresAt": expires_at})).await;
    let answer: Value = client.post("/api/agents/a/actions", json!({"action": "shutdown"})).await.expect(202);
    client.say("x", "a", "lasting").await;
    assert_eq!(stream.next().await.text("body"), "short", "in time it is told");
    assert_eq!(stream.next().await.data, answer["message"]);
    let of_control = answer["message"]["expiresAt"].as_i64().expect("a control message expires");
    until(expires_at.max(Timestamp::from_ms(of_control))).await;
    let mut later = client.open_stream("agent=a&types=message.new", Some(&start)).await;
    later.ready().await;
    assert_eq!(later.bodies_until("lasting").await, ["lasting"], "nobody is shut down by an old click");
    assert_eq!(client.inbox("a").await, ["lasting"]);
}

#[tokio::test]
async fn an_open_stream_follows_the_card_of_its_agent() {
    let server = Server::start().await;
    let client = &server.client;
    // Opened before the agent is there.
    let mut stream = client.follow("agent=a&types=message.new").await;
    client.say("x", "broadcast", "before it registered").await;
    client.register_all(&["a"]).await;
    client.say("x", "tag:t", "before the tag").await;
    client.patch("/api/agents/a/tags", json!({"tags": ["t"]})).await.expect::<Value>(200);
    client.say("x", "tag:t", "with the tag").await;
    client.patch("/api/agents/a/label", json!({"label": "L"})).await.expect::<Value>(200);
    client.say("x", "label:L", "with the label").await;
    client.patch("/api/agents/a/tags", json!({"tags": []})).await.expect::<Value>(200);
    client.say("x", "tag:t", "after the tag").await;
    client.register(json!({"id": "a", "capabilities": ["c"], "meta": {"channels": ["dev"]}})).await;
    client.say("x", "cap:c", "with the capability").await;
    client.say("x", "channel:dev", "with the channel").await;
    client.delete("/api/agents/a").await.expect::<Value>(200);
    client.say("x", "cap:c", "when it was gone").await;
    client.say("x", "a", "end").await;
    let bodies = ["with the tag", "with the label", "with the capability", "with the channel", "end"];
    assert_eq!(stream.bodies_until("end").await, bodies);
}
