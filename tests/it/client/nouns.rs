//! Agents, messages, events, orchestrators, activity and the relay itself, by typed requests.

use std::collections::BTreeSet;

use agent_relay::client::activity::ActivityQuery;
use agent_relay::client::agents::AgentQuery;
use agent_relay::client::events::EventFilter;
use agent_relay::client::messages::{Claimant, MessageQuery};
use agent_relay::client::{Error, Pages};
use agent_relay::domain::activity::{ActivityKind, NewActivity};
use agent_relay::domain::agent::{AgentStatus, Registration, SessionGuard};
use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::orchestrator::{ManagedAgent, OrchestratorRegistration};
use agent_relay::domain::event::EventName;
use agent_relay::domain::message::{Draft, Message, MessageType};
use agent_relay::domain::time::Timestamp;
use serde::de::DeserializeOwned;

use super::{agent, draft};
use crate::server::{PATIENCE, Server, eventually};

fn refused<T>(result: Result<T, Error>, code: &str) {
    match result {
        Err(error) if error.is(code) => {
            let problem = error.problem().expect("a problem");
            assert!(!problem.next.is_empty() && !problem.request_id.is_empty(), "{problem:?}");
        }
        Err(error) => panic!("{error:?}, not {code}"),
        Ok(_) => panic!("it was not refused with {code}"),
    }
}

/// The sizes of all pages, and their entries.
async fn walk<T: DeserializeOwned>(mut pages: Pages<T>) -> (Vec<usize>, Vec<T>) {
    let (mut sizes, mut entries) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await.expect("a page") {
        sizes.push(page.items.len());
        entries.extend(page.items);
    }
    assert!(pages.next().await.expect("nothing to ask").is_none(), "the last page stays the last");
    (sizes, entries)
}

#[tokio::test]
async fn agents_are_registered_changed_and_found() {
    let server = Server::start().await;
    let agents = server.client.relay.agents();
    let first = Registration {
        label: Some(Some("night shift".to_owned())),
        instance_id: Some("i1".to_owned()),
        ..agent("a", &["ops"])
    };
    let card = agents.register(&first).send().await.expect("a card");
    assert_eq!((card.epoch, card.label.as_deref()), (1, Some("night shift")));
    // What is left out is kept, and what is cleared is cleared.
    let again = Registration { id: Some("a".to_owned()), label: Some(None), ..Registration::default() };
    let card = agents.register(&again).send().await.expect("a card");
    assert_eq!((card.label, card.tags), (None, vec!["ops".to_owned()]));

    let guard = SessionGuard { instance_id: Some("i1".to_owned()), epoch: Some(1) };
    let stale = SessionGuard { epoch: Some(7), ..guard.clone() };
    refused(agents.set_ready("a", true, &stale).send().await, "stale_session");
    assert!(agents.set_ready("a", true, &guard).send().await.expect("a card").ready);
    let busy = agents.set_status("a", AgentStatus::Busy, &guard).send().await.expect("a card");
    assert_eq!(busy.status, AgentStatus::Busy);
    let labelled = agents.set_label("a", Some("day"), &guard).send().await.expect("a card");
    assert_eq!(labelled.label.as_deref(), Some("day"));
    assert_eq!(agents.set_label("a", None, &guard).send().await.expect("a card").label, None);
    let tags = ["x".to_owned(), "y".to_owned()];
    assert_eq!(agents.set_tags("a", &tags, &guard).send().await.expect("a card").tags, tags);
    assert!(agents.heartbeat("a", Some(AgentStatus::Idle), &guard).send().await.expect("an answer").ok);
    assert_eq!(agents.get("a").send().await.expect("a card").status, AgentStatus::Idle);

    // Ids are texts of people: nothing in one may lead elsewhere.
    for odd in ["a/b?c=d&e#f", "../agents/a", "ü %2F"] {
        agents.register(&agent(odd, &["odd"])).send().await.expect("a card");
        assert_eq!(agents.get(odd).send().await.expect("a card").id, odd);
    }
    let query = AgentQuery { tag: Some("odd".to_owned()), limit: Some(2), ..AgentQuery::default() };
    let (sizes, odd) = walk(agents.list(&query)).await;
    assert_eq!((sizes, odd.len()), (vec![2, 1], 3));
    assert_eq!(agents.list(&query).first().await.expect("a page").len(), 2);
    assert_eq!(agents.list(&query).collect(1).await.expect("agents").len(), 1);
    agents.set_status(&odd[0].id, AgentStatus::Offline, &SessionGuard::default()).send().await.expect("a card");
    let (_, found) = walk(agents.find("odd", &AgentQuery { limit: Some(1), ..AgentQuery::default() })).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[2].id, odd[0].id, "live ones first");

    refused(agents.remove("a", &stale).send().await, "stale_session");
    assert!(agents.remove("a", &guard).send().await.expect("an answer").ok);
    refused(agents.get("a").send().await, "not_found");
    refused(agents.heartbeat("a", None, &SessionGuard::default()).send().await, "not_found");
    refused(agents.register(&agent("user", &[])).send().await, "reserved_id");
}

#[tokio::test]
async fn messages_are_sent_claimed_and_done() {
    let server = Server::start().await;
    let client = &server.client.relay;
    let messages = client.messages();
    for id in ["ann", "bob"] {
        client.agents().register(&agent(id, &["work"])).send().await.expect("a card");
    }
    let work = Draft { claimable: Some(true), ..draft("boss", "tag:work", "build it") };
    let sent = messages.send(&work).idempotency_key("k").answer().await.expect("an answer");
    assert_eq!((sent.status().as_u16(), sent.is_replayed()), (201, false));
    let message: Message = sent.json().expect("a message");
    let again = messages.send(&work).idempotency_key("k").answer().await.expect("an answer");
    assert_eq!((again.status().as_u16(), again.is_replayed()), (200, true));
    let other = draft("boss", "tag:work", "something else");
    refused(messages.send(&other).idempotency_key("k").send().await, "idempotency_key_reused");

    let (ann, bob) = (Claimant::agent("ann"), Claimant::agent("bob"));
    let held = messages.claim(message.id, &ann, Some(60_000)).send().await.expect("a claim");
    let taken = messages.claim(message.id, &bob, None).send().await;
    let problem = taken.as_ref().expect_err("held").problem().expect("a problem").clone();
    assert_eq!(problem.members["claimedBy"], "ann");
    assert_eq!(problem.members["claimExpiresAt"].as_i64(), held.claim_expires_at.map(Timestamp::as_ms));
    refused(taken, "already_claimed");
    let generation = held.claim_generation;
    let renewed = messages.renew_claim(message.id, &ann, generation, Some(3_600_000)).send().await.expect("a claim");
    assert!(renewed.claim_expires_at > held.claim_expires_at);
    messages.release_claim(message.id, &ann, generation).send().await.expect("released");
    refused(messages.complete_claim(message.id, &ann, generation).send().await, "stale_claim");
    let generation = messages.claim(message.id, &bob, None).send().await.expect("a claim").claim_generation;
    let done = messages.complete_claim(message.id, &bob, generation).send().await.expect("done");
    assert!(done.completed_at.is_some());

    let reply = Draft { reply_to: Some(message.id.get()), ..draft("bob", "boss", "built") };
    let sent = messages.send(&reply).send().await.expect("a message");
    assert_eq!((sent.outcome.recipients, sent.outcome.similar, sent.outcome.receipt), (Some(0), Some(vec![]), None));
    let reply = sent.message;
    let thread = messages.thread(reply.id).collect(10).await.expect("a thread");
    assert_eq!(thread.iter().map(|message| message.id).collect::<Vec<_>>(), [message.id, reply.id]);
    let read = messages.mark_read(reply.id, &Claimant::agent("boss")).send().await.expect("a message");
    assert_eq!(read.read_by, ["boss"]);
    let told = messages.broadcast(Some("notice"), "all").send().await.expect("a message");
    assert_eq!((told.from.as_str(), told.kind), ("system", MessageType::System));
    assert_eq!(messages.cursor().send().await.expect("a cursor").latest_id, told.id);
    assert_eq!(messages.get(told.id).send().await.expect("a message"), told);

    let inbox = MessageQuery { reaching: Some("ann".to_owned()), limit: Some(1), ..MessageQuery::default() };
    let (sizes, reached) = walk(messages.list(&inbox)).await;
    assert_eq!(reached.iter().map(|message| message.id).collect::<Vec<_>>(), [message.id, told.id]);
    assert_eq!(sizes, [1, 1, 0], "a full page may have another after it");
    // It waits longer than an answer may take otherwise, and is answered as soon as there is one.
    let since = MessageQuery { since: Some(told.id), wait: Some(60), ..inbox };
    let polling = client.clone();
    let poll = tokio::spawn(async move { polling.messages().list(&since).first().await.expect("a page") });
    eventually("the poll waits", async || {
        (client.system().stats().send().await.expect("figures").streams == 1).then_some(())
    })
    .await;
    let last = messages.send(&draft("boss", "ann", "now")).send().await.expect("a message");
    let polled = tokio::time::timeout(PATIENCE / 2, poll).await.expect("well before its 60 s").expect("a page");
    assert_eq!(polled, [last.message]);

    assert!(messages.delete(told.id).send().await.expect("an answer").ok);
    refused(messages.get(told.id).send().await, "not_found");
}

#[tokio::test]
async fn events_are_read_page_by_page_and_ticketed() {
    let server = Server::start().await;
    let client = &server.client.relay;
    let mut sent = Vec::new();
    for body in ["1", "2", "3"] {
        sent.push(client.messages().send(&draft("x", "a", body)).send().await.expect("a message").message);
    }
    let filter = EventFilter { types: vec![EventName::MessageNew], ..EventFilter::agent("a") };
    let (sizes, events) = walk(client.events().log(&filter, Some(2), None)).await;
    assert_eq!(sizes, [2, 1]);
    assert!(events.iter().all(|event| event.kind() == Some(EventName::MessageNew)));
    let told: Vec<Message> = events.iter().map(|event| event.parse().expect("a message")).collect();
    assert_eq!(told, sent);
    let after = EventFilter { since: events[1].id.clone(), ..filter };
    assert_eq!(client.events().log(&after, None, Some(1)).first().await.expect("a page").len(), 1);

    let lost = EventFilter { since: Some("other-1".to_owned()), ..EventFilter::default() };
    let reset = client.events().log(&lost, None, None).first().await.expect("a page");
    assert_eq!((reset[0].name.as_str(), &reset[0].id, reset[0].kind()), ("relay.reset", &None, None));
    let tickets: BTreeSet<String> = [client.events().ticket().send().await, client.events().ticket().send().await]
        .into_iter()
        .map(|ticket| ticket.expect("a ticket").ticket)
        .collect();
    assert_eq!(tickets.len(), 2);
}

#[tokio::test]
async fn orchestrators_say_what_they_run() {
    let server = Server::start().await;
    let orchestrators = server.client.relay.orchestrators();
    let text = |text: &str| Some(text.to_owned());
    let registration = OrchestratorRegistration {
        id: text("far"),
        hostname: text("h"),
        base_dir: text("/base"),
        ..OrchestratorRegistration::default()
    };
    let far = orchestrators.register(&registration).send().await.expect("an orchestrator");
    assert_eq!(far.providers, ["claude", "codex"]);
    assert!(orchestrators.heartbeat("far", &SessionGuard::default()).send().await.expect("an answer").ok);
    let runs = ManagedAgent {
        agent_id: "far-0".into(),
        provider: "claude".to_owned(),
        tmux_session: "s".to_owned(),
        cwd: "/base".to_owned(),
        label: None,
        approval_mode: ApprovalMode::ReadOnly,
        pid: Some(7),
        started_at: Timestamp::from_ms(8),
    };
    let managing =
        orchestrators.set_managed_agents("far", std::slice::from_ref(&runs), &SessionGuard::default()).send().await;
    assert_eq!(managing.expect("an orchestrator").managed_agents, [runs]);
    let listed = orchestrators.list().send().await.expect("a list");
    assert_eq!(listed, [orchestrators.get("far").send().await.expect("an orchestrator")]);
    assert!(orchestrators.remove("far").send().await.expect("an answer").ok);
    refused(orchestrators.heartbeat("far", &SessionGuard::default()).send().await, "not_found");
}

#[tokio::test]
async fn activity_is_written_once() {
    let server = Server::start().await;
    let log = server.client.relay.activity();
    let entry = |id: &str| NewActivity {
        client_id: Some(id.to_owned()),
        kind: Some(ActivityKind::Task.to_string()),
        title: Some(format!("task {id}")),
        agent_id: Some("a".to_owned()),
        ..NewActivity::default()
    };
    let first = log.write(&entry("1")).answer().await.expect("an answer");
    assert_eq!(first.status().as_u16(), 201);
    assert_eq!(log.write(&entry("1")).answer().await.expect("an answer").status().as_u16(), 200);
    for id in ["2", "3"] {
        log.write(&entry(id)).send().await.expect("an entry");
    }
    let query = ActivityQuery {
        kind: Some(ActivityKind::Task),
        agent: Some("a".to_owned()),
        limit: Some(2),
        ..ActivityQuery::default()
    };
    let (sizes, entries) = walk(log.list(&query)).await;
    assert_eq!(sizes, [2, 1]);
    assert_eq!(entries.iter().map(|entry| entry.client_id.as_str()).collect::<Vec<_>>(), ["3", "2", "1"]);
    refused(log.write(&entry("server-1")).send().await, "invalid_request");
}

#[tokio::test]
async fn the_relay_tells_about_itself() {
    let server = Server::start().await;
    let system = server.client.relay.system();
    let health = system.health().send().await.expect("a report");
    assert_eq!(health.status, "ok");
    assert!(health.checks.iter().any(|check| check.name == "store"), "{health:?}");
    assert!(system.is_ready().await.expect("an answer"));
    let stats = system.stats().send().await.expect("figures");
    assert_eq!((stats.agents, stats.messages), (2, 0));
    assert!(system.metrics().await.expect("figures").contains("agent_relay_"));
    assert_eq!(system.reap().send().await.expect("a report").reaped_agent_ids, [""; 0]);
    assert!(system.spec().send().await.expect("a document")["paths"].is_object());
    // One that drains is not ready, until it answers nobody.
    server.drain();
    let ready = eventually("it is not ready any more", async || match system.is_ready().await {
        Ok(true) => None,
        Ok(false) => Some(()),
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            Some(())
        }
    });
    ready.await;
}
