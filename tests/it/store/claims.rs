//! One holder at a time, and one effect for each key.

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::message::NewMessage;
use agent_relay::domain::refusal::Refusal;
use agent_relay::store::{Idempotency, StoreError};
use tokio::task::JoinSet;

use super::{Bench, ENGINES};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_claim_at_once_exactly_one_holds_it() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        for agent in 0..16 {
            bench.register(&format!("agent-{agent}"), &["t"]).await;
        }
        for round in 1..=5 {
            let work = bench.send_work("t").await;
            let mut claims = JoinSet::new();
            for agent in 0..16 {
                let store = bench.store.clone();
                claims.spawn(async move {
                    store.claim(work.id, format!("agent-{agent}").into(), SessionGuard::default(), None).await
                });
            }
            let (held, refused): (Vec<_>, Vec<_>) = claims.join_all().await.into_iter().partition(Result::is_ok);
            assert_eq!((held.len(), refused.len()), (1, 15), "round {round}");
            for refusal in refused {
                assert!(matches!(refusal, Err(StoreError::Refused(Refusal::AlreadyClaimed { .. }))), "{refusal:?}");
            }
            let held = held.into_iter().next().expect("one").expect("held");
            let holder = held.claimed_by.expect("a holder");
            let again =
                bench.store.claim(work.id, holder.clone(), SessionGuard::default(), None).await.expect("the same");
            assert_eq!((again.claimed_by, again.claim_generation), (Some(holder.clone()), 1));
            let done = bench.store.complete_claim(work.id, holder, SessionGuard::default(), 1).await.expect("done");
            assert!(done.completed_at.is_some());
        }
        bench.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_has_one_effect_however_many_send_it() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let key = |fingerprint: u8| Idempotency {
            scope: "x POST /api/messages".to_owned(),
            key: "k".to_owned(),
            fingerprint: [fingerprint; 32],
        };
        let mut sends = JoinSet::new();
        for _ in 0..16 {
            let (store, key) = (bench.store.clone(), key(1));
            sends.spawn(async move { store.send(NewMessage::plain("x".into(), "a", "once"), Some(key)).await });
        }
        let answers: Vec<_> = sends.join_all().await.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        assert!(answers.iter().all(|answer| answer.json == answers[0].json && answer.created != answer.replayed));
        assert_eq!(bench.inbox("a").await, ["once"]);
        let other = bench.store.send(NewMessage::plain("x".into(), "a", "other"), Some(key(2))).await;
        assert!(matches!(other, Err(StoreError::Refused(Refusal::KeyReused(_)))), "{other:?}");
        let bench = bench.reopened().await;
        let again = bench.store.send(NewMessage::plain("x".into(), "a", "once"), Some(key(1))).await.expect("the same");
        assert!(again.replayed && again.json == answers[0].json);
        bench.store.close().await;
    }
}
