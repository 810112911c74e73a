//! Rates: each caller has its own, every answer tells how it stands, and one who sends too much waits.

use agent_relay::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::TOKEN;
use crate::server::{Answer, Client, Server};

async fn limited(per_minute: u32) -> Server {
    let secret = Secret::parse("test", TOKEN).expect("a token");
    Server::start_with(|config| {
        config.token = Some(secret);
        config.limits.http.requests_per_minute = per_minute;
    })
    .await
}

async fn with_scope(admin: &Client, scope: &str) -> Client {
    let made: Value = admin.post("/api/tokens", json!({"name": scope, "scopes": [scope]})).await.expect(201);
    admin.with_token(made["token"].as_str())
}

/// How many more requests an answer says there is room for.
fn remaining(answer: &Answer) -> u32 {
    let policy = answer.header("ratelimit-policy").unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(policy, "\"requests\";q=3;w=60");
    let standing = answer.header("ratelimit").expect("how it stands");
    let rest = standing.strip_prefix("\"requests\";r=").expect("a quota");
    let (remaining, seconds) = rest.split_once(";t=").expect("a time");
    assert!((1..=20).contains(&seconds.parse::<u64>().expect("seconds")), "{standing}");
    remaining.parse().expect("a number")
}

/// The general rate. Integrations have buckets of their own.
#[tokio::test]
async fn each_caller_has_its_own_rate_and_is_told_how_it_stands() {
    let server = limited(3).await;
    let admin = &server.client;
    let (reader, other) = (with_scope(admin, "read").await, with_scope(admin, "send").await);
    assert_eq!(remaining(&reader.get("/api/agents").await), 2);
    // One that is refused counts, and is told too.
    let refused = reader.post("/api/agents", json!({"id": "a"})).await;
    assert_eq!((refused.status, remaining(&refused)), (403, 1));
    let wrong = reader.get("/api/agents?limit=x").await;
    assert_eq!((wrong.status, remaining(&wrong)), (400, 0));
    for _ in 0..3 {
        let answer = reader.get("/api/agents").await;
        assert_eq!(remaining(&answer), 0);
        let wait: u64 = answer.header("retry-after").expect("how long to wait").parse().expect("seconds");
        assert!((1..=20).contains(&wait));
        answer.problem(429, "rate_limited");
    }
    let sent = other.post("/api/messages", json!({"from": "a", "to": "b", "body": "1"})).await;
    assert_eq!((sent.status, remaining(&sent)), (201, 2), "another has its own");
    for _ in 0..10 {
        assert_eq!(reader.get("/livez").await.status, 200, "what is open to everybody is not counted");
    }
}

#[tokio::test]
async fn who_guesses_has_a_rate_too() {
    let server = limited(3).await;
    let guess = server.client.with_token(Some("a-guess"));
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(guess.get("/api/agents").await.status);
    }
    assert_eq!(answers, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn without_a_setting_nobody_is_limited_and_nothing_is_said() {
    let server = Server::start().await;
    let client = &server.client;
    for _ in 0..50 {
        let answer = client.call(client.request(Method::GET, "/api/agents")).await;
        assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (200, None, None));
    }
}
