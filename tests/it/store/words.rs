//! A word that this program does not know is a fault that names it, and never another word. What is
//! written beside the program here stands for what a newer one would have written.

use agent_relay::domain::activity::{ActivityFilter, ActivityKind, Entry};
use agent_relay::domain::agent::{AgentPatch, ConditionKind, NewCondition, SessionGuard};
use agent_relay::domain::caller::Scope;
use agent_relay::domain::caller::token::{Token, TokenKind};
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::domain::control::orchestrator::NewOrchestrator;
use agent_relay::domain::control::order::ControlOrder;
use agent_relay::domain::control::session::SessionStart;
use agent_relay::domain::control::spawn::SpawnSpec;
use agent_relay::domain::control::{ApprovalMode, ControlKind};
use agent_relay::domain::event::EventTypes;
use agent_relay::domain::id::{CommandId, EventSeq, PairId};
use agent_relay::domain::pair::{NewPair, Pair, PairStep};
use agent_relay::store::{Fault, NewCommand, StoreError};
use serde_json::json;

use super::{Bench, ENGINES, sqlite_file};

/// A store with two rows of everything, ids `a` and `b` or 1 and 2.
async fn filled() -> Bench {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    for (number, id) in [(1, "a"), (2, "b")] {
        bench.register(id, &[]).await;
        store.add_activity(Entry::new(ActivityKind::State, id, "title"), None).await.expect("an entry");
        let orchestrator = NewOrchestrator {
            id: id.into(),
            hostname: "host".to_owned(),
            base_dir: "/".to_owned(),
            providers: Vec::new(),
            env_keys: Vec::new(),
            meta: Default::default(),
        };
        store.register_orchestrator(orchestrator, None).await.expect("an orchestrator");
        let command = NewCommand {
            kind: ControlKind::Restart,
            target: id.into(),
            request: json!({}),
            decision: Vec::new(),
            question: None,
            status: CommandStatus::Pending,
            error: None,
            requested_by: "x".to_owned(),
            caller_agent: None,
            lifetime_ms: 600_000,
            message: None,
        };
        let order = ControlOrder::Agent { kind: ControlKind::Restart, agent_id: id.into() };
        store.record_command(command, order, None).await.expect("a command");
        let session = SessionStart {
            spec: SpawnSpec {
                agent_id: id.into(),
                provider: "claude".to_owned(),
                approval_mode: ApprovalMode::ReadOnly,
                cwd: "/".to_owned(),
                label: None,
                prompt: Some("do".to_owned()),
                again: None,
            },
            command_id: CommandId::new(number),
            name: format!("ar-{id}"),
        };
        let token = Token {
            name: id.to_owned(),
            hash: [u8::try_from(number).expect("small"); 32],
            scopes: vec![Scope::Agent],
            agent_id: Some(id.into()),
            kind: TokenKind::Session,
            expires_at: None,
        };
        store.begin_session(session, token).await.expect("a session");
    }
    let condition = NewCondition::seen(ConditionKind::Dialog, "Trust?");
    let in_dialog = AgentPatch::Condition(Some(condition));
    bench.store.patch_agent("a".into(), SessionGuard::default(), in_dialog).await.expect("a card");
    for (one, other) in [("a", "b"), ("b", "a")] {
        let asked = bench.store.request_pair(NewPair::of(one.into(), other.into()), None).await.expect("a pair");
        let pair: Pair = asked.json.value().expect("a pair");
        let ended = bench.store.step_pair(pair.id, one.into(), SessionGuard::default(), PairStep::End);
        ended.await.expect("ended");
        bench.store.declare_channel(one.to_owned(), None, None).await.expect("a channel");
    }
    bench
}

/// Writes one column beside the program.
fn write(bench: &Bench, update: &str) {
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    assert_eq!(database.execute(update, []).expect("an update"), 1, "{update}");
}

/// The fault that is this answer, which must name the place and the word.
fn expect_fault<T: std::fmt::Debug>(answer: Result<T, StoreError>, table: &str, column: &str, row: &str, word: &str) {
    let Err(StoreError::Fault(fault)) = answer else { panic!("{table}.{column}: {answer:?}") };
    let Fault { problem, .. } = &fault;
    assert_eq!((fault.table, fault.column, fault.row.as_str()), (table, column, row), "{fault}");
    assert!(problem.contains(word), "{fault}");
}

#[tokio::test]
async fn an_unknown_status_of_an_agent_is_a_fault() {
    let bench = filled().await;
    write(&bench, "UPDATE agents SET status = 'away' WHERE id = 'a'");
    expect_fault(bench.store.agent("a".into()).await, "agents", "status", "\"a\"", "\"away\"");
    expect_fault(bench.store.agents(Default::default()).await, "agents", "status", "\"a\"", "\"away\"");
    let patch = agent_relay::domain::agent::AgentPatch::Ready(true);
    let patched = bench.store.patch_agent("a".into(), SessionGuard::default(), patch.clone()).await;
    expect_fault(patched, "agents", "status", "\"a\"", "\"away\"");
    bench.store.patch_agent("b".into(), SessionGuard::default(), patch).await.expect("another row works");
    assert!(bench.store.is_writable());
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_condition_is_a_fault() {
    let bench = filled().await;
    let unknown = r#"UPDATE agents SET condition = '{"kind":"asleep","since":1,"source":"relay"}' WHERE id = 'a'"#;
    write(&bench, unknown);
    expect_fault(bench.store.agent("a".into()).await, "agents", "condition", "\"a\"", "asleep");
    bench.store.agent("b".into()).await.expect("another row works");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_status_of_a_pair_is_a_fault() {
    let bench = filled().await;
    write(&bench, "UPDATE pairs SET status = 'paused' WHERE id = 1");
    expect_fault(bench.store.pair(PairId::new(1)).await, "pairs", "status", "1", "\"paused\"");
    let end = bench.store.step_pair(PairId::new(1), "a".into(), SessionGuard::default(), PairStep::End).await;
    expect_fault(end, "pairs", "status", "1", "\"paused\"");
    bench.store.pair(PairId::new(2)).await.expect("another row works");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_direction_of_a_channel_is_a_fault() {
    let bench = filled().await;
    write(&bench, "UPDATE channels SET direction = 'up' WHERE name = 'a'");
    expect_fault(bench.store.channels(Default::default()).await, "channels", "direction", "\"a\"", "\"up\"");
    bench.store.declare_channel("b".to_owned(), None, None).await.expect("another row works");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_type_of_message_is_a_fault() {
    let bench = filled().await;
    let (one, other) = (bench.send("x", "a", "1").await, bench.send("x", "b", "2").await);
    write(&bench, &format!("UPDATE messages SET type = 'shout' WHERE id = {}", one.id));
    expect_fault(bench.store.message(one.id).await, "messages", "type", &one.id.to_string(), "\"shout\"");
    bench.store.message(other.id).await.expect("another row works");
    assert_eq!(bench.inbox("b").await, ["2"]);
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_kind_of_entry_is_a_fault() {
    let bench = filled().await;
    write(&bench, "UPDATE activity SET kind = 'rumour' WHERE client_id = 'server-a'");
    let list = async |kind| bench.store.activity(ActivityFilter { kind, ..Default::default() }).await;
    let Err(StoreError::Fault(fault)) = list(None).await else { panic!("no fault") };
    assert_eq!((fault.table, fault.column), ("activity", "kind"));
    assert!(fault.problem.contains("\"rumour\""), "{fault}");
    assert!(!list(Some(ActivityKind::Control)).await.expect("other rows work").entries.is_empty());
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_status_or_kind_of_a_command_is_a_fault() {
    let bench = filled().await;
    let (one, other) = (CommandId::new(1), CommandId::new(2));
    write(&bench, "UPDATE commands SET status = 'paused' WHERE id = 1");
    expect_fault(bench.store.command(one).await, "commands", "status", "1", "\"paused\"");
    let report = bench.store.report_command(one, CommandStatus::Running, None, None).await;
    expect_fault(report, "commands", "status", "1", "\"paused\"");
    write(&bench, "UPDATE commands SET status = 'pending', kind = 'clone' WHERE id = 1");
    expect_fault(bench.store.command(one).await, "commands", "kind", "1", "\"clone\"");
    bench.store.report_command(other, CommandStatus::Running, None, None).await.expect("another row works");
    write(&bench, "UPDATE commands SET kind = 'spawn', decision = '[{' WHERE id = 1");
    expect_fault(bench.store.command(one).await, "commands", "decision", "1", "EOF");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_approval_mode_is_a_fault_and_nobody_is_started_by_it() {
    let bench = filled().await;
    write(&bench, "UPDATE sessions SET approval_mode = 'reckless' WHERE agent_id = 'a'");
    expect_fault(bench.store.session("a".into()).await, "sessions", "approval_mode", "\"a\"", "\"reckless\"");
    expect_fault(bench.store.open_sessions().await, "sessions", "approval_mode", "\"a\"", "\"reckless\"");
    let other = bench.store.session("b".into()).await.expect("another row works").expect("a session");
    assert_eq!(other.start.spec.approval_mode, ApprovalMode::ReadOnly);
    // It can be ended all the same.
    bench.store.end_session("ar-a".to_owned(), "a".into(), "ended".to_owned()).await.expect("ended");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_status_of_an_orchestrator_is_a_fault() {
    let bench = filled().await;
    write(&bench, "UPDATE orchestrators SET status = 'asleep' WHERE id = 'a'");
    expect_fault(bench.store.orchestrator("a".into()).await, "orchestrators", "status", "\"a\"", "\"asleep\"");
    expect_fault(bench.store.orchestrators().await, "orchestrators", "status", "\"a\"", "\"asleep\"");
    bench.store.orchestrator("b".into()).await.expect("another row works");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_scope_is_a_fault_and_lets_nobody_in() {
    let bench = filled().await;
    write(&bench, "UPDATE tokens SET scopes = 'read everything' WHERE name = 'a'");
    let Err(StoreError::Fault(fault)) = bench.store.token_holder([1; 32], true).await else { panic!("let in") };
    assert_eq!((fault.table, fault.column), ("tokens", "scopes"));
    assert!(fault.problem.contains("\"everything\""), "{fault}");
    let other = bench.store.token_holder([2; 32], true).await.expect("another row works").expect("a holder");
    assert_eq!(other.scopes, [Scope::Agent]);
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_sender_is_a_fault_and_nobody_is_verified_by_it() {
    let bench = filled().await;
    let (sent, other) = (bench.send("x", "a", "1").await, bench.send("x", "a", "2").await);
    for unknown in ["z+x", "a?x", "", "é"] {
        write(&bench, &format!("UPDATE messages SET sent_by = '{unknown}' WHERE id = {}", sent.id));
        let word = format!("{unknown:?}");
        expect_fault(bench.store.message(sent.id).await, "messages", "sent_by", &sent.id.to_string(), &word);
    }
    bench.store.message(other.id).await.expect("another row works");
    bench.store.close().await;
}

#[tokio::test]
async fn an_unknown_event_is_a_fault_and_not_a_gap() {
    let bench = filled().await;
    let last = bench.told().last().expect("an event").seq;
    write(&bench, &format!("UPDATE events SET name = 'agent.sang' WHERE seq = {last}"));
    let page = bench.store.events_after(EventSeq::default(), None, EventTypes::ALL, 1_000, 1 << 20).await;
    expect_fault(page, "events", "name", &last.to_string(), "\"agent.sang\"");
    let before = bench.store.events_after(EventSeq::default(), None, EventTypes::ALL, 1, 1 << 20).await;
    assert_eq!(before.expect("what comes before it is read").events.len(), 1);
    bench.store.close().await;
}
