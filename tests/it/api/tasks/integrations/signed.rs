//! Each scheme, right and wrong.

use std::io::Write as _;
use std::process::{Command, Stdio};

use agent_relay::config::Secret;
use agent_relay::domain::message::{Message, SenderKind};
use agent_relay::domain::task::Task;
use serde_json::json;

use super::{EVENT, SECRETS, TOKEN, integrations, now_seconds, send, send_signed, server, sign, tasks};
use crate::server::{Client, Server, TestClock};

#[tokio::test]
async fn what_the_official_library_signs_is_taken() {
    let server = server().await;
    let stranger = server.client.with_token(None);
    let body = json!({"type": "t", "title": "signed", "target": "user"}).to_string();
    let task: Task = send_signed(&stranger, "msg_1", &body).await.expect(201);
    assert_eq!(task.source, "grafana");
    let message: Message =
        server.client.get(&format!("/api/messages/{}", task.message_id.expect("a message"))).await.expect(200);
    let sent_by = message.sender;
    assert_eq!((sent_by.r#as, sent_by.verified, sent_by.via.as_str()), (SenderKind::Integration, true, "grafana"));
    // Both secrets are good while one is replaced, and so is one good signature among others.
    let at = now_seconds();
    let others = sign("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "msg_2", at, &body);
    let several = format!("{others} v1a,AAAA {}", sign(SECRETS[1], "msg_2", at, &body));
    let headers = [("webhook-id", "msg_2"), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &several)];
    send(&stranger, "grafana", &headers, &body).await.expect::<Task>(201);
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_leaves_nothing() {
    let server = server().await;
    let (admin, stranger) = (&server.client, server.client.with_token(None));
    let at = now_seconds();
    let good = sign(SECRETS[0], "id", at, EVENT);
    let (now, old, early) = (at.to_string(), (at - 301).to_string(), (at + 330).to_string());
    let signed_old = sign(SECRETS[0], "id", at - 301, EVENT);
    let signed_early = sign(SECRETS[0], "id", at + 330, EVENT);
    let by_other = sign("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "id", at, EVENT);
    let (id, timestamp, signature) = ("webhook-id", "webhook-timestamp", "webhook-signature");
    let changed = EVENT.replace("red", "rot");
    for (headers, body) in [
        (vec![(id, "id"), (timestamp, now.as_str()), (signature, by_other.as_str())], EVENT),
        (vec![(id, "id"), (timestamp, &now), (signature, &good)], &changed),
        (vec![(id, "other"), (timestamp, &now), (signature, &good)], EVENT),
        (vec![(id, "id"), (timestamp, &old), (signature, &signed_old)], EVENT),
        (vec![(id, "id"), (timestamp, &early), (signature, &signed_early)], EVENT),
        (vec![(id, "id"), (timestamp, &now), (signature, &good), (signature, &good)], EVENT),
        (vec![(id, "id"), (id, "id"), (timestamp, &now), (signature, &good)], EVENT),
        (vec![(id, "id"), (signature, &good)], EVENT),
        (vec![(timestamp, &now), (signature, &good)], EVENT),
        (vec![(id, "id"), (timestamp, &now)], EVENT),
        (vec![], EVENT),
    ] {
        send(&stranger, "grafana", &headers, body).await.problem(401, "unauthorized");
    }
    assert_eq!(tasks(admin).await, []);
    let kept: Vec<serde_json::Value> = admin.get("/api/integrations/grafana/deliveries").await.expect(200);
    assert_eq!(kept, Vec::<serde_json::Value>::new());
    let sources: Vec<serde_json::Value> = admin.get("/api/integrations").await.expect(200);
    assert!(sources.iter().all(|source| source["counts"]["events"] == 0 && source["lastEvent"].is_null()));
    let entries = admin.activity("").await;
    let written: Vec<_> = entries.iter().map(|entry| entry.title.as_str()).collect();
    assert_eq!(written, ["Credential refused"], "one entry for an address");
    // The id was not taken either.
    let headers = [(id, "id"), (timestamp, now.as_str()), (signature, good.as_str())];
    send(&stranger, "grafana", &headers, EVENT).await.expect::<Task>(201);
}

/// By the relay's own clock, whatever others go by.
#[tokio::test]
async fn a_signature_is_good_for_five_minutes_by_the_relays_clock() {
    let clock = TestClock::default();
    clock.set_forward(3_600_000);
    let secret = Secret::parse("test", TOKEN).expect("a token");
    let home = tempfile::tempdir().expect("a directory");
    let server = Server::start_by(clock.clock(), home, |config| {
        config.token = Some(secret);
        config.integrations = integrations();
    })
    .await;
    let stranger = server.client.with_token(None);
    send_signed(&stranger, "by-the-hosts-clock", EVENT).await.problem(401, "unauthorized");
    let at = clock.now().as_ms() / 1_000;
    let (signature, stamp) = (sign(SECRETS[0], "id", at, EVENT), at.to_string());
    let headers = [("webhook-id", "id"), ("webhook-timestamp", stamp.as_str()), ("webhook-signature", &signature)];
    send(&stranger, "grafana", &headers, EVENT).await.expect::<Task>(201);
    clock.set_forward(310_000);
    send(&stranger, "grafana", &headers, EVENT).await.problem(401, "unauthorized");
}

/// What openssl says that the HMAC of a body is, in raw bytes; none where it is not installed.
fn openssl(algorithm: &str, key: &str, body: &str) -> Option<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(["dgst", &format!("-{algorithm}"), "-hmac", key, "-binary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().expect("its input").write_all(body.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn githubs_scheme_is_taken_and_its_forms_too() {
    let server = server().await;
    let stranger = server.client.with_token(None);
    let send = async |signature: &str, delivery: &str, kind: &str, body: &str| {
        let headers = [
            ("content-type", kind),
            ("X-GitHub-Delivery", delivery),
            ("X-GitHub-Event", "issues"),
            ("X-Hub-Signature-256", signature),
        ];
        send(&stranger, "repo", &headers, body).await
    };
    // The vector of GitHub's documentation: its body is good, and no event.
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    send(vector, "v", "application/json", "Hello, World!").await.problem(422, "unreadable_delivery");
    send(&vector.to_uppercase(), "v", "application/json", "Hello, World!").await.problem(401, "unauthorized");
    send(vector, "v", "application/json", "Hello, World?").await.problem(401, "unauthorized");
    send(&vector["sha256=".len()..], "v", "application/json", "Hello, World!").await.problem(401, "unauthorized");
    send("", "v", "application/json", "Hello, World!").await.problem(401, "unauthorized");
    let form = "payload=%7B%22type%22%3A%22issues%22%2C%22title%22%3A%22An+issue%22%7D";
    let Some(digest) = openssl("sha256", "It's a Secret to Everybody", form) else {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    };
    let form_type = "application/x-www-form-urlencoded";
    let digits = hex(&digest);
    let task: Task = send(&format!("sha256={digits}"), "f", form_type, form).await.expect(201);
    assert_eq!((task.title.as_str(), task.source.as_str()), ("An issue", "repo"));
    let upper = format!("sha256={}", digits.to_uppercase());
    assert_eq!(send(&upper, "f", form_type, form).await.expect::<Task>(200), task, "digits of either case");
    let other = openssl("sha256", "another secret", form).expect("openssl");
    send(&format!("sha256={}", hex(&other)), "g", form_type, form).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_scheme_of_ones_own_is_taken() {
    use base64::Engine as _;
    let server = server().await;
    let stranger = server.client.with_token(None);
    let Some(digest) = openssl("sha512", "key", EVENT) else {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    };
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    let send = async |client: &Client, header: &str, value: &str, body: &str| {
        send(client, "build", &[(header, value)], body).await
    };
    let signed = format!("v1={digest}");
    let task: Task = send(&stranger, "X-Build-Signature", &signed, EVENT).await.expect(201);
    assert_eq!(task.source, "build");
    send(&stranger, "x-build-signature", digest.trim_end_matches('='), EVENT).await.problem(401, "unauthorized");
    send(&stranger, "X-Build-Signature", signed.trim_end_matches('='), EVENT).await.expect::<Task>(201);
    send(&stranger, "X-Build-Signature", &signed, &format!("{EVENT} ")).await.problem(401, "unauthorized");
    send(&stranger, "X-Other-Signature", &signed, EVENT).await.problem(401, "unauthorized");
    send(&stranger, "webhook-signature", &signed, EVENT).await.problem(401, "unauthorized");
}
