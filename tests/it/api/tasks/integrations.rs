//! Integrations: what services outside send becomes a task, once, whoever they prove to be and by which scheme.

mod kept;
mod listed;
mod proven;
mod signed;

use agent_relay::config::Secret;
use agent_relay::domain::integration::signature::{Algorithm, Encoding, Form, Scheme};
use agent_relay::domain::integration::{IntegrationName, Integrations};
use agent_relay::domain::message::{Message, SenderKind};
use agent_relay::domain::task::{Severity, Task, TaskStatus};
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::server::{Answer, Client, Server};

const TOKEN: &str = "ar_the-administrator";
/// Those of `grafana`: one that is used, and one while it is replaced.
const SECRETS: [&str; 2] = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
const EVENT: &str = r#"{"type": "build.failed", "title": "Main is red"}"#;

/// One integration for each scheme.
fn integrations() -> Integrations {
    let form = Form {
        header: "x-build-signature".to_owned(),
        algorithm: Algorithm::Sha512,
        encoding: Encoding::Base64,
        prefix: "v1=".to_owned(),
    };
    let named = |name, scheme: Result<Scheme, String>| {
        (IntegrationName::parse(name).expect("a name"), scheme.expect("a scheme"))
    };
    Integrations::new(vec![
        named("grafana", Scheme::standard_webhooks(&SECRETS)),
        named("repo", Scheme::github(&["It's a Secret to Everybody"])),
        named("build", Scheme::hmac(form, &["key"])),
    ])
}

/// A relay with a token, and those integrations.
async fn server() -> Server {
    let secret = Secret::parse("test", TOKEN).expect("a token");
    Server::start_with(|config| {
        config.token = Some(secret);
        config.integrations = integrations();
    })
    .await
}

async fn with_scope(server: &Server, name: &str, scope: &str) -> Client {
    let made: Value = server.client.post("/api/tokens", json!({"name": name, "scopes": [scope]})).await.expect(201);
    server.client.with_token(made["token"].as_str())
}

/// Sends a body with these headers to an integration.
async fn send(client: &Client, name: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = client.request(Method::POST, &format!("/api/integrations/{name}/events"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    client.call(request.body(body.to_owned())).await
}

fn now_seconds() -> i64 {
    Timestamp::now().as_ms() / 1_000
}

/// The signature of the official library.
fn sign(secret: &str, id: &str, at: i64, body: &str) -> String {
    Webhook::new(secret).expect("a secret").sign(id, at, body.as_bytes()).expect("a signature")
}

/// Sends what `grafana` signed.
async fn send_signed(client: &Client, id: &str, body: &str) -> Answer {
    let at = now_seconds();
    let signature = sign(SECRETS[0], id, at, body);
    let headers = [("webhook-id", id), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
    send(client, "grafana", &headers, body).await
}

async fn tasks(client: &Client) -> Vec<Task> {
    client.get("/api/tasks").await.expect(200)
}

#[tokio::test]
async fn an_event_becomes_a_task_that_reaches_those_it_is_for() {
    let server = server().await;
    let admin = &server.client;
    admin.register(json!({"id": "ada", "capabilities": ["triage"]})).await;
    let mut stream = admin.follow("types=task.created,message.new").await;
    let sender = with_scope(&server, "ci-token", "integration").await;
    let event = json!({
        "type": "build.failed", "title": " Main is red ", "body": "  as it is\n", "severity": "critical",
        "target": "cap:triage", "dedupeKey": "main", "callbackUrl": "https://example.org/hook",
        "metadata": {"run": 17}, "colour": "red",
    });
    let task: Task = sender.post("/api/integrations/ci.example/events", event).await.expect(201);
    assert_eq!((task.source.as_str(), task.title.as_str()), ("ci.example", "Main is red"));
    assert_eq!((task.body.as_deref(), task.severity), (Some("  as it is\n"), Severity::Critical));
    assert_eq!((task.from.as_ref(), task.status, task.occurrences), (None, TaskStatus::Open, 1));
    assert_eq!(task.callback_url.as_deref(), Some("https://example.org/hook"));
    assert_eq!(task.metadata.value(), json!({"run": 17, "type": "build.failed"}));
    let inbox: Vec<Message> = admin.messages("for=ada").await;
    let [message] = inbox.as_slice() else { panic!("{inbox:?}") };
    assert_eq!((message.from.as_str(), Some(message.id)), ("system", task.message_id));
    assert!(message.claimable);
    let sent_by = &message.sender;
    assert_eq!((sent_by.r#as, sent_by.verified, sent_by.via.as_str()), (SenderKind::Integration, false, "ci-token"));
    let told = [stream.next().await, stream.next().await];
    assert_eq!([told[0].event.as_str(), told[1].event.as_str()], ["message.new", "task.created"]);
    assert_eq!(told[0].data["sender"], json!({"as": "integration", "verified": false, "via": "ci-token"}));
    let listed: Vec<Task> = admin.get("/api/tasks?source=ci.example").await.expect(200);
    assert_eq!(listed, [task]);
}

#[tokio::test]
async fn what_is_asked_for_again_is_one_task_until_it_is_finished() {
    let server = server().await;
    let client = &server.client;
    let event = json!({"type": "alert", "title": "Disk", "dedupeKey": "disk"});
    let first: Task = client.post("/api/integrations/a/events", event.clone()).await.expect(201);
    let again: Task = client.post("/api/integrations/a/events", event.clone()).await.expect(200);
    assert_eq!((again.id, again.occurrences), (first.id, 2));
    let other: Task = client.post("/api/integrations/b/events", event.clone()).await.expect(201);
    assert_ne!(other.id, first.id, "a key is its source's own");
    let cancel = json!({"agentId": "user", "status": "canceled"});
    client.patch(&format!("/api/tasks/{}/status", first.id), cancel).await.expect::<Value>(200);
    let new: Task = client.post("/api/integrations/a/events", event).await.expect(201);
    assert_ne!(new.id, first.id);
}

#[tokio::test]
async fn a_delivery_that_comes_again_makes_nothing() {
    let server = server().await;
    let client = &server.client;
    for header in ["webhook-id", "X-GitHub-Delivery", "Idempotency-Key"] {
        let task: Task = send(client, "a", &[(header, header)], EVENT).await.expect(201);
        let again = send(client, "a", &[(header, header)], r#"{"type": "other", "title": "body"}"#).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.expect::<Task>(200), task);
        let quoted = send(client, "a", &[("idempotency-key", &format!("\"{header}\""))], EVENT).await;
        assert_eq!(quoted.expect::<Task>(200), task, "one id, wherever it stands");
        let elsewhere: Task = send(client, "b", &[(header, header)], EVENT).await.expect(201);
        assert_ne!(elsewhere.id, task.id, "an id is its integration's own");
    }
    assert_eq!(tasks(client).await.len(), 6);
    let long = "x".repeat(201);
    send(client, "a", &[("webhook-id", &long)], EVENT).await.invalid("webhook-id must have at most 200 characters");
    let server = Server::start_in(server.stop(), |config| config.integrations = integrations()).await;
    let again = send(&server.client, "a", &[("webhook-id", "webhook-id")], EVENT).await;
    assert_eq!(again.status, 200, "a restart forgets none: {again:?}");
}

#[tokio::test]
async fn of_deliveries_with_one_id_at_once_one_makes_a_task() {
    let server = server().await;
    let client = &server.client;
    for round in 0..5 {
        let id = format!("id-{round}");
        let sending: Vec<_> = (0..8)
            .map(|_| {
                let (client, id) = (client.clone(), id.clone());
                tokio::spawn(async move { send_signed(&client.with_token(None), &id, EVENT).await })
            })
            .collect();
        let mut made = 0;
        for answer in sending {
            let answer = answer.await.expect("an answer");
            made += usize::from(answer.status == 201);
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        }
        assert_eq!(made, 1);
    }
    assert_eq!(tasks(client).await.len(), 5);
}

#[tokio::test]
async fn a_form_is_read_as_the_json_in_it_and_nothing_else_is_read() {
    let server = server().await;
    let client = &server.client;
    let form = "a=b&payload=%7B%22type%22%3A%22t%22%2C%22title%22%3A%22as+a+form%22%7D";
    let as_form = [("content-type", "application/x-www-form-urlencoded")];
    let task: Task = send(client, "a", &as_form, form).await.expect(201);
    assert_eq!(task.title, "as a form");
    for kind in ["text/plain", "application/json; charset=latin1", "multipart/form-data; boundary=x"] {
        send(client, "a", &[("content-type", kind), ("webhook-id", "k")], EVENT).await.problem(415, "not_json");
    }
    send(client, "a", &[("webhook-id", "k")], EVENT).await.expect::<Task>(201);
    for name in ["-a", "a%20b", "%7Ba%7D", "api", "API", &"x".repeat(65)] {
        assert_eq!(send(client, name, &[], EVENT).await.status, 400, "{name}");
    }
}
