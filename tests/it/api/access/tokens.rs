//! Named tokens: made, listed, revoked, expired; and those that orchestrators have made for what they start.

use std::collections::BTreeSet;

use agent_relay::config::Secret;
use agent_relay::domain::activity::Activity;
use agent_relay::domain::agent::Agent;
use agent_relay::domain::caller::token::{TokenCard, TokenKind};
use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::TOKEN;
use crate::server::{Client, Server, TestClock, eventually, until};

const HOUR: i64 = 60 * 60 * 1000;

/// Makes a token, and a client that sends it.
async fn make(admin: &Client, draft: Value) -> (TokenCard, Client) {
    let card: TokenCard = admin.post("/api/tokens", draft).await.expect(201);
    let client = admin.with_token(card.token.as_deref());
    (card, client)
}

async fn listed(admin: &Client) -> Vec<TokenCard> {
    admin.get("/api/tokens?limit=1000").await.expect(200)
}

/// The entries about a token, oldest first.
async fn told(admin: &Client, id: impl Into<i64>) -> Vec<Activity> {
    let id = id.into();
    let mut entries = admin.activity("kind=security").await;
    entries.retain(|entry| entry.metadata.as_ref().is_some_and(|metadata| metadata.value()["tokenId"] == id));
    entries.reverse();
    entries
}

fn titles(entries: &[Activity]) -> Vec<&str> {
    entries.iter().map(|entry| entry.title.as_str()).collect()
}

#[tokio::test]
async fn a_token_is_told_once_and_works_until_it_is_revoked() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let before = Timestamp::now();
    let draft = json!({"name": " ci ", "scopes": ["send", "read", "send"], "expiresAt": (before + HOUR).as_ms()});
    let answer: Value = admin.post("/api/tokens", draft).await.expect(201);
    let secret = answer["token"].as_str().expect("the token").to_owned();
    let random = secret.strip_prefix("ar_").expect("its prefix");
    assert_eq!(random.len(), 43, "32 bytes");
    assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{secret}");
    let mut card = answer.clone();
    card.as_object_mut().expect("an object").remove("token");
    let id = card["id"].as_i64().expect("an id");
    let expected = json!({
        "id": id, "name": "ci", "scopes": ["send", "read"], "kind": "named", "expiresAt": (before + HOUR).as_ms(),
        "createdAt": card["createdAt"],
    });
    assert_eq!(card, expected);

    let text = admin.get("/api/tokens").await.text;
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json!([card]));
    let ci = admin.with_token(Some(&secret));
    ci.get("/api/agents").await.expect::<Vec<Agent>>(200);
    ci.post("/api/agents", json!({"id": "a"})).await.problem(403, "not_allowed");
    ci.get("/api/tokens").await.problem(403, "not_allowed");
    ci.delete(&format!("/api/tokens/{id}")).await.problem(403, "not_allowed");
    ci.post("/api/tokens", json!({"name": "more", "scopes": ["admin"]})).await.problem(403, "not_allowed");

    admin.delete(&format!("/api/tokens/{id}")).await.expect::<Value>(200);
    ci.get("/api/agents").await.problem(401, "unauthorized");
    admin.delete(&format!("/api/tokens/{id}")).await.problem(404, "not_found");
    assert_eq!(listed(admin).await, []);
    let entries = told(admin, id).await;
    assert_eq!(titles(&entries), ["Token created", "Token revoked"]);
    assert!(!serde_json::to_string(&admin.activity("").await).expect("JSON").contains(&secret[3..]));
    let (next, _) = make(admin, json!({"name": "next", "scopes": ["read"]})).await;
    assert!(next.id > id, "no number is given twice");
}

#[tokio::test]
async fn what_is_asked_for_is_checked() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let good = json!({"name": "n", "scopes": ["read"]});
    for (field, value, text) in [
        ("name", json!(" "), "name required"),
        ("name", json!("x".repeat(121)), "name must have at most 120 characters"),
        ("scopes", json!([]), "scopes required"),
        ("scopes", json!(null), "scopes required"),
        ("scopes", json!(["reed"]), "scopes must be one of: admin, read, send"),
        ("scopes", json!(vec!["read"; 9]), "scopes must have at most 8 entries"),
        ("agentId", json!("x".repeat(241)), "agentId must have at most 240 characters"),
        ("expiresAt", json!(Timestamp::now().as_ms() - 1), "expiresAt must lie in the future"),
        ("expiresAt", json!("tomorrow"), "expiresAt"),
        ("agentid", json!("a"), "agentid"),
    ] {
        let mut draft = good.clone();
        draft[field] = value;
        admin.post("/api/tokens", draft).await.invalid(text);
    }
    for agent in ["user", "system", "broadcast", "tag:x", "Us\u{200b}er"] {
        let draft = json!({"name": "n", "scopes": ["agent"], "agentId": agent});
        admin.post("/api/tokens", draft).await.problem(400, "reserved_id");
    }
    assert_eq!(listed(admin).await, []);
}

#[tokio::test]
async fn a_repeat_makes_no_second_token_and_tells_the_first_no_more() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let (one, _) = make(admin, json!({"name": "twin", "scopes": ["admin"]})).await;
    let (other, _) = make(admin, json!({"name": "twin", "scopes": ["admin"]})).await;
    let twins = [one, other].map(|card| admin.with_token(card.token.as_deref()));
    let ask = async |client: &Client, name: &str| {
        let request = client.request(Method::POST, "/api/tokens").header("Idempotency-Key", "k");
        client.call(request.json(&json!({"name": name, "scopes": ["read"]}))).await
    };
    let first: TokenCard = ask(&twins[0], "n").await.expect(201);
    let again = ask(&twins[0], "n").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let again: TokenCard = again.expect(200);
    assert_eq!(again.token, None);
    assert!(again.next.as_deref().is_some_and(|next| next.contains(&format!("DELETE /api/tokens/{}", first.id))));
    assert_eq!((again.id, &again.name), (first.id, &first.name));
    ask(&twins[0], "other").await.problem(422, "idempotency_key_reused");
    let others: TokenCard = ask(&twins[1], "n").await.expect(201);
    assert_ne!(others.id, first.id, "a caller of the same name is another");
    assert!(others.token.is_some());
    assert_eq!(listed(admin).await.len(), 4);
}

#[tokio::test]
async fn tokens_are_listed_page_by_page() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let mut ids = BTreeSet::new();
    for number in 0..5 {
        let (card, _) = make(admin, json!({"name": number.to_string(), "scopes": ["read"]})).await;
        ids.insert(card.id);
    }
    let (mut found, mut path) = (Vec::new(), Some("/api/tokens?limit=2".to_owned()));
    while let Some(next) = path {
        let answer = admin.get(&next).await;
        path = answer.next_page();
        found.extend(answer.expect::<Vec<TokenCard>>(200).into_iter().map(|card| card.id));
    }
    assert_eq!(found, ids.into_iter().collect::<Vec<_>>());
    let all = admin.relay.tokens().list(Some(3)).collect(100).await.expect("tokens");
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn a_bound_token_reads_its_own_inbox_without_saying_whose() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let (_, ada) = make(admin, json!({"name": "ada's", "scopes": ["agent"], "agentId": "ada"})).await;
    ada.register(json!({"id": "ada"})).await;
    admin.say("x", "bob", "not hers").await;
    admin.say("x", "ada", "hers").await;
    let messages: Vec<Message> = ada.get("/api/messages").await.expect(200);
    assert_eq!(messages.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["hers"]);
}

#[tokio::test]
async fn what_a_token_has_open_ends_with_it() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let draft = |name: &str| json!({"name": name, "scopes": ["read"]});
    let (revoked, of_revoked) = make(admin, draft("revoked")).await;
    let (_, of_other) = make(admin, draft("other")).await;
    let end = Timestamp::now() + 1_500;
    let expiring = json!({"name": "expiring", "scopes": ["read"], "expiresAt": end.as_ms()});
    let (_, of_expiring) = make(admin, expiring).await;
    let mut streams = [
        of_revoked.follow("types=message.new").await,
        of_expiring.follow("types=message.new").await,
        of_other.follow("types=message.new").await,
    ];
    let ticket: Value = of_revoked.post("/api/events/ticket", json!({})).await.expect(201);
    let polling = {
        let client = of_revoked.clone();
        tokio::spawn(async move { client.get("/api/messages?for=nobody&wait=60").await })
    };
    admin.delete(&format!("/api/tokens/{}", revoked.id)).await.expect::<Value>(200);
    assert!(streams[0].next_or_end().await.is_none(), "at once");
    let polled = polling.await.expect("an answer");
    assert!(matches!(polled.status, 200 | 401), "{polled:?}");
    let path = format!("/api/events?ticket={}", ticket["ticket"].as_str().expect("a ticket"));
    admin.with_token(None).get(&path).await.problem(401, "unauthorized");
    until(end).await;
    assert!(streams[1].next_or_end().await.is_none());
    of_expiring.get("/api/agents").await.problem(401, "unauthorized");
    admin.say("a", "b", "still there").await;
    assert_eq!(streams[2].next().await.text("body"), "still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_stays_so_whoever_sets_the_clock_back() {
    let clock = TestClock::default();
    let secret = || Some(Secret::parse("test", TOKEN).expect("a token"));
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start_by(clock.clock(), home, |config| config.token = secret()).await;
    let admin = &server.client;
    let expiring = async |admin: &Client, ms: i64| {
        make(admin, json!({"name": "n", "scopes": ["read"], "expiresAt": (clock.now() + ms).as_ms()})).await
    };
    // Nobody used it between its end and the clock being set back.
    let (unused, of_unused) = expiring(admin, 1_000).await;
    let (good, of_good) = expiring(admin, 3 * HOUR).await;
    of_unused.get("/api/agents").await.expect::<Value>(200);
    clock.pass(1_500);
    clock.set_forward(-HOUR);
    of_unused.get("/api/agents").await.problem(401, "unauthorized");
    of_good.get("/api/agents").await.expect::<Value>(200);
    assert_eq!(titles(&told(admin, unused.id).await), ["Token created", "Token expired"]);
    // A clock that was ahead ended it.
    let (ahead, of_ahead) = expiring(admin, HOUR).await;
    clock.set_forward(2 * HOUR);
    of_ahead.get("/api/agents").await.problem(401, "unauthorized");
    clock.set_forward(-2 * HOUR);
    of_ahead.get("/api/agents").await.problem(401, "unauthorized");
    // Set back while the relay is not running.
    let (third, _) = expiring(admin, 1_000).await;
    let home = server.stop();
    clock.pass(1_500);
    clock.set_forward(-HOUR);
    let server = Server::start_by(clock.clock(), home, |config| config.token = secret()).await;
    let left: Vec<_> = listed(&server.client).await.into_iter().map(|card| card.id).collect();
    assert_eq!(left, [good.id], "neither {} nor {} nor {}", unused.id, ahead.id, third.id);
}

/// Has an orchestrator told to start an agent: the command, and the id that the agent gets.
async fn spawn(admin: &Client, orchestrator: &str) -> (i64, String) {
    let path = format!("/api/orchestrators/{orchestrator}/spawn");
    let answer: Value = admin.post(&path, json!({"provider": "claude"})).await.expect(202);
    let agent = answer["command"]["request"]["agentId"].as_str().expect("an id").to_owned();
    let body: Value = serde_json::from_str(answer["message"]["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(body["agentId"], agent, "it is told");
    assert!(agent.strip_prefix("claude-").is_some_and(|rest| rest.len() == 8), "{agent}");
    (answer["command"]["id"].as_i64().expect("a number"), agent)
}

async fn manages(client: &Client, orchestrator: &str, agents: &[&str]) {
    let agents: Vec<_> = agents
        .iter()
        .map(|agent| json!({"agentId": agent, "provider": "claude", "tmuxSession": "t", "cwd": "/base"}))
        .collect();
    let path = format!("/api/orchestrators/{orchestrator}/agents");
    client.patch(&path, json!({"agents": agents})).await.expect::<Value>(200);
}

#[tokio::test]
async fn an_orchestrator_has_tokens_made_for_what_it_was_told_to_start_and_for_nobody_else() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let bound = |id: &str| json!({"name": id, "scopes": ["orchestrator"], "agentId": format!("orchestrator-{id}")});
    let (_, far) = make(admin, bound("far")).await;
    let (_, near) = make(admin, bound("near")).await;
    let (_, any) = make(admin, json!({"name": "any", "scopes": ["orchestrator"]})).await;
    for (client, id) in [(&far, "far"), (&near, "near")] {
        let registration = json!({"id": id, "hostname": "h", "baseDir": "/base"});
        client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    }
    let (command, agent) = spawn(admin, "far").await;
    let draft = json!({"name": "of far", "scopes": ["agent"], "agentId": agent});
    for (client, change) in [
        (&near, json!({})),
        (&far, json!({"agentId": "bob"})),
        (&far, json!({"agentId": null})),
        (&far, json!({"scopes": ["agent", "read"]})),
        (&far, json!({"scopes": ["admin"]})),
        (&far, json!({"name": "Dashboard"})),
    ] {
        let mut wrong = draft.clone();
        wrong.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        client.post("/api/tokens", wrong).await.problem(403, "not_allowed");
    }
    let (first, of_first) = make(&far, draft.clone()).await;
    assert_eq!((first.kind, first.agent_id.as_deref()), (TokenKind::Managed, Some(agent.as_str())));
    of_first.register(json!({"id": agent})).await;
    of_first.post("/api/agents", json!({"id": "bob"})).await.problem(403, "wrong_identity");
    // One that was lost on its way is made again, and an unbound credential acts for any orchestrator.
    let (second, of_second) = make(&any, draft.clone()).await;
    of_first.get("/api/agents").await.problem(401, "unauthorized");
    of_second.get("/api/agents").await.expect::<Value>(200);

    // Another orchestrator's list is no matter; its own is.
    manages(&far, "far", &[&agent]).await;
    manages(&near, "near", &[&agent]).await;
    manages(&near, "near", &[]).await;
    manages(&far, "far", &[&agent]).await;
    of_second.get("/api/agents").await.expect::<Value>(200);
    manages(&far, "far", &[]).await;
    of_second.get("/api/agents").await.problem(401, "unauthorized");
    assert_eq!(titles(&told(admin, second.id).await), ["Token created", "Token ended"]);

    // A start that fails ends its token, and no other is made for it.
    let (failing, other) = spawn(admin, "far").await;
    let of_other = json!({"name": "n", "scopes": ["agent"], "agentId": other});
    let (_, client) = make(&far, of_other.clone()).await;
    far.patch(&format!("/api/commands/{failing}"), json!({"status": "failed", "error": "no"}))
        .await
        .expect::<Value>(200);
    client.get("/api/agents").await.problem(401, "unauthorized");
    far.post("/api/tokens", of_other).await.problem(403, "not_allowed");
    far.patch(&format!("/api/commands/{command}"), json!({"status": "succeeded"})).await.expect::<Value>(200);

    // An agent whose card goes needs no token, and neither do those of an orchestrator that goes.
    let (_, client) = make(&far, draft.clone()).await;
    admin.delete(&format!("/api/agents/{agent}")).await.expect::<Value>(200);
    client.get("/api/agents").await.problem(401, "unauthorized");
    let (_, client) = make(&far, draft).await;
    manages(&far, "far", &[&agent]).await;
    far.delete("/api/orchestrators/far").await.expect::<Value>(200);
    client.get("/api/agents").await.problem(401, "unauthorized");
    let kinds: Vec<_> = listed(admin).await.into_iter().map(|card| card.kind).collect();
    assert_eq!(kinds, [TokenKind::Named; 3], "bound ones that an administrator made stay");
}

#[tokio::test]
async fn refused_credentials_of_an_address_are_one_entry_a_minute() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    for _ in 0..20 {
        admin.with_token(Some("a-wrong-token")).get("/api/agents").await.problem(401, "unauthorized");
    }
    let refused = eventually("it is written down", async || {
        let entries = admin.activity("kind=security").await;
        (!entries.is_empty()).then_some(entries)
    })
    .await;
    assert_eq!(titles(&refused), ["Credential refused"]);
    assert_eq!(refused[0].meta.as_deref(), Some("127.0.0.1"));
}
