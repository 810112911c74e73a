//! Claims: one holder at a time, each with its generation, through everything.

use std::collections::HashSet;

use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Answer, Client, Server, until};

/// A relay with agents `a`, `b` and `c`, and one piece of work for all of them.
async fn work() -> (Server, Message) {
    let server = Server::start().await;
    for id in ["a", "b", "c"] {
        server.client.register(json!({"id": id, "tags": ["t"]})).await;
    }
    let draft = json!({"from": "boss", "to": "tag:t", "body": "work", "claimable": true});
    let message = server.client.send(draft).await;
    (server, message)
}

async fn claim(client: &Client, message: &Message, agent: &str) -> Answer {
    client.post(&format!("/api/messages/{}/claim", message.id), json!({"agentId": agent})).await
}

async fn claim_for(client: &Client, message: &Message, agent: &str, lease_ms: i64) -> Answer {
    let body = json!({"agentId": agent, "leaseMs": lease_ms});
    client.post(&format!("/api/messages/{}/claim", message.id), body).await
}

/// `renew`, `release` or `complete`.
async fn step(client: &Client, message: &Message, step: &str, agent: &str, generation: i64) -> Answer {
    let body = json!({"agentId": agent, "claimGeneration": generation});
    client.post(&format!("/api/messages/{}/claim/{step}", message.id), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_claim_at_once_exactly_one_gets_it() {
    let (server, _) = work().await;
    let client = &server.client;
    let agents: Vec<String> = (0..16).map(|n| format!("agent-{n}")).collect();
    for id in &agents {
        client.register(json!({"id": id, "tags": ["t"]})).await;
    }
    for round in 0..5 {
        let draft = json!({"from": "boss", "to": "tag:t", "body": "work", "claimable": true});
        let message = client.send(draft).await;
        let mut claims = JoinSet::new();
        for agent in agents.clone() {
            let (client, message) = (client.clone(), message.clone());
            claims.spawn(async move { (agent.clone(), claim(&client, &message, &agent).await) });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            claims.join_all().await.into_iter().partition(|(_, answer)| answer.status == 200);
        let [(winner, _)] = &won[..] else { panic!("{} winners in round {round}", won.len()) };
        let held: Message = won[0].1.parse();
        assert_eq!((held.claimed_by.as_deref(), held.claim_generation), (Some(winner.as_str()), 1));
        for (_, answer) in lost {
            let problem = answer.problem(409, "already_claimed");
            assert_eq!(problem["claimedBy"], json!(winner));
            assert_eq!(problem["claimExpiresAt"], json!(held.claim_expires_at));
        }
        // Completed by all at once: by its holder, and by nobody else.
        let mut steps = JoinSet::new();
        for agent in agents.clone() {
            let (client, message) = (client.clone(), message.clone());
            steps.spawn(async move { (step(&client, &message, "complete", &agent, 1).await.status, agent) });
        }
        for (status, agent) in steps.join_all().await {
            assert_eq!(status, if agent == *winner { 200 } else { 409 }, "{agent}");
        }
    }
}

#[tokio::test]
async fn a_claim_is_answered_with_the_whole_message() {
    let (server, message) = work().await;
    let client = &server.client;
    let before = Timestamp::now();
    let held: Message = claim(client, &message, "a").await.expect(200);
    let at = held.claimed_at.expect("a time");
    assert!((before..=Timestamp::now()).contains(&at));
    assert_eq!(held.claim_expires_at, Some(at + 5 * 60 * 1000), "5 minutes unless asked otherwise");
    let expected = Message {
        claimed_by: Some("a".into()),
        claimed_at: held.claimed_at,
        claim_expires_at: held.claim_expires_at,
        claim_generation: 1,
        ..message.clone()
    };
    assert_eq!(held, expected);
    assert_eq!(client.get(&format!("/api/messages/{}", message.id)).await.expect::<Message>(200), held);
    // A lost reply does no harm: asking again answers the same claim and does not prolong it.
    until(at + 5).await;
    assert_eq!(claim(client, &message, "a").await.expect::<Message>(200), held);
}

#[tokio::test]
async fn leases_have_bounds_and_renewals_a_default() {
    let (server, message) = work().await;
    let client = &server.client;
    for wrong in [0, -1, 999, 3_600_001, i64::MAX] {
        claim_for(client, &message, "a", wrong).await.invalid("leaseMs must be between 1000 and 3600000");
    }
    let held: Message = claim_for(client, &message, "a", 3_600_000).await.expect(200);
    assert_eq!(held.claim_expires_at, held.claimed_at.map(|at| at + 3_600_000));
    let before = Timestamp::now();
    let renewed: Message = step(client, &message, "renew", "a", 1).await.expect(200);
    let until = renewed.claim_expires_at.expect("a lease");
    assert!((before + 3_600_000..=Timestamp::now() + 3_600_000).contains(&until), "the claim's own length again");
    assert_eq!((renewed.claim_generation, renewed.claimed_at), (1, held.claimed_at));
    let shorter = json!({"agentId": "a", "claimGeneration": 1, "leaseMs": 1_000});
    let path = format!("/api/messages/{}/claim/renew", message.id);
    let renewed: Message = client.post(&path, shorter).await.expect(200);
    assert!(renewed.claim_expires_at.expect("a lease") < until);
    let wrong = json!({"agentId": "a", "claimGeneration": 1, "leaseMs": 999});
    client.post(&path, wrong).await.problem(400, "invalid_request");
    client.post(&path, json!({"agentId": "a"})).await.invalid("claimGeneration required");
    client.post(&path, json!({"claimGeneration": 1})).await.invalid("agentId required");
}

#[tokio::test]
async fn only_work_is_claimed_and_only_by_those_it_reaches() {
    let (server, message) = work().await;
    let client = &server.client;
    let plain = client.say("boss", "a", "no work").await;
    claim(client, &plain, "a").await.problem(409, "not_claimable");
    claim(client, &message, "stranger").await.problem(403, "not_addressed");
    claim(client, &message, "boss").await.problem(403, "not_addressed");
    client.post("/api/messages/999/claim", json!({"agentId": "a"})).await.problem(404, "not_found");
    for name in ["renew", "release", "complete"] {
        step(client, &message, name, "a", 0).await.problem(409, "stale_claim");
        let path = format!("/api/messages/999/claim/{name}");
        client.post(&path, json!({"agentId": "a", "claimGeneration": 1})).await.problem(404, "not_found");
    }
    let untouched: Message = client.get(&format!("/api/messages/{}", message.id)).await.expect(200);
    assert_eq!(untouched, message);
}

#[tokio::test]
async fn a_released_claim_is_free_and_its_generation_is_dead() {
    let (server, message) = work().await;
    let client = &server.client;
    claim(client, &message, "a").await.expect::<Message>(200);
    for (agent, generation) in [("b", 1), ("a", 0), ("a", 2)] {
        for name in ["renew", "release", "complete"] {
            step(client, &message, name, agent, generation).await.problem(409, "stale_claim");
        }
    }
    let released: Message = step(client, &message, "release", "a", 1).await.expect(200);
    assert_eq!((released.claimed_by, released.claim_expires_at, released.claim_generation), (None, None, 1));
    step(client, &message, "release", "a", 1).await.problem(409, "stale_claim");
    let next: Message = claim(client, &message, "b").await.expect(200);
    assert_eq!((next.claimed_by.as_deref(), next.claim_generation), (Some("b"), 2));
    for name in ["renew", "release", "complete"] {
        step(client, &message, name, "a", 1).await.problem(409, "stale_claim");
    }
    step(client, &message, "complete", "b", 2).await.expect::<Message>(200);
}

#[tokio::test]
async fn what_is_completed_stays_completed() {
    let (server, message) = work().await;
    let client = &server.client;
    claim(client, &message, "a").await.expect::<Message>(200);
    let done: Message = step(client, &message, "complete", "a", 1).await.expect(200);
    assert_eq!((done.claimed_by.as_deref(), done.claim_expires_at, done.claim_generation), (Some("a"), None, 1));
    assert!(done.completed_at.is_some());
    assert_eq!(step(client, &message, "complete", "a", 1).await.expect::<Message>(200), done, "once more is no harm");
    let refused = async |client: &Client| {
        for agent in ["a", "b"] {
            claim(client, &message, agent).await.problem(409, "already_completed");
        }
        for (name, agent) in [("renew", "a"), ("release", "a"), ("complete", "b"), ("release", "b")] {
            assert_eq!(step(client, &message, name, agent, 1).await.status, 409, "{name} by {agent}");
        }
        assert_eq!(client.get(&format!("/api/messages/{}", message.id)).await.expect::<Message>(200), done);
    };
    refused(client).await;
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let server = Server::start_in(server.stop(), |_| {}).await;
    refused(&server.client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_frees_the_work_and_kills_its_generation() {
    let (server, message) = work().await;
    let client = &server.client;
    let held: Message = claim_for(client, &message, "a", 1_000).await.expect(200);
    until(held.claim_expires_at.expect("a lease")).await;
    // Before anybody else claims, and before the reaper came: dead all the same.
    for name in ["renew", "release", "complete"] {
        step(client, &message, name, "a", 1).await.problem(409, "stale_claim");
    }
    let mut claims = JoinSet::new();
    for agent in ["a", "b", "c"] {
        let (client, message) = (client.clone(), message.clone());
        claims.spawn(async move { (agent, claim(&client, &message, agent).await) });
    }
    let answers = claims.join_all().await;
    let won: Vec<_> = answers.into_iter().filter(|(_, answer)| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    let (winner, answer) = &won[0];
    assert_eq!(answer.parse::<Message>().claim_generation, 2);
    step(client, &message, "complete", "a", 1).await.problem(409, "stale_claim");
    step(client, &message, "complete", winner, 2).await.expect::<Message>(200);
}

#[tokio::test]
async fn each_step_is_told_to_whom_it_concerns() {
    let (server, message) = work().await;
    let client = &server.client;
    let types = "types=message.claimed,message.claim_released,message.completed";
    let mut of_sender = client.follow(&format!("agent=boss&{types}")).await;
    let mut of_group = client.follow(&format!("agent=c&{types}")).await;
    let held: Message = claim_for(client, &message, "a", 1_000).await.expect(200);
    until(held.claim_expires_at.expect("a lease")).await;
    let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
    // The reaper also runs by itself, and may have been faster.
    let released = reaped["releasedMessageIds"].as_array().expect("a list");
    let expected = HashSet::from([json!(message.id)]);
    assert!(released.iter().all(|id| expected.contains(id)), "{reaped}");
    claim(client, &message, "b").await.expect::<Message>(200);
    step(client, &message, "release", "b", 2).await.expect::<Message>(200);
    claim(client, &message, "c").await.expect::<Message>(200);
    step(client, &message, "complete", "c", 3).await.expect::<Message>(200);
    for stream in [&mut of_sender, &mut of_group] {
        for (event, agent, generation) in [
            ("message.claimed", "a", 1),
            ("message.claim_released", "a", 1),
            ("message.claimed", "b", 2),
            ("message.claim_released", "b", 2),
            ("message.claimed", "c", 3),
            ("message.completed", "c", 3),
        ] {
            let frame = stream.next().await;
            let expected = json!({"id": message.id, "agentId": agent, "claimGeneration": generation});
            assert_eq!((frame.event.as_str(), frame.data), (event, expected));
        }
    }
}

/// However many there are: one run sees to all of them.
#[tokio::test]
async fn every_lease_that_has_ended_is_freed_in_one_run() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let (count, mut last) = (1_200, Timestamp::now());
    for _ in 0..count {
        let message = client.send(json!({"from": "x", "to": "a", "body": "b", "claimable": true})).await;
        let claim = json!({"agentId": "a", "leaseMs": 1_000});
        let held: Message = client.post(&format!("/api/messages/{}/claim", message.id), claim).await.expect(200);
        last = held.claim_expires_at.expect("a lease");
    }
    until(last).await;
    let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
    let by_hand = reaped["releasedMessageIds"].as_array().expect("ids").len();
    // Those that the relay freed by itself meanwhile are not told again.
    assert!(by_hand <= count, "{by_hand}");
    let mut messages: Vec<Message> = client.get("/api/messages?limit=1000").await.expect(200);
    let since = messages.last().expect("a message").id;
    messages.extend(client.get(&format!("/api/messages?limit=1000&since={since}")).await.expect::<Vec<Message>>(200));
    assert_eq!(messages.iter().filter(|message| message.claimed_by.is_none()).count(), count, "all are free");
}
