//! How integrations are doing, and how much each may send.

use agent_relay::config::Secret;
use agent_relay::domain::integration::Source;
use agent_relay::domain::task::Task;
use serde_json::{Value, json};

use super::{EVENT, SECRETS, TOKEN, integrations, send, send_signed, server, with_scope};
use crate::server::{Answer, Server};

#[tokio::test]
async fn each_integration_is_listed_with_what_it_sent_and_without_its_secrets() {
    let server = server().await;
    let admin = &server.client;
    let keyed = json!({"type": "t", "title": "t", "dedupeKey": "k"}).to_string();
    let task: Task = send_signed(admin, "1", &keyed).await.expect(201);
    send_signed(admin, "2", &keyed).await.expect::<Task>(200);
    send_signed(admin, "2", &keyed).await.expect::<Task>(200);
    send_signed(admin, "3", "{}").await.problem(422, "unreadable_delivery");
    send(admin, "unknown", &[], EVENT).await.expect::<Task>(201);
    let answer = admin.get("/api/integrations").await;
    for secret in SECRETS.iter().copied().chain(["It's a Secret", "\"key\"", "secret"]) {
        assert!(!answer.text.contains(secret), "{secret} in {}", answer.text);
    }
    let sources: Vec<Source> = answer.expect(200);
    let known: Vec<_> = sources
        .iter()
        .map(|source| (source.name.as_str(), source.configured, source.scheme.map_or("", |scheme| scheme.as_str())))
        .collect();
    let wanted = [
        ("build", true, "hmac"),
        ("grafana", true, "standard-webhooks"),
        ("repo", true, "github"),
        ("unknown", false, ""),
    ];
    assert_eq!(known, wanted);
    let counts = &sources[1].counts;
    assert_eq!((counts.events, counts.created, counts.raised), (4, 1, 1));
    assert_eq!((counts.replayed, counts.unreadable, counts.ignored), (1, 1, 0));
    assert_eq!(sources[1].last_event.as_ref().expect("an event").task_id, Some(task.id));
    assert_eq!(sources[1].last_error.as_ref().expect("an error").reason, "type required");
    assert_eq!((&sources[0].last_event, &sources[3].last_error), (&None, &None));
    let first = admin.get("/api/integrations?limit=3").await;
    assert_eq!(first.next_page().as_deref(), Some("/api/integrations?limit=3&after=repo"));
    let rest: Vec<Source> = admin.get("/api/integrations?limit=3&after=repo").await.expect(200);
    assert_eq!(rest.len(), 1);
    assert_eq!(admin.get("/api/integrations?limit=0").await.status, 400);
}

/// Whoever has a token may call itself anything.
#[tokio::test]
async fn made_up_names_fill_nothing_and_push_no_configured_one_out() {
    let server = server().await;
    let admin = &server.client;
    send_signed(admin, "1", EVENT).await.expect::<Task>(201);
    let token = with_scope(&server, "hostile", "integration").await;
    send(&token, "n0", &[], "no").await.problem(422, "unreadable_delivery");
    for number in 0..=100 {
        send(&token, &format!("n{number}"), &[], EVENT).await.expect::<Task>(201);
    }
    let sources: Vec<Source> = admin.get("/api/integrations?limit=1000").await.expect(200);
    let named = |name: &str| sources.iter().find(|source| source.name == name);
    assert_eq!(sources.len(), 103);
    assert_eq!(named("grafana").map(|source| source.counts.events), Some(1));
    assert!(named("n0").is_none() && named("n100").is_some(), "the one that was silent longest went");
    let kept: Vec<Value> = admin.get("/api/integrations/n0/deliveries").await.expect(200);
    assert_eq!(kept, Vec::<Value>::new(), "with what was kept of it");
    let made: Vec<Task> = admin.get("/api/tasks?source=n0").await.expect(200);
    assert_eq!(made.len(), 1, "what it asked for is there");
}

async fn limited(per_minute: u32) -> Server {
    let secret = Secret::parse("test", TOKEN).expect("a token");
    Server::start_with(|config| {
        config.token = Some(secret);
        config.integrations = integrations();
        config.limits.http.integrations_per_minute = per_minute;
    })
    .await
}

/// How many more events an answer says there is room for.
fn remaining(answer: &Answer) -> u32 {
    assert_eq!(answer.header("ratelimit-policy"), Some("\"integrations\";q=3;w=60"), "{answer:?}");
    let standing = answer.header("ratelimit").expect("how it stands");
    let rest = standing.strip_prefix("\"integrations\";r=").expect("a quota");
    rest.split_once(";t=").expect("a time").0.parse().expect("a number")
}

#[tokio::test]
async fn each_integration_has_its_own_rate_and_no_flood_takes_it() {
    let server = limited(3).await;
    let (admin, stranger) = (&server.client, server.client.with_token(None));
    // From the honest sender's own address.
    let bad = [("webhook-id", "x"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    let mut refused = Vec::new();
    for _ in 0..6 {
        let answer = send(&stranger, "grafana", &bad, EVENT).await;
        assert_eq!(answer.header("retry-after").is_some(), answer.status == 429);
        refused.push(answer.status);
    }
    assert_eq!(refused, [401, 401, 401, 429, 429, 429]);
    for left in [2, 1, 0] {
        let answer = send_signed(&stranger, &format!("id-{left}"), EVENT).await;
        assert_eq!((answer.status, remaining(&answer)), (201, left));
    }
    let answer = send_signed(&stranger, "too-much", EVENT).await;
    assert_eq!(remaining(&answer), 0);
    let wait: u64 = answer.header("retry-after").expect("how long to wait").parse().expect("seconds");
    assert!((1..=20).contains(&wait));
    answer.problem(429, "rate_limited");
    // Another integration has its own, a token has its own, and what is refused for its body counts.
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let unreadable = send(&stranger, "repo", &[("x-hub-signature-256", vector)], "Hello, World!").await;
    assert_eq!((unreadable.status, remaining(&unreadable)), (422, 2));
    let token = with_scope(&server, "ci", "integration").await;
    let answer = send(&token, "grafana", &[], EVENT).await;
    assert_eq!((answer.status, remaining(&answer)), (201, 2));
    // The refused event took no id.
    let other: Vec<Task> = admin.get("/api/tasks?source=grafana").await.expect(200);
    assert_eq!(other.len(), 4);
}
