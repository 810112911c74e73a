//! Pairs: nobody is ever in two that are pending or active, whoever asks for what at the same time.

use std::collections::HashMap;

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::event::EventName;
use agent_relay::domain::id::{AgentId, PairId};
use agent_relay::domain::message::Sender;
use agent_relay::domain::pair::{IDLE_MS, NewPair, PENDING_MS, Pair, PairFilter, PairStatus, PairStep};
use agent_relay::domain::refusal::Refusal;
use agent_relay::store::{Options, Store, StoreError};
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::{Bench, ENGINES, sqlite_file};
use crate::server::TestClock;

const AGENTS: usize = 5;

fn agent(number: usize) -> AgentId {
    format!("agent-{number}").into()
}

async fn ask(store: &Store, requester: usize, target: usize) -> Result<Pair, StoreError> {
    let asked = store.request_pair(NewPair::of(agent(requester), agent(target)), None).await?;
    Ok(asked.json.value().expect("a pair"))
}

async fn step(store: &Store, id: PairId, by: usize, step: PairStep) -> Result<Pair, StoreError> {
    store.step_pair(id, agent(by), SessionGuard::default(), step).await
}

/// Replays what was told, in its order: at no moment was anybody in two pairs, and each went only where it may.
fn hold(bench: &Bench) -> HashMap<PairId, Pair> {
    let (mut pairs, mut member_of) = (HashMap::<PairId, Pair>::new(), HashMap::<AgentId, PairId>::new());
    for event in bench.told().iter().filter(|event| event.name == EventName::PairUpdated) {
        let pair: Pair = serde_json::from_str(event.data()).expect("a pair");
        let both = [pair.requester_id.clone(), pair.target_id.clone()];
        assert!(
            both.iter()
                .all(|one| event.audience.to.as_deref() == Some(one) || event.audience.also.as_deref() == Some(one))
        );
        match pairs.get(&pair.id) {
            None => {
                assert_eq!(pair.status, PairStatus::Pending);
                for one in both {
                    let other = member_of.insert(one.clone(), pair.id);
                    assert_eq!(other, None, "{one} was in two pairs");
                }
            }
            Some(before) => {
                assert!(before.status.may_become(pair.status), "{before:?} to {pair:?}");
                if !pair.status.is_live() {
                    both.iter().for_each(|one| assert_eq!(member_of.remove(one), Some(pair.id)));
                }
            }
        }
        pairs.insert(pair.id, pair);
    }
    pairs
}

/// What is stored is what was told last, and the database's own list of who is in one says the same.
async fn same_as_stored(bench: &Bench, told: &HashMap<PairId, Pair>) {
    let stored = bench.store.pairs(PairFilter::default()).await.expect("pairs").entries;
    assert!(stored.is_sorted_by(|a, b| a.id > b.id), "newest first");
    for pair in &stored {
        let known = &told[&pair.id];
        // Talking tells of the message alone.
        assert_eq!(
            (pair.status, &pair.requester_id, &pair.target_id),
            (known.status, &known.requester_id, &known.target_id)
        );
    }
    assert_eq!(stored.len(), told.len());
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let mut members = database.prepare("SELECT agent_id, pair_id FROM pair_members ORDER BY 1").expect("a statement");
    let members: Vec<(String, i64)> = members
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    let mut live: Vec<(String, i64)> = stored
        .iter()
        .filter(|pair| pair.status.is_live())
        .flat_map(|pair| [&pair.requester_id, &pair.target_id].map(|one| (one.to_string(), pair.id.get())))
        .collect();
    live.sort();
    assert_eq!(members, live);
}

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Ask(usize, usize),
    Step(i64, usize, PairStep),
    Talk(i64, usize),
    Leave(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (one, pair) = (0..AGENTS, 1..12_i64);
    let act = prop_oneof![
        4 => (one.clone(), one.clone()).prop_filter("two", |(a, b)| a != b).prop_map(|(a, b)| Act::Ask(a, b)),
        6 => (pair.clone(), one.clone(), 0..3_usize).prop_map(|(id, by, step)| Act::Step(id, by, PairStep::ALL[step])),
        2 => (pair, one.clone()).prop_map(|(id, by)| Act::Talk(id, by)),
        1 => one.prop_map(Act::Leave),
    ];
    prop::collection::vec(act, 1..60)
}

async fn act(store: Store, act: Act) {
    let outcome = match act {
        Act::Ask(requester, target) => ask(&store, requester, target).await.map(drop),
        Act::Step(id, by, what) => step(&store, id.into(), by, what).await.map(drop),
        Act::Talk(id, by) => {
            let said = store.talk_in_pair(
                id.into(),
                agent(by),
                Sender::default(),
                SessionGuard::default(),
                "words".to_owned(),
                None,
            );
            said.await.map(drop)
        }
        Act::Leave(who) => store.remove_agent(agent(who), SessionGuard::default()).await,
    };
    let refused = match outcome {
        Ok(()) => return,
        Err(StoreError::Refused(refused)) => refused,
        Err(other) => panic!("{act:?}: {other}"),
    };
    let expected = matches!(
        refused,
        Refusal::AlreadyPaired { .. }
            | Refusal::NotOfPair { .. }
            | Refusal::IllegalTransition { .. }
            | Refusal::NotFound(_)
    );
    assert!(expected, "{act:?}: {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_in_two_pairs_whoever_does_what_at_once(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("threads");
        runtime.block_on(async {
            for engine in &ENGINES {
                let bench = Bench::new(engine);
                for number in 0..AGENTS {
                    bench.register(agent(number).as_str(), &[]).await;
                }
                let mut doing = JoinSet::new();
                for one in acts.clone() {
                    doing.spawn(act(bench.store.clone(), one));
                }
                doing.join_all().await;
                let told = hold(&bench);
                same_as_stored(&bench, &told).await;
                bench.store.close().await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_who_ask_for_the_same_agent_at_once_one_gets_it() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        for number in 0..16 {
            bench.register(agent(number).as_str(), &[]).await;
        }
        for _ in 0..5 {
            let mut asking = JoinSet::new();
            for number in 1..16 {
                let store = bench.store.clone();
                asking.spawn(async move { ask(&store, number, 0).await });
            }
            let (won, lost): (Vec<_>, Vec<_>) = asking.join_all().await.into_iter().partition(Result::is_ok);
            let [Ok(pair)] = &won[..] else { panic!("{} won", won.len()) };
            for refused in lost {
                let Err(StoreError::Refused(Refusal::AlreadyPaired { agent: busy, pair: other })) = refused else {
                    panic!("{refused:?}")
                };
                assert_eq!((busy, other), (agent(0), pair.id));
            }
            step(&bench.store, pair.id, 0, PairStep::End).await.expect("ended");
        }
        let told = hold(&bench);
        same_as_stored(&bench, &told).await;
        bench.store.close().await;
    }
}

#[tokio::test]
async fn what_nobody_answers_or_talks_in_expires_and_its_agents_are_free() {
    let clock = TestClock::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options { path: sqlite_file(folder.path()), readers: 1, clock: clock.clock() };
    let store = Store::open(&options, Box::new(drop)).expect("a store");
    for number in 0..4 {
        store.register(agent_relay::domain::agent::NewRegistration::of(agent(number)), None).await.expect("registered");
    }
    let reap = async || store.reap(Vec::new(), i64::MAX, i64::MAX, false).await.expect("reaped").expired_pair_ids;
    let pass = |ms: i64| {
        // In steps that nobody takes for a pause.
        for _ in 0..ms / 1_000 {
            clock.pass(1_000);
            store.clock().look();
        }
    };
    let pending = ask(&store, 0, 1).await.expect("a pair");
    let active = ask(&store, 2, 3).await.expect("a pair");
    let active = step(&store, active.id, 3, PairStep::Accept).await.expect("accepted");
    pass(PENDING_MS - 10_000);
    assert_eq!(reap().await, Vec::<PairId>::new());
    pass(11_000);
    // Late is late, whether or not the reaper came by.
    let refused = step(&store, pending.id, 1, PairStep::Accept).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::IllegalTransition { .. }))), "{refused:?}");
    assert_eq!(reap().await, [pending.id]);
    let expired = store.pair(pending.id).await.expect("kept");
    assert_eq!((expired.status, expired.expires_at, expired.ended_by), (PairStatus::Expired, None, None));
    let next = ask(&store, 1, 0).await.expect("both are free");

    pass(IDLE_MS - PENDING_MS - 60_000);
    let said = store
        .talk_in_pair(active.id, agent(2), Sender::default(), SessionGuard::default(), "still here".to_owned(), None)
        .await;
    said.expect("said");
    assert_eq!(reap().await, [next.id]);
    pass(IDLE_MS - 10_000);
    assert_eq!(reap().await, Vec::<PairId>::new(), "a message keeps it");
    pass(11_000);
    // Somebody who wants one of the two does not wait for the reaper either.
    let new = ask(&store, 0, 3).await.expect("it is over");
    assert_eq!(store.pair(active.id).await.expect("kept").status, PairStatus::Expired);
    assert_eq!((reap().await, new.status), (vec![], PairStatus::Pending));
    store.close().await;
}

#[tokio::test]
async fn pages_of_an_agents_pairs_hold_each_once_newest_first() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        for number in 0..3 {
            bench.register(agent(number).as_str(), &[]).await;
        }
        let mut of_first = Vec::new();
        for round in 0..14 {
            // Asked by it, of it, and without it.
            let (requester, target) = [(0, 1), (2, 0), (1, 2)][round % 3];
            let pair = ask(&bench.store, requester, target).await.expect("a pair");
            let how = if round % 2 == 0 { PairStep::End } else { PairStep::Reject };
            step(&bench.store, pair.id, target, how).await.expect("over");
            if round % 3 < 2 {
                of_first.insert(0, (pair.id, how.leads_to()));
            }
        }
        for status in [None, Some(PairStatus::Ended), Some(PairStatus::Rejected), Some(PairStatus::Active)] {
            let expected: Vec<_> = of_first
                .iter()
                .filter(|(_, is)| status.is_none_or(|status| status == *is))
                .map(|(id, _)| *id)
                .collect();
            for limit in [1, 2, 3, 100] {
                let limit = agent_relay::domain::page::Limit::parse(Some(limit)).expect("a limit");
                let (mut seen, mut before) = (Vec::new(), None);
                loop {
                    let filter = PairFilter { agent: Some(agent(0)), status, before, limit };
                    let page = bench.store.pairs(filter).await.expect("pairs");
                    assert!(page.entries.len() <= limit.get());
                    seen.extend(page.entries.iter().map(|pair| pair.id));
                    before = page.next;
                    if before.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, expected, "{status:?} by {limit}");
            }
        }
        bench.store.close().await;
    }
}
