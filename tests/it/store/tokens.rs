//! Tokens are remembered, and forgotten with the commit that changes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_relay::domain::caller::Scope;
use agent_relay::domain::caller::token::{Token, TokenKind};
use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::session::SessionStart;
use agent_relay::domain::control::spawn::SpawnSpec;
use agent_relay::domain::id::CommandId;
use agent_relay::domain::time::Timestamp;
use agent_relay::store::Store;
use tokio::task::JoinSet;

use super::{Bench, ENGINES};

fn session(agent: &str) -> SessionStart {
    SessionStart {
        spec: SpawnSpec {
            agent_id: agent.into(),
            provider: "claude".to_owned(),
            approval_mode: ApprovalMode::Guarded,
            cwd: "/".to_owned(),
            label: None,
            prompt: None,
            again: None,
        },
        command_id: CommandId::new(1),
        name: format!("ar-{agent}"),
    }
}

fn token(agent: &str, hash: u8, expires_at: Option<Timestamp>) -> Token {
    Token {
        name: agent.to_owned(),
        hash: [hash; 32],
        scopes: vec![Scope::Agent, Scope::Read],
        agent_id: Some(agent.into()),
        kind: TokenKind::Session,
        expires_at,
    }
}

async fn is_good(store: &Store, hash: u8) -> bool {
    store.token_holder([hash; 32], true).await.expect("an answer").is_some()
}

#[tokio::test]
async fn a_token_works_until_its_session_ends_and_not_a_moment_longer() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let store = &bench.store;
        assert!(!is_good(store, 1).await);
        store.begin_session(session("a"), token("a", 1, None)).await.expect("begun");
        for _ in 0..2 {
            let holder = store.token_holder([1; 32], true).await.expect("an answer").expect("a holder");
            assert_eq!((holder.principal(), holder.scopes.as_slice()), ("a", [Scope::Agent, Scope::Read].as_slice()));
        }
        store.begin_session(session("a"), token("a", 2, None)).await.expect("begun again");
        assert!(!is_good(store, 1).await && is_good(store, 2).await, "the new one is in place of the old one");
        store.end_session("ar-a".to_owned(), "a".into(), "it ended".to_owned()).await.expect("ended");
        assert!(!is_good(store, 2).await, "refused at once");
        bench.store.close().await;
    }
}

#[tokio::test]
async fn a_remembered_token_expires_by_the_clock() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let end = Timestamp::now() + 1_500;
        bench.store.begin_session(session("a"), token("a", 1, Some(end))).await.expect("begun");
        assert!(is_good(&bench.store, 1).await);
        crate::server::until(end).await;
        assert!(!is_good(&bench.store, 1).await);
        bench.store.close().await;
    }
}

/// Whoever was told that a token is revoked never sees it accepted again, however many look it up
/// meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_look_up_under_way_does_not_bring_a_revoked_token_back() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        for round in 0..50_u8 {
            bench.store.begin_session(session("a"), token("a", round, None)).await.expect("begun");
            let stop = Arc::new(AtomicBool::new(false));
            let mut lookers = JoinSet::new();
            for _ in 0..4 {
                let (store, stop) = (bench.store.clone(), stop.clone());
                lookers.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        is_good(&store, round).await;
                        tokio::task::yield_now().await;
                    }
                });
            }
            bench.store.end_session("ar-a".to_owned(), "a".into(), "it ended".to_owned()).await.expect("ended");
            for _ in 0..10 {
                assert!(!is_good(&bench.store, round).await, "round {round}");
            }
            stop.store(true, Ordering::Relaxed);
            lookers.join_all().await;
            assert!(!is_good(&bench.store, round).await, "round {round}");
        }
        bench.store.close().await;
    }
}
