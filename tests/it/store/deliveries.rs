//! Deliveries, whatever happens in whatever order: what was told of each is how it is, and what is due is what is left.

use std::collections::{BTreeMap, BTreeSet};

use agent_relay::domain::agent::{AgentPatch, AttentionMode, SessionGuard, Whose};
use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::courier::Carrier;
use agent_relay::domain::control::orchestrator::{ManagedAgent, NewOrchestrator};
use agent_relay::domain::event::EventName;
use agent_relay::domain::id::{AgentId, MessageId};
use agent_relay::domain::message::NewMessage;
use agent_relay::domain::message::delivery::{Delivery, DeliveryFilter, DeliveryNews, DeliveryState, HoldReason, Step};
use agent_relay::domain::message::notice::NoticeOutcome;
use agent_relay::domain::time::Timestamp;
use proptest::prelude::*;

use super::{Bench, ENGINES};

const AGENTS: [&str; 2] = ["a", "b"];

/// What somebody does.
#[derive(Clone, Debug)]
enum Act {
    Send { to: usize, claimable: bool },
    Read { message: usize, agent: usize },
    Claim { message: usize, agent: usize },
    Release { message: usize, agent: usize },
    Delete { message: usize },
    Report { agent: usize, step: Step },
    Mode { agent: usize, mode: usize },
    Sessions { pids: [Option<i64>; 2] },
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (agent, message) = (0..AGENTS.len(), 0..6_usize);
    let step = prop_oneof![
        prop::sample::select(&HoldReason::ALL[..]).prop_map(Step::Hold),
        Just(Step::Try("[agent-relay] a line".to_owned())),
        Just(Step::Undo),
        Just(Step::Offer(Carrier::Typed)),
        Just(Step::Present(None, "seen".to_owned())),
        Just(Step::Fail("no".to_owned())),
    ];
    let who = (message.clone(), agent.clone());
    let act = prop_oneof![
        8 => (0..4_usize, any::<bool>()).prop_map(|(to, claimable)| Act::Send { to, claimable }),
        3 => who.clone().prop_map(|(message, agent)| Act::Read { message, agent }),
        3 => who.clone().prop_map(|(message, agent)| Act::Claim { message, agent }),
        2 => who.prop_map(|(message, agent)| Act::Release { message, agent }),
        1 => message.prop_map(|message| Act::Delete { message }),
        10 => (agent.clone(), step).prop_map(|(agent, step)| Act::Report { agent, step }),
        2 => (agent, 0..3_usize).prop_map(|(agent, mode)| Act::Mode { agent, mode }),
        3 => prop::array::uniform2(prop::option::weighted(0.7, 1..3_i64)).prop_map(|pids| Act::Sessions { pids }),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..60)
}

fn managed(agent: &str, pid: i64) -> ManagedAgent {
    ManagedAgent {
        agent_id: agent.into(),
        provider: "p".to_owned(),
        tmux_session: agent.to_owned(),
        cwd: "/".to_owned(),
        label: None,
        approval_mode: ApprovalMode::default(),
        pid: Some(pid),
        started_at: Timestamp::from_ms(1),
    }
}

/// Does it, as far as the rules allow it.
async fn do_it(bench: &Bench, sent: &mut Vec<MessageId>, act: Act) {
    let store = &bench.store;
    let newest = |place: usize| sent.iter().rev().nth(place).copied();
    let open = SessionGuard::default;
    let agent_of = |place: usize| AgentId::from(AGENTS[place]);
    match act {
        Act::Send { to, claimable } => {
            let to = ["a", "b", "tag:t", "broadcast"][to];
            let message = NewMessage { claimable, ..NewMessage::plain("x".into(), to, "b") };
            sent.push(store.send(message, None).await.expect("sent").json.value().expect("a message").id);
        }
        Act::Read { message, agent } => {
            if let Some(id) = newest(message) {
                let _ = store.mark_read(id, agent_of(agent), open()).await;
            }
        }
        Act::Claim { message, agent } => {
            if let Some(id) = newest(message) {
                let _ = store.claim(id, agent_of(agent), open(), None).await;
            }
        }
        Act::Release { message, agent } => {
            if let Some(id) = newest(message)
                && let Ok(message) = store.message(id).await
            {
                let _ = store.release_claim(id, agent_of(agent), open(), message.claim_generation).await;
            }
        }
        Act::Delete { message } => {
            if let Some(id) = newest(message) {
                store.delete_message(id).await.expect("deleted");
                sent.retain(|kept| *kept != id);
            }
        }
        Act::Report { agent, step } => {
            if let Ok(due) = store.due_notice(agent_of(agent), None, false).await {
                let tried = due.tried.into_iter().flat_map(|tried| tried.message_ids);
                let ids: BTreeSet<_> = due.notice.into_iter().flat_map(|it| it.message_ids).chain(tried).collect();
                let outcome = NoticeOutcome::new(ids.into_iter().collect(), step);
                store.report_notice(agent_of(agent), None, outcome).await.expect("reported");
            }
        }
        Act::Mode { agent, mode } => {
            let patch = AgentPatch::Attention(AttentionMode::ALL[mode], Whose::Own);
            store.patch_agent(agent_of(agent), open(), patch).await.expect("a card");
        }
        Act::Sessions { pids } => {
            let run = AGENTS.iter().zip(pids).filter_map(|(agent, pid)| Some(managed(agent, pid?)));
            bench.run_sessions(run.collect()).await;
        }
        Act::Reopen => unreachable!("whoever has the store does"),
    }
}

impl Bench {
    async fn run_sessions(&self, agents: Vec<ManagedAgent>) {
        let runs = self.store.set_managed_agents("o".into(), agents, SessionGuard::default()).await;
        runs.expect("an orchestrator");
    }
}

async fn rows(bench: &Bench, sent: &[MessageId]) -> BTreeMap<(MessageId, AgentId), Delivery> {
    let mut rows = BTreeMap::new();
    for id in sent {
        let page = bench.store.deliveries(*id, DeliveryFilter::default()).await.expect("deliveries");
        rows.extend(page.entries.into_iter().map(|row| ((*id, row.agent_id.clone()), row)));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_how_it_is_and_what_is_over_is_not_due(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::new(&ENGINES[0]);
            for agent in AGENTS {
                bench.register(agent, &["t"]).await;
            }
            let orchestrator = NewOrchestrator {
                id: "o".into(),
                hostname: "h".to_owned(),
                base_dir: "/".to_owned(),
                providers: Vec::new(),
                env_keys: Vec::new(),
                meta: Default::default(),
                instance_id: None,
                epoch: None,
            };
            bench.store.register_orchestrator(orchestrator, None).await.expect("registered");
            let (mut sent, mut told) = (Vec::new(), Vec::new());
            for one in acts {
                if matches!(one, Act::Reopen) {
                    told.extend(bench.told());
                    bench = bench.reopened().await;
                } else {
                    do_it(&bench, &mut sent, one).await;
                }
            }
            told.extend(bench.told());
            let mut last: BTreeMap<(MessageId, AgentId), Delivery> = BTreeMap::new();
            for event in told.iter().filter(|event| event.name == EventName::MessageDelivery) {
                prop_assert!(event.audience.also.as_deref() == Some("x"), "its sender hears of it");
                let news: DeliveryNews = serde_json::from_str(event.data()).expect("a delivery");
                last.insert((news.message_id, news.delivery.agent_id.clone()), news.delivery);
            }
            let rows = rows(&bench, &sent).await;
            for (key, row) in &rows {
                let last = last.get(key);
                prop_assert!(last.is_some_and(|last| last.looks_like(row)), "{key:?}: {row:?} was told as {last:?}");
                let message = bench.store.message(key.0).await.expect("a message");
                let is_read = message.read_by.contains(&key.1);
                let over = [DeliveryState::Read, DeliveryState::Dropped];
                prop_assert!(!is_read || over.contains(&row.state), "{key:?} is read: {row:?}");
            }
            for agent in AGENTS {
                let Ok(due) = bench.store.due_notice(agent.into(), None, false).await else { continue };
                for id in due.notice.into_iter().flat_map(|notice| notice.message_ids) {
                    let message = bench.store.message(id).await.expect("a message");
                    prop_assert!(!message.read_by.iter().any(|by| *by == *agent), "{id} is read");
                    prop_assert!(message.claimed_by.is_none(), "{id} is claimed");
                    let row = &rows[&(id, agent.into())];
                    let open = [DeliveryState::Stored, DeliveryState::Waiting, DeliveryState::Offered];
                    prop_assert!(open.contains(&row.state), "{row:?}");
                }
            }
            bench.store.close().await;
            Ok(())
        })?;
    }
}
