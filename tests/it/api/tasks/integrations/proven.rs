//! Who is let in: by a token, by a signature, by both, and without a token on loopback.

use agent_relay::domain::task::Task;
use serde_json::{Value, json};

use super::{EVENT, SECRETS, integrations, now_seconds, send, send_signed, server, sign, tasks, with_scope};
use crate::server::Server;

#[tokio::test]
async fn a_configured_integration_takes_a_token_too_and_whoever_presents_both_has_both_right() {
    let server = server().await;
    let token = with_scope(&server, "ci", "integration").await;
    send(&token, "grafana", &[], EVENT).await.expect::<Task>(201);
    // Good and good.
    let both = send_signed(&token, "both", EVENT).await;
    both.expect::<Task>(201);
    // Good and bad, bad and good, and a good one that does not open this.
    let bad = [("webhook-id", "x"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    send(&token, "grafana", &bad, EVENT).await.problem(401, "unauthorized");
    send_signed(&server.client.with_token(Some("ar_wrong")), "x", EVENT).await.problem(401, "unauthorized");
    let reader = with_scope(&server, "reader", "read").await;
    send_signed(&reader, "x", EVENT).await.problem(403, "not_allowed");
    let stranger = server.client.with_token(None);
    let at = now_seconds();
    let signature = sign(SECRETS[0], "x", at, EVENT);
    let basic = [
        ("authorization", "Basic dTpw"),
        ("webhook-id", "x"),
        ("webhook-timestamp", &at.to_string()),
        ("webhook-signature", &signature),
    ];
    send(&stranger, "grafana", &basic, EVENT).await.problem(401, "unauthorized");
    // Where no signature is asked for, its headers say nothing.
    send(&token, "other", &bad, EVENT).await.expect::<Task>(201);
    assert_eq!(tasks(&server.client).await.len(), 3);
}

#[tokio::test]
async fn who_is_refused_is_not_told_whether_an_integration_is_configured() {
    let server = server().await;
    let stranger = server.client.with_token(None);
    let signed = [("webhook-id", "x"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,AAAA")];
    let none: [(&str, &str); 0] = [];
    let strip = |answer: crate::server::Answer| {
        let mut problem: Value = answer.parse();
        problem["requestId"] = json!("");
        let mut headers: Vec<_> =
            answer.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        // An id of a request may be longer than another.
        headers.retain(|(name, _)| !["content-length", "date", "x-request-id"].contains(&name.as_str()));
        (answer.status, problem, headers)
    };
    let large = "x".repeat((1 << 20) + 1);
    for (headers, body) in [(&signed[..], EVENT), (&none[..], EVENT), (&signed[..], &large), (&signed[..], "")] {
        let mut told = Vec::new();
        for name in ["grafana", "repo", "build", "nobody", "-wrong-", "api"] {
            told.push(strip(send(&stranger, name, headers, body).await));
        }
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:#?}");
        assert!(matches!(told[0].0, 401 | 413), "{told:?}");
    }
}

/// A relay without a token trusts whoever calls from its host, but an integration that signs does so there too: a
/// tunnel ends on loopback.
#[tokio::test]
async fn without_a_token_an_integration_that_signs_is_asked_for_its_signature() {
    let server = Server::start_with(|config| config.integrations = integrations()).await;
    let client = &server.client;
    send(client, "other", &[], EVENT).await.expect::<Task>(201);
    send(client, "grafana", &[("webhook-id", "id")], EVENT).await.problem(401, "unauthorized");
    send_signed(client, "id", EVENT).await.expect::<Task>(201);
    let token = with_scope(&server, "ci", "integration").await;
    send(&token, "grafana", &[], EVENT).await.expect::<Task>(201);
    send(client, "other", &[("host", "relay.example")], EVENT).await.problem(421, "wrong_host");
    send(client, "other", &[("origin", "https://evil.example")], EVENT).await.problem(403, "foreign_origin");
    assert_eq!(tasks(client).await.len(), 3);
}

#[tokio::test]
async fn a_signature_opens_nothing_else() {
    let server = server().await;
    let stranger = server.client.with_token(None);
    let at = now_seconds();
    for (path, body) in [
        ("/api/tasks", EVENT),
        ("/api/messages", r#"{"from": "a", "to": "b", "body": "c"}"#),
        ("/api/integrations/grafana/deliveries/1/retry", "{}"),
        ("/api/integrations", "{}"),
    ] {
        let (signature, at) = (sign(SECRETS[0], "x", at, body), at.to_string());
        let request = stranger.request(reqwest::Method::POST, path).header("content-type", "application/json");
        let request = request.header("webhook-id", "x").header("webhook-timestamp", &at);
        let request = request.header("webhook-signature", &signature).body(body.to_owned());
        stranger.call(request).await.problem(401, "unauthorized");
    }
    let get = stranger.request(reqwest::Method::GET, "/api/integrations/grafana/events");
    stranger.call(get.header("webhook-signature", "v1,AAAA")).await.problem(401, "unauthorized");
}
