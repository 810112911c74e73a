//! Receivers that fail: by what they answer, by how, and by not answering at all.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use agent_relay::domain::activity::ActivityKind;
use agent_relay::domain::task::callback::CallbackStatus;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::receiver::nobody;
use super::{HOUR_MS, Receiver, callbacks, claim, create, local, once, retry};
use crate::server::{PATIENCE, Server, TestClock};

/// Listens, and does this with each connection once there is something to read.
async fn listen<F: Future<Output = ()> + Send>(
    act: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let act = act.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok() {
                    act(stream).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn after_the_last_attempt_it_is_dead_and_the_next_goes_on() {
    let server = Server::start_with(local(&[1, 1])).await;
    let client = &server.client;
    let mut receiver = Receiver::start().await;
    let task = create(client, &receiver.url()).await;
    let mut ids = Vec::new();
    for attempt in 0..3 {
        let hook = receiver.next().await;
        if attempt == 2 {
            claim(client, &task).await;
        }
        assert_eq!(hook.told().1, "created");
        ids.push(hook.id());
        hook.answer_with(503, &[], "not now");
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(receiver.take().await.1, "claimed", "the next one goes on");
    let [claimed, created] = &callbacks(client, &format!("taskId={}", task.id)).await[..] else { panic!() };
    assert_ne!(claimed.status, CallbackStatus::Dead);
    assert_eq!((created.status, created.next_attempt_at), (CallbackStatus::Dead, None));
    let answers: Vec<_> = created.attempts.iter().map(|one| (one.status, one.answer.as_str())).collect();
    assert_eq!(answers, [(Some(503), "not now"); 3]);
    let said = client.activity("kind=task").await;
    let dead = said.iter().find(|entry| entry.title == "Callback dead").expect("an entry");
    assert_eq!((dead.kind, dead.task_id), (ActivityKind::Task, Some(task.id)));
    assert!(dead.body.as_deref().is_some_and(|body| body.contains("503") && body.contains("/retry")), "{dead:?}");
    // Once more, with all its attempts.
    retry(client, created).await;
    receiver.next().await.answer(500);
    let again = receiver.next().await;
    assert_eq!(again.id(), ids[0]);
    again.answer(200);
    let delivered = once(client, &task, "delivered", |callback| callback.status == CallbackStatus::Delivered).await;
    assert_eq!((delivered.id, delivered.attempts.len()), (created.id, 5));
    let path = format!("/api/callbacks/{}/retry", created.id);
    client.post(&path, json!({})).await.problem(409, "illegal_transition");
    client.post("/api/callbacks/999/retry", json!({})).await.problem(404, "not_found");
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn one_that_is_gone_is_dead_at_once_and_a_redirect_is_not_followed() {
    let server = Server::start_with(local(&[HOUR_MS])).await;
    let client = &server.client;
    let (mut receiver, mut elsewhere) = (Receiver::start().await, Receiver::start().await);
    let gone = create(client, &receiver.url()).await;
    receiver.next().await.answer_with(410, &[("retry-after", "1")], "");
    let gone = once(client, &gone, "dead", |callback| callback.status == CallbackStatus::Dead).await;
    assert_eq!((gone.attempts.len(), gone.attempts[0].status), (1, Some(410)));
    for status in [301, 302, 303, 307, 308] {
        let moved = create(client, &receiver.url()).await;
        receiver.next().await.answer_with(status, &[("location", &elsewhere.url())], "");
        let moved = once(client, &moved, "a failure", |callback| !callback.attempts.is_empty()).await;
        assert_eq!((moved.status, moved.attempts[0].status), (CallbackStatus::Pending, Some(status)));
        assert!(moved.attempts[0].error.as_deref().is_some_and(|error| error.contains("redirect")), "{moved:?}");
    }
    assert!(elsewhere.is_idle() && receiver.is_idle());
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let server = Server::start_with(local(&[1_000])).await;
    let client = &server.client;
    let mut receiver = Receiver::start().await;
    let date = "Fri, 31 Dec 9999 23:59:59 GMT";
    for (asked, least, most) in [
        ("120", 120_000, 130_000),
        ("31536000", 6 * HOUR_MS, 6 * HOUR_MS + 10_000),
        (date, 6 * HOUR_MS, 6 * HOUR_MS + 10_000),
        ("0", 1_000, 100_000),
        ("soon", 1_000, 100_000),
    ] {
        let task = create(client, &receiver.url()).await;
        receiver.next().await.answer_with(429, &[("retry-after", asked)], "");
        let failed = once(client, &task, "a failure", |callback| !callback.attempts.is_empty()).await;
        // By when it was written down, which is a moment after it began.
        let wait = failed.next_attempt_at.map_or(0, |at| at - failed.updated_at);
        assert!((least..=most).contains(&wait), "{asked}: {wait}");
    }
}

#[tokio::test]
async fn an_attempt_ends_however_its_receiver_does_not() {
    let server = Server::start_with(|config| {
        local(&[HOUR_MS])(config);
        config.callbacks.timeout = Duration::from_millis(500);
    })
    .await;
    let client = &server.client;
    let silent = listen(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let drop_by_drop = |status: u16| {
        move |mut stream: TcpStream| async move {
            let head = format!("HTTP/1.1 {status} So\r\ntransfer-encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).await.ok();
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            loop {
                beat.tick().await;
                if stream.write_all(b"1\r\nx\r\n").await.is_err() {
                    return;
                }
            }
        }
    };
    let slow_head = listen(|mut stream| async move {
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.ok();
        loop {
            beat.tick().await;
            if stream.write_all(b"x: y\r\n").await.is_err() {
                return;
            }
        }
    })
    .await;
    let garbage = listen(|mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.ok();
    })
    .await;
    for (address, status, is_pending, error) in [
        (silent, None, true, "no answer within"),
        (slow_head, None, true, ""),
        (listen(drop_by_drop(500)).await, Some(500), true, "did not end"),
        (listen(drop_by_drop(200)).await, Some(200), false, "did not end"),
        (garbage, None, true, ""),
        (nobody().await, None, true, ""),
    ] {
        let task = create(client, &format!("http://{address}/")).await;
        let tried = once(client, &task, "an attempt", |callback| !callback.attempts.is_empty()).await;
        assert_eq!(
            (tried.attempts[0].status, tried.status == CallbackStatus::Pending),
            (status, is_pending),
            "{tried:?}"
        );
        let said = tried.attempts[0].error.as_deref().expect("a reason");
        assert!(said.contains(error) && !said.contains("http://"), "{said}");
    }
}

#[tokio::test]
async fn of_an_answer_without_end_a_part_is_read() {
    let server = Server::start_with(local(&[])).await;
    let client = &server.client;
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let address = listen(move |mut stream| {
        let ended = ended.clone();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
            let part = "é".repeat(32 * 1024);
            // Until nobody reads it any more.
            while stream.write_all(part.as_bytes()).await.is_ok() {}
            ended.send(()).await.ok();
        }
    })
    .await;
    let task = create(client, &format!("http://{address}/")).await;
    timeout(PATIENCE, end.recv()).await.expect("an end in time").expect("an end");
    let tried = once(client, &task, "an attempt", |callback| !callback.attempts.is_empty()).await;
    assert_eq!((tried.status, tried.attempts[0].answer.as_str()), (CallbackStatus::Delivered, &*"é".repeat(512)));
}

#[tokio::test]
async fn receivers_that_never_answer_delay_nobody_else() {
    let server = Server::start_with(|config| {
        local(&[HOUR_MS])(config);
        config.callbacks.timeout = PATIENCE * 2;
    })
    .await;
    let client = &server.client;
    let hang = |stream: TcpStream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    };
    let mut dead = Vec::new();
    for _ in 0..5 {
        dead.push(listen(hang).await);
    }
    // More than one of them may have on their way at once.
    for _ in 0..10 {
        for address in &dead {
            create(client, &format!("http://{address}/")).await;
        }
    }
    let mut receiver = Receiver::start().await;
    for _ in 0..20 {
        let task = create(client, &receiver.url()).await;
        assert_eq!(receiver.take().await, (task.id.get(), "created".to_owned()));
    }
    let pending = callbacks(client, "status=pending&limit=1000").await;
    assert!(pending.iter().filter(|callback| callback.attempts.is_empty()).count() >= 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_on_its_way_when_the_relay_ended_is_sent_again_under_the_same_id() {
    let mut receiver = Receiver::start().await;
    let server = Server::start_with(|config| {
        local(&[HOUR_MS])(config);
        config.limits.drain = Duration::from_millis(100);
    })
    .await;
    let task = create(&server.client, &receiver.url()).await;
    let taken = receiver.next().await;
    let id = taken.id();
    // It is still not answered.
    let home = server.stop();
    let server = Server::start_in(home, local(&[HOUR_MS])).await;
    let again = receiver.next().await;
    assert_eq!((again.id(), again.body == taken.body), (id, true));
    again.answer(200);
    let callback = once(&server.client, &task, "its end", |one| one.status == CallbackStatus::Delivered).await;
    assert_eq!(callback.attempts.len(), 1, "what nobody knows the end of is no attempt");
    drop(taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_ends_within_the_drain() {
    let mut receiver = Receiver::start().await;
    let server = Server::start_with(local(&[HOUR_MS])).await;
    let task = create(&server.client, &receiver.url()).await;
    let on_its_way = receiver.next().await;
    server.drain();
    on_its_way.answer(200);
    let server = Server::start_in(server.stop(), local(&[HOUR_MS])).await;
    let callback = callbacks(&server.client, &format!("taskId={}", task.id)).await.remove(0);
    assert_eq!((callback.status, callback.attempts.len()), (CallbackStatus::Delivered, 1));
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn a_clock_that_is_set_brings_nothing_forward_and_puts_nothing_off() {
    let mut receiver = Receiver::start().await;
    let clock = TestClock::default();
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start_by(clock.clock(), home, local(&[HOUR_MS])).await;
    let client = &server.client;
    let task = create(client, &receiver.url()).await;
    receiver.next().await.answer(500);
    once(client, &task, "a failure", |callback| !callback.attempts.is_empty()).await;
    for step in [24 * HOUR_MS, -48 * HOUR_MS] {
        clock.set_forward(step);
        // Something else is due, so that everything is looked at.
        let other = create(client, &receiver.url()).await;
        assert_eq!(receiver.take().await.0, other.id.get());
        let waits = once(client, &task, "its time", |_| true).await;
        let wait = waits.next_attempt_at.expect("a time") - clock.now();
        assert_eq!(waits.attempts.len(), 1);
        assert!(wait > 0 && wait <= HOUR_MS + HOUR_MS / 5, "{step}: {wait}");
    }
    // The machine slept for a week.
    clock.pass(7 * 24 * HOUR_MS);
    let other = create(client, &receiver.url()).await;
    assert_eq!(receiver.take().await.0, other.id.get());
    let waits = once(client, &task, "its time", |_| true).await;
    assert!(waits.next_attempt_at.expect("a time") > clock.now() && waits.attempts.len() == 1);
}
