//! A stream whose relay ends, crashes and comes back: no gap and no repeat, or a gap that is told.

use std::time::Duration;

use agent_relay::client::events::{Event, EventFilter};
use agent_relay::client::stream::{EventStream, Received};
use agent_relay::domain::event::EventName;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::Message;
use futures_util::FutureExt;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::timeout;

use super::draft;
use super::forwarder::Forwarder;
use crate::program::{Serving, program};
use crate::server::{Client, PATIENCE, Server, eventually};

const LAST: &str = "the last one";

async fn next(stream: &mut EventStream) -> Received {
    timeout(PATIENCE, stream.next()).await.expect("something in time").expect("no failure")
}

async fn ready(stream: &mut EventStream) -> (String, String) {
    match next(stream).await {
        Received::Ready { from, latest } => (from, latest),
        other => panic!("not ready: {other:?}"),
    }
}

fn new_messages() -> EventFilter {
    EventFilter { types: vec![EventName::MessageNew], ..EventFilter::default() }
}

/// Follows to the last message, and says after each connection how many there were.
async fn follow(mut stream: EventStream, connected: watch::Sender<usize>) -> (EventStream, Vec<Event>) {
    let mut seen = Vec::new();
    loop {
        match next(&mut stream).await {
            Received::Ready { .. } => connected.send_modify(|count| *count += 1),
            Received::Disconnected { reason, .. } => assert!(!reason.is_empty()),
            Received::Reset { reason, .. } => panic!("a gap: {reason}"),
            Received::Event(event) => {
                let message: Message = event.parse().expect("a message");
                seen.push(event);
                if message.body == LAST {
                    return (stream, seen);
                }
            }
        }
    }
}

/// Sends until the relay is gone, and answers what was acknowledged.
async fn send_until_gone(client: Client, life: usize, sent: watch::Sender<usize>) -> Vec<MessageId> {
    let mut ids = Vec::new();
    // Not as fast as it can: it goes on for as long as the stream takes to come back.
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    for n in 0.. {
        beat.tick().await;
        let message = draft("writer", "reader", &format!("{life}/{n} {}", "x".repeat(n % 300)));
        match client.relay.messages().send(&message).send().await {
            Ok(sent) => ids.push(sent.message.id),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                break;
            }
        }
        sent.send_modify(|count| *count += 1);
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_ends_and_crashes_costs_no_event() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let start = || Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", home.path().join("data")));
    let mut serving = start();
    let forwarder = Forwarder::start().await;
    forwarder.lead_to(serving.address());
    let client = Client::new(&forwarder.url, None);
    let mut stream = client.relay.events().follow(new_messages());
    let (begun_at, latest) = ready(&mut stream).await;
    assert_eq!(begun_at, latest, "from now on");
    let (connected, mut connections) = watch::channel(1);
    let follower = tokio::spawn(follow(stream, connected));

    let mut acknowledged = Vec::new();
    for (life, signal) in [Signal::KILL, Signal::TERM].into_iter().enumerate() {
        let (sent, mut sending) = watch::channel(0);
        let writer = tokio::spawn(send_until_gone(Client::new(&serving.url, None), life, sent));
        // Somewhere within an event, while others are on their way.
        forwarder.cut_after(1_777 + 613 * life);
        timeout(PATIENCE, sending.wait_for(|sent| *sent >= 20)).await.expect("in time").expect("a writer");
        forwarder.sever();
        let expected = 2 * life + 2;
        timeout(PATIENCE, connections.wait_for(|count| *count >= expected))
            .await
            .expect("in time")
            .expect("it follows");
        serving.signal(signal);
        acknowledged.extend(timeout(PATIENCE, writer).await.expect("it ends with the relay").expect("a writer"));
        drop(serving);
        serving = start();
        forwarder.lead_to(serving.address());
    }
    let direct = Client::new(&serving.url, None);
    let last = direct.relay.messages().send(&draft("writer", "reader", LAST)).send().await.expect("a message");
    acknowledged.push(last.message.id);

    let (stream, seen) = timeout(PATIENCE, follower).await.expect("it gets there").expect("no gap");
    let log = EventFilter { since: Some(begun_at), ..new_messages() };
    let history = direct.relay.events().log(&log, Some(100), None).collect(usize::MAX).await.expect("a log");
    let ids = |events: &[Event]| events.iter().map(|event| event.id.clone().expect("an id")).collect::<Vec<_>>();
    assert_eq!(ids(&seen), ids(&history), "no gap, no repeat, in order");
    assert_eq!(stream.position(), history.last().expect("events").id.as_deref());
    let told: Vec<MessageId> = seen.iter().map(|event| event.parse::<Message>().expect("a message").id).collect();
    assert!(acknowledged.iter().all(|id| told.binary_search(id).is_ok()), "what was acknowledged was told");
    let connections = *connections.borrow();
    assert!(connections > 4, "cut and ended more often than {connections} connections show");

    // Dropping it hangs up.
    let open = async || direct.relay.system().stats().send().await.expect("figures").streams;
    assert_eq!(open().await, 1);
    drop(stream);
    eventually("the stream is closed", async || (open().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_gap_is_told() {
    let (one, other) = (Server::start().await, Server::start().await);
    let forwarder = Forwarder::start().await;
    forwarder.lead_to(one.client.address());
    let client = Client::new(&forwarder.url, None);
    let mut stream = client.relay.events().follow(new_messages());
    ready(&mut stream).await;
    let first = one.client.say("a", "b", "1").await;
    match next(&mut stream).await {
        Received::Event(event) => assert_eq!(event.parse::<Message>().expect("a message").id, first.id),
        other => panic!("{other:?}"),
    }
    // As after a restore: what was there is not the same history any more.
    forwarder.lead_to(other.client.address());
    forwarder.sever();
    assert!(matches!(next(&mut stream).await, Received::Disconnected { .. }));
    match next(&mut stream).await {
        Received::Reset { reason, oldest } => {
            assert_eq!(reason, "unknown_epoch");
            assert!(oldest.is_some());
        }
        other => panic!("{other:?}"),
    }
    let (from, _) = ready(&mut stream).await;
    assert_eq!(stream.position(), Some(&*from));
    let second = other.client.say("a", "b", "2").await;
    assert_eq!(stream.next_event().await.expect("an event").parse::<Message>().expect("a message").id, second.id);
}

/// As in a loop that also does other things: each time it comes by, it looks only once.
#[tokio::test]
async fn asking_again_and_again_does_not_begin_anew() {
    let server = Server::start().await;
    let mut stream = server.client.relay.events().follow(new_messages());
    let glimpses = async {
        loop {
            if let Some(received) = stream.next().now_or_never() {
                return received.expect("no failure");
            }
            tokio::task::yield_now().await;
        }
    };
    let first = timeout(PATIENCE, glimpses).await.expect("it connects");
    assert!(matches!(first, Received::Ready { .. }), "{first:?}");
}

#[tokio::test]
async fn nothing_between_two_connections_is_missed_even_before_the_first_event() {
    let server = Server::start().await;
    let forwarder = Forwarder::start().await;
    forwarder.lead_to(server.client.address());
    let client = Client::new(&forwarder.url, None);
    let mut stream = client.relay.events().follow(new_messages());
    let (from, _) = ready(&mut stream).await;
    forwarder.sever();
    assert!(matches!(next(&mut stream).await, Received::Disconnected { .. }));
    let missed = server.client.say("a", "b", "while it was away").await;
    assert_eq!(ready(&mut stream).await.0, from);
    assert_eq!(stream.next_event().await.expect("an event").parse::<Message>().expect("a message").id, missed.id);
}
