//! A wall clock that is set, and a relay that was not there: nobody loses by it what they had.

use std::time::Duration;

use agent_relay::domain::agent::{Agent, AgentStatus};
use agent_relay::domain::message::Message;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{BLINK_MS, Client, Server, TestClock, eventually};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

async fn start(clock: &TestClock) -> Server {
    let home = tempfile::tempdir().expect("a temporary directory");
    Server::start_by(clock.clock(), home, |_| {}).await
}

async fn reap(client: &Client) -> Value {
    client.post("/api/system/reap", json!({})).await.expect(200)
}

/// Time passes in which the relay is there, and nobody says anything.
async fn pass(client: &Client, clock: &TestClock, ms: i64) {
    for _ in 0..ms / BLINK_MS {
        clock.pass(BLINK_MS);
        // A write looks at the clock.
        client.say("x", "nobody", "tick").await;
    }
}

async fn status(client: &Client, agent: &str) -> AgentStatus {
    client.get(&format!("/api/agents/{agent}")).await.expect::<Agent>(200).status
}

async fn work(client: &Client) -> Message {
    client.send(json!({"from": "boss", "to": "tag:t", "body": "work", "claimable": true})).await
}

async fn claim(client: &Client, message: &Message, agent: &str, lease_ms: i64) -> Message {
    let body = json!({"agentId": agent, "leaseMs": lease_ms});
    client.post(&format!("/api/messages/{}/claim", message.id), body).await.expect(200)
}

/// The text of a check of health.
async fn check(client: &Client, name: &str) -> Value {
    let health: Value = client.get("/api/health").await.expect(200);
    let check = health["checks"].as_array().expect("checks").iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name}: {health}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_hides_no_message_from_groups() {
    let clock = TestClock::default();
    let server = start(&clock).await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"], "capabilities": ["review"]})).await;
    let mut stream = client.follow("agent=a&types=message.new").await;
    clock.set_forward(-MINUTE);
    client.say("x", "broadcast", "to all").await;
    client.say("x", "cap:review", "to reviewers").await;
    let message = work(client).await;
    claim(client, &message, "a", 60_000).await;
    let expected = ["to all", "to reviewers", "work"];
    assert_eq!(client.inbox("a").await, expected);
    for body in expected {
        assert_eq!(stream.next().await.data["body"], body);
    }
    // Replayed as well, and after a restart.
    let server = Server::start_by(clock.clock(), server.stop(), |_| {}).await;
    let log = "/api/events/log?agent=a&types=message.new";
    let replayed: Vec<Value> = server.client.get(log).await.expect(200);
    let bodies: Vec<_> = replayed.iter().map(|event| &event["data"]["body"]).collect();
    assert_eq!(bodies, expected);
    assert_eq!(server.client.inbox("a").await, expected);
    // Who comes later still gets nothing from before.
    server.client.register(json!({"id": "b", "tags": ["t"]})).await;
    assert_eq!(server.client.inbox("b").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_from_a_clock_a_day_ahead_gets_its_messages_and_falls_silent_like_others() {
    let clock = TestClock::default();
    let server = start(&clock).await;
    let client = &server.client;
    clock.set_forward(DAY);
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    client.register(json!({"id": "b", "tags": ["t"]})).await;
    clock.set_forward(-DAY);
    client.say("x", "tag:t", "after the correction").await;
    assert_eq!(client.inbox("a").await, ["after the correction"]);
    let card: Agent = client.get("/api/agents/a").await.expect(200);
    assert!(card.last_seen <= clock.now(), "nobody was heard from in the future");
    pass(client, &clock, 100_000).await;
    client.post("/api/agents/b/heartbeat", json!({})).await.expect::<Value>(200);
    reap(client).await;
    assert_eq!(status(client, "a").await, AgentStatus::Offline);
    assert_eq!(status(client, "b").await, AgentStatus::Online);

    // The same when it is put right while the relay is not running.
    clock.set_forward(DAY);
    client.register(json!({"id": "c", "tags": ["t"]})).await;
    let home = server.stop();
    clock.set_forward(-DAY);
    let server = Server::start_by(clock.clock(), home, |_| {}).await;
    let client = &server.client;
    client.say("x", "tag:t", "after the restart").await;
    assert_eq!(client.inbox("c").await, ["after the restart"]);
    pass(client, &clock, 80_000).await;
    reap(client).await;
    assert_eq!(status(client, "c").await, AgentStatus::Online, "it could come back");
    pass(client, &clock, 20_000).await;
    reap(client).await;
    assert_eq!(status(client, "c").await, AgentStatus::Offline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sleep_everybody_can_come_back_first() {
    let clock = TestClock::default();
    let server = start(&clock).await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    client.register(json!({"id": "b", "tags": ["t"]})).await;
    let message = work(client).await;
    let held = claim(client, &message, "a", 60_000).await;
    pass(client, &clock, 10_000).await;
    clock.pass(10 * MINUTE);
    // Whoever comes first, before the relay looked by itself.
    client
        .post(&format!("/api/messages/{}/claim", message.id), json!({"agentId": "b"}))
        .await
        .problem(409, "already_claimed");
    assert_eq!(reap(client).await["reapedAgentIds"], json!([]));
    assert_eq!(status(client, "a").await, AgentStatus::Online);
    let after: Message = client.get(&format!("/api/messages/{}", message.id)).await.expect(200);
    let prolonged = after.claim_expires_at.expect("a lease") - held.claim_expires_at.expect("a lease");
    assert!((10 * MINUTE..11 * MINUTE).contains(&prolonged), "{prolonged}");
    let renew = json!({"agentId": "a", "claimGeneration": held.claim_generation});
    client.post(&format!("/api/messages/{}/claim/renew", message.id), renew).await.expect::<Message>(200);

    // And a lease ends all the same when its holder does not come back.
    pass(client, &clock, 62_000).await;
    assert_eq!(reap(client).await["releasedMessageIds"], json!([message.id]));
    claim(client, &message, "b", 60_000).await;
    let late = json!({"agentId": "a", "claimGeneration": held.claim_generation});
    client.post(&format!("/api/messages/{}/claim/complete", message.id), late).await.problem(409, "stale_claim");
    pass(client, &clock, 92_000).await;
    reap(client).await;
    assert_eq!(status(client, "a").await, AgentStatus::Offline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_as_long_as_it_was_whatever_the_clock_is_set_to() {
    let clock = TestClock::default();
    let server = start(&clock).await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    client.register(json!({"id": "b", "tags": ["t"]})).await;
    for step in [DAY, -2 * DAY, 400 * DAY] {
        let message = work(client).await;
        claim(client, &message, "a", 60_000).await;
        clock.set_forward(step);
        assert_eq!(reap(client).await["releasedMessageIds"], json!([]), "{step}");
        assert_eq!(status(client, "a").await, AgentStatus::Online, "{step}");
        let path = format!("/api/messages/{}/claim", message.id);
        client.post(&path, json!({"agentId": "b"})).await.problem(409, "already_claimed");
        pass(client, &clock, 30_000).await;
        client.post(&path, json!({"agentId": "b"})).await.problem(409, "already_claimed");
        pass(client, &clock, 32_000).await;
        client.post(&path, json!({"agentId": "b"})).await.expect::<Message>(200);
        client.post("/api/agents/a/heartbeat", json!({})).await.expect::<Value>(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_to_the_clock_is_in_health_and_in_the_metrics() {
    let clock = TestClock::default();
    let server = start(&clock).await;
    let client = &server.client;
    let steady = check(client, "clock").await;
    assert_eq!(steady["status"], "ok", "{steady}");
    clock.set_forward(400 * DAY);
    let ahead = eventually("it is noticed", async || {
        let check = check(client, "clock").await;
        (check["status"] == "warn").then_some(check)
    })
    .await;
    let detail = ahead["detail"].as_str().expect("a detail");
    assert!(detail.contains("set forward by 400 days") && detail.contains("timedatectl"), "{detail}");
    assert!(detail.contains("nothing is deleted on its word"), "{detail}");
    clock.set_forward(-400 * DAY);
    let back = eventually("it is noticed", async || {
        let check = check(client, "clock").await;
        check["detail"].as_str().expect("a detail").contains("set back").then_some(check)
    })
    .await;
    assert!(!back["detail"].as_str().expect("a detail").contains("nothing is deleted"), "{back}");
    clock.pass(10 * MINUTE);
    eventually("the pause is noticed", async || {
        let check = check(client, "clock").await;
        check["detail"].as_str().expect("a detail").contains("did not run for 10m").then_some(())
    })
    .await;
    let metrics = client.call(client.request(Method::GET, "/metrics")).await.text;
    for sample in [
        "agent_relay_clock_steps_total{direction=\"forward\"} ",
        "agent_relay_clock_steps_total{direction=\"back\"} ",
        "agent_relay_pauses_total ",
    ] {
        assert!(metrics.contains(sample), "no {sample}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_as_long_as_it_was_to_whatever_happens_to_the_clock() {
    let clock = TestClock::default();
    let home = tempfile::tempdir().expect("a temporary directory");
    let server =
        Server::start_by(clock.clock(), home, |config| config.command_lifetime = Duration::from_secs(60)).await;
    let client = &server.client;
    let far = json!({"id": "far", "hostname": "h", "baseDir": "/base"});
    client.post("/api/orchestrators", far).await.expect::<Value>(201);
    let spawn = json!({"provider": "claude", "cwd": "/base"});
    let asked: Value = client.post("/api/orchestrators/far/spawn", spawn).await.expect(202);
    let path = format!("/api/commands/{}", asked["command"]["id"]);
    let waiting = async || {
        reap(client).await;
        let command: Value = client.get(&path).await.expect(200);
        let inbox = client.inbox("orchestrator-far").await;
        assert_eq!(command["status"] == "pending", inbox.len() == 1, "its message goes with it: {command} {inbox:?}");
        command["status"] == "pending"
    };
    for (slept, step) in [(60 * MINUTE, 0), (0, DAY), (0, -2 * DAY)] {
        clock.pass(slept);
        clock.set_forward(step);
        assert!(waiting().await, "after {slept} and {step}");
    }
    pass(client, &clock, 40_000).await;
    assert!(waiting().await);
    pass(client, &clock, 22_000).await;
    assert!(!waiting().await);
}
