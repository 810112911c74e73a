//! Pairs over HTTP: who may do what when, what is told to whom, and how they end.

use agent_relay::domain::message::Message;
use agent_relay::domain::pair::{Pair, PairStatus};
use serde_json::{Value, json};

use super::control::with_tokens;
use crate::server::{Answer, Client, Server};

async fn ask(client: &Client, requester: &str, target: &str) -> Pair {
    client.post("/api/pairs", json!({"requesterId": requester, "targetId": target})).await.expect(201)
}

/// `accept`, `reject` or `end`.
async fn step(client: &Client, pair: &Pair, step: &str, agent: &str) -> Answer {
    client.post(&format!("/api/pairs/{}/{step}", pair.id), json!({"agentId": agent})).await
}

async fn say(client: &Client, pair: &Pair, from: &str, body: &str) -> Answer {
    client.post(&format!("/api/pairs/{}/messages", pair.id), json!({"from": from, "body": body})).await
}

async fn with_agents() -> Server {
    let server = Server::start().await;
    server.client.register_all(&["a", "b", "c", "d"]).await;
    server
}

#[tokio::test]
async fn a_pair_from_its_request_to_its_end() {
    let server = with_agents().await;
    let client = &server.client;
    let mut of_a = client.follow("agent=a&types=pair.updated").await;
    let mut of_b = client.follow("agent=b&types=pair.updated").await;
    let mut of_c = client.follow("agent=c&types=pair.updated,message.new").await;
    let body = json!({"requesterId": "a", "targetId": " b ", "objective": " review\nthe parser "});
    let asked: Value = client.post("/api/pairs", body).await.expect(201);
    let created = asked["createdAt"].as_i64().expect("a time");
    let expected = json!({
        "id": asked["id"], "requesterId": "a", "targetId": "b", "status": "pending", "objective": "review\nthe parser",
        "createdAt": created, "lastActivityAt": created, "expiresAt": created + 600_000,
    });
    assert_eq!(asked, expected);
    let pair: Pair = serde_json::from_value(asked.clone()).expect("a pair");
    let path = format!("/api/pairs/{}", pair.id);
    assert_eq!(client.get(&path).await.expect::<Value>(200), asked);
    for stream in [&mut of_a, &mut of_b] {
        assert_eq!(stream.next().await.data, asked);
    }

    // Not yet.
    say(client, &pair, "a", "too early").await.problem(409, "illegal_transition");
    // Who asked does not answer.
    step(client, &pair, "accept", "a").await.problem(403, "not_of_pair");
    step(client, &pair, "reject", "a").await.problem(403, "not_of_pair");
    for stranger in ["c", "nobody"] {
        for what in ["accept", "reject", "end"] {
            step(client, &pair, what, stranger).await.problem(403, "not_of_pair");
        }
        say(client, &pair, stranger, "hello").await.problem(403, "not_of_pair");
    }
    let accepted: Pair = step(client, &pair, "accept", "b").await.expect(200);
    assert_eq!(accepted.status, PairStatus::Active);
    assert_eq!(accepted.expires_at, accepted.accepted_at.map(|at| at + 7_200_000));
    for what in ["accept", "reject"] {
        step(client, &pair, what, "b").await.problem(409, "illegal_transition");
    }

    let first: Message = say(client, &pair, "a", "  what of this?\n").await.expect(201);
    assert_eq!((first.to.as_str(), first.body.as_str()), ("b", "  what of this?\n"));
    assert_eq!(first.meta.get("pairId"), Some(json!(pair.id)));
    let second: Message = say(client, &pair, "b", "good").await.expect(201);
    assert_eq!((second.to.as_str(), second.thread_id, second.reply_to), ("a", first.id, Some(first.id)));
    let now: Pair = client.get(&path).await.expect(200);
    assert_eq!((now.thread_id, now.last_activity_at), (Some(first.id), second.created_at));
    assert_eq!(client.inbox("b").await, ["  what of this?\n"]);
    // The thread goes on without its beginning.
    client.delete(&format!("/api/messages/{}", first.id)).await.expect::<Value>(200);
    let third: Message = say(client, &pair, "a", "thanks").await.expect(201);
    assert_eq!((third.thread_id, third.reply_to), (third.id, None));

    let ended: Value = step(client, &pair, "end", "a").await.expect(200);
    assert_eq!(
        (&ended["status"], &ended["endedBy"], &ended["expiresAt"]),
        (&json!("ended"), &json!("a"), &Value::Null)
    );
    for stream in [&mut of_a, &mut of_b] {
        assert_eq!(stream.next().await.data["status"], "active");
        assert_eq!(stream.next().await.data, ended, "a message is no change of its own");
    }
    for what in ["accept", "reject", "end"] {
        step(client, &pair, what, "b").await.problem(409, "illegal_transition");
    }
    say(client, &pair, "a", "too late").await.problem(409, "illegal_transition");
    let titles: Vec<String> = client.activity("kind=pair").await.into_iter().map(|entry| entry.title).collect();
    assert_eq!(titles, ["Pair ended", "Pair accepted", "Pair requested"]);
    // Nobody else heard of it.
    client.say("x", "c", "last").await;
    assert_eq!(of_c.next().await.text("body"), "last");
}

#[tokio::test]
async fn nobody_is_in_two_pairs() {
    let server = with_agents().await;
    let client = &server.client;
    let pair = ask(client, "a", "b").await;
    for (requester, target, busy) in
        [("a", "c", "a"), ("c", "a", "a"), ("b", "c", "b"), ("c", "b", "b"), ("a", "b", "a")]
    {
        let problem = client
            .post("/api/pairs", json!({"requesterId": requester, "targetId": target}))
            .await
            .problem(409, "already_paired");
        assert_eq!((&problem["agentId"], &problem["pairId"]), (&json!(busy), &json!(pair.id)));
    }
    step(client, &pair, "accept", "b").await.expect::<Value>(200);
    client.post("/api/pairs", json!({"requesterId": "c", "targetId": "b"})).await.problem(409, "already_paired");
    let other = ask(client, "c", "d").await;
    step(client, &pair, "end", "b").await.expect::<Value>(200);
    step(client, &other, "reject", "d").await.expect::<Value>(200);
    let again = ask(client, "b", "c").await;
    // While nobody has answered, either may end it.
    step(client, &again, "end", "b").await.expect::<Value>(200);
    let again = ask(client, "b", "c").await;
    step(client, &again, "end", "c").await.expect::<Value>(200);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_by_name() {
    let server = with_agents().await;
    let client = &server.client;
    let ask = async |body: Value| client.post("/api/pairs", body).await;
    ask(json!({"targetId": "b"})).await.invalid("requesterId required");
    ask(json!({"requesterId": "a"})).await.invalid("targetId required");
    ask(json!({"requesterId": "a", "targetId": "a"})).await.invalid("another agent");
    ask(json!({"requesterId": "nobody", "targetId": "nobody"})).await.invalid("another agent");
    ask(json!({"requesterId": "a", "targetId": "b", "objective": "x".repeat(2_001)})).await.invalid("objective");
    for (requester, target) in [("a", "nobody"), ("nobody", "a"), ("a", "tag:t")] {
        ask(json!({"requesterId": requester, "targetId": target})).await.problem(404, "not_found");
    }
    ask(json!({"requesterId": "a", "targetId": "system"})).await.problem(400, "reserved_id");
    ask(json!({"requesterId": "system", "targetId": "a"})).await.problem(403, "not_allowed");
    for path in ["/api/pairs/999", "/api/pairs/999/accept", "/api/pairs/999/messages"] {
        let answer = match path.rsplit_once('/') {
            Some((_, "999")) => client.get(path).await,
            _ => client.post(path, json!({"agentId": "a", "from": "a", "body": "b"})).await,
        };
        answer.problem(404, "not_found");
    }
    client.get("/api/pairs?status=over").await.invalid("pending, active, ended, rejected, expired");
    // Nothing came of any of it.
    assert_eq!(client.get("/api/pairs").await.expect::<Value>(200), json!([]));
    assert!(client.activity("kind=pair").await.is_empty());
}

#[tokio::test]
async fn a_key_asks_and_says_once() {
    let server = with_agents().await;
    let client = &server.client;
    let keyed = async |path: &str, body: Value| {
        let request = client.request(reqwest::Method::POST, path).header("Idempotency-Key", "k").json(&body);
        client.call(request).await
    };
    let body = json!({"requesterId": "a", "targetId": "b"});
    let first: Value = keyed("/api/pairs", body.clone()).await.expect(201);
    let again = keyed("/api/pairs", body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect::<Value>(200), first);
    keyed("/api/pairs", json!({"requesterId": "c", "targetId": "d"})).await.problem(422, "idempotency_key_reused");
    let pair: Pair = serde_json::from_value(first).expect("a pair");
    step(client, &pair, "accept", "b").await.expect::<Value>(200);
    let path = format!("/api/pairs/{}/messages", pair.id);
    for status in [201, 200] {
        keyed(&path, json!({"from": "a", "body": "once"})).await.expect::<Value>(status);
    }
    assert_eq!(client.inbox("b").await, ["once"]);
}

#[tokio::test]
async fn the_pair_of_an_agent_that_goes_has_ended() {
    let server = with_agents().await;
    let client = &server.client;
    let (pending, active) = (ask(client, "a", "b").await, ask(client, "c", "d").await);
    step(client, &active, "accept", "d").await.expect::<Value>(200);
    let mut of_c = client.follow("agent=c&types=pair.updated").await;
    for (pair, gone, left) in [(pending, "b", "a"), (active, "d", "c")] {
        client.delete(&format!("/api/agents/{gone}")).await.expect::<Value>(200);
        let ended: Pair = client.get(&format!("/api/pairs/{}", pair.id)).await.expect(200);
        assert_eq!((ended.status, ended.ended_by.as_deref()), (PairStatus::Ended, Some(gone)));
        say(client, &pair, left, "?").await.problem(409, "illegal_transition");
    }
    assert_eq!(of_c.next().await.data["status"], "ended");
    ask(client, "a", "c").await;
}

#[tokio::test]
async fn lists_are_newest_first_and_filtered() {
    let server = with_agents().await;
    let client = &server.client;
    let mut ids = Vec::new();
    for (requester, target, what) in [("a", "b", "reject"), ("b", "c", "end"), ("c", "a", "end"), ("a", "d", "")] {
        let pair = ask(client, requester, target).await;
        if !what.is_empty() {
            step(client, &pair, what, target).await.expect::<Value>(200);
        }
        ids.push(pair.id.get());
    }
    let list = async |query: &str| -> Vec<i64> {
        let (mut found, mut path) = (Vec::new(), Some(format!("/api/pairs?limit=2&{query}")));
        while let Some(page) = path {
            let answer = client.get(&page).await;
            path = answer.next_page();
            found.extend(answer.expect::<Vec<Pair>>(200).into_iter().map(|pair| pair.id.get()));
        }
        found
    };
    for (query, expected) in [
        ("", vec![3, 2, 1, 0]),
        ("agent=a", vec![3, 2, 0]),
        ("agent=c", vec![2, 1]),
        ("status=ended", vec![2, 1]),
        ("agent=a&status=ended", vec![2]),
        ("agent=a&status=pending", vec![3]),
        ("agent=nobody", vec![]),
    ] {
        let expected: Vec<i64> = expected.into_iter().map(|index: usize| ids[index]).collect();
        assert_eq!(list(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_bound_credential_is_one_of_the_two_and_nobody_else() {
    let (server, [a, b, c, reader]) = with_tokens([
        ("of-a", "agent", Some("a")),
        ("of-b", "agent", Some("b")),
        ("of-c", "agent", Some("c")),
        ("reader", "read", None),
    ])
    .await;
    server.client.register_all(&["a", "b", "c"]).await;
    b.post("/api/pairs", json!({"requesterId": "a", "targetId": "c"})).await.problem(403, "wrong_identity");
    // Who it is needs not be said.
    let pair: Pair = a.post("/api/pairs", json!({"targetId": "b"})).await.expect(201);
    assert_eq!(pair.requester_id, "a");
    let path = format!("/api/pairs/{}", pair.id);
    step(&c, &pair, "end", "a").await.problem(403, "wrong_identity");
    c.post(&format!("{path}/accept"), json!({})).await.problem(403, "not_of_pair");
    c.get(&path).await.problem(403, "not_of_pair");
    c.get("/api/pairs?agent=a").await.problem(403, "wrong_identity");
    assert_eq!(c.get("/api/pairs").await.expect::<Value>(200), json!([]));
    b.post(&format!("{path}/accept"), json!({})).await.expect::<Pair>(200);
    say(&b, &pair, "a", "as somebody else").await.problem(403, "wrong_identity");
    let said: Message = b.post(&format!("{path}/messages"), json!({"body": "hello"})).await.expect(201);
    assert_eq!((said.from.as_str(), said.to.as_str()), ("b", "a"));
    for client in [&a, &b, &reader] {
        assert_eq!(client.get("/api/pairs").await.expect::<Vec<Pair>>(200).len(), 1);
        client.get(&path).await.expect::<Pair>(200);
    }
    reader.post(&format!("{path}/end"), json!({"agentId": "a"})).await.problem(403, "not_allowed");
}

#[tokio::test]
async fn an_old_session_takes_no_step() {
    let server = with_agents().await;
    let client = &server.client;
    client.register(json!({"id": "b", "instanceId": "i2"})).await;
    let pair = ask(client, "a", "b").await;
    let path = format!("/api/pairs/{}", pair.id);
    let old =
        json!({"agentId": "b", "from": "b", "body": "x", "requesterId": "b", "targetId": "c", "instanceId": "i1"});
    client.post("/api/pairs", old.clone()).await.problem(409, "stale_session");
    for what in ["accept", "reject", "end"] {
        client.post(&format!("{path}/{what}"), old.clone()).await.problem(409, "stale_session");
    }
    let current = json!({"agentId": "b", "instanceId": "i2"});
    client.post(&format!("{path}/accept"), current).await.expect::<Pair>(200);
    client.post(&format!("{path}/messages"), old).await.problem(409, "stale_session");
}
