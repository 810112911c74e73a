//! What an answer costs does not grow with what is stored. Measured in steps of the engine, so that no clock and no
//! other test has a say.

use std::collections::BTreeMap;

use agent_relay::domain::activity::{ActivityFilter, ActivityKind};
use agent_relay::domain::agent::{AgentFilter, AgentStatus, ConditionFilter, ConditionKind, SessionGuard};
use agent_relay::domain::attention::AttentionFilter;
use agent_relay::domain::control::ControlKind;
use agent_relay::domain::control::command::{CommandFilter, CommandStatus};
use agent_relay::domain::event::{EventName, EventTypes};
use agent_relay::domain::id::{EventSeq, MessageId};
use agent_relay::domain::message::{ChannelFilter, MessageFilter, MessageType, NewMessage};
use agent_relay::domain::pair::{NewPair, PairFilter, PairStatus};
use agent_relay::domain::retention::Retention;
use agent_relay::domain::time::Timestamp;
use agent_relay::store::{Posting, prepared_statements};

use super::{Bench, ENGINES, postgres, sqlite_file};

/// The schema before searches had lists of their own, so that what is stored comes through the migration.
const VERSION_5: [&str; 5] = [
    include_str!("../../../src/store/engine/migrations/0001_initial.sql"),
    include_str!("../../../src/store/engine/migrations/0002_messages_are_events.sql"),
    include_str!("../../../src/store/engine/migrations/0003_questions.sql"),
    include_str!("../../../src/store/engine/migrations/0004_agent_targets.sql"),
    include_str!("../../../src/store/engine/migrations/0005_answers.sql"),
];

/// A store with so many messages, half of them for `a`, who read all but two of them, as many other records, and so
/// many agents.
fn filled(messages: i64, agents: i64) -> Bench {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let now = Timestamp::now().as_ms();
    let card = "'[]', '[]', NULL, NULL, 'idle', 1, NULL, 1, '{}'";
    rusqlite::Connection::open(sqlite_file(folder.path()))
        .expect("a database")
        .execute_batch(&format!(
            r#"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN; {schema}
            INSERT INTO meta VALUES ('epoch', 'abcd');
            INSERT INTO agents VALUES ('a', 'a', NULL, {card}, {now}, 1);
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {messages})
                INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at)
                SELECT 2 * i, 'x', CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'message', 'body', 2 * i, 0, '{{}}', {now}
                FROM n;
            INSERT INTO reads SELECT id, 'a', 5 FROM messages
                WHERE target = 'a' AND id NOT IN (4, {messages} / 4 * 4);
            INSERT INTO events (seq, at, name, target, also, data)
                SELECT id + 1, {now}, 'message.read', 'x', 'a', '{{}}' FROM messages;
            INSERT INTO activity (client_id, kind, title, agent_id, created_at)
                SELECT id, 'state', 't', 'a', {now} FROM messages;
            INSERT INTO commands (kind, target, request, decision, status, requested_by, created_at, expires_at, updated_at)
                SELECT 'spawn', 'a', '{{}}', '[]', 'failed', 'x', {now}, 1, {now} FROM messages;
            INSERT INTO sessions SELECT 's' || id, id, 's' || id, 'p', '/', NULL, 'guarded', 'null', 1, {now}, {now}, 'e'
                FROM messages;
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {agents})
                INSERT INTO agents SELECT 'z' || i, 'z', NULL, {card}, {now}, 1 FROM n;
            PRAGMA user_version = 5; COMMIT;"#,
            schema = VERSION_5.concat(),
        ))
        .expect("a filled database");
    Bench::in_folder(&ENGINES[0], folder)
}

/// What each operation costs, by its name.
async fn costs(messages: i64) -> BTreeMap<&'static str, u64> {
    let bench = filled(messages, 1);
    let store = &bench.store;
    let (mut costs, mut before) = (BTreeMap::new(), store.steps_taken());
    // The migration was looking at everything; what came after it was the start.
    let mut note = |name, costs: &mut BTreeMap<_, _>| {
        let steps = store.steps_taken();
        costs.insert(name, steps - std::mem::replace(&mut before, steps));
    };
    let inbox = MessageFilter { reaching: Some("a".into()), ..MessageFilter::default() };
    let unread = MessageFilter { unread: true, ..inbox.clone() };
    let page = store.messages(unread.clone()).await.expect("an inbox");
    assert_eq!(page.entries.iter().map(|message| message.id.get()).collect::<Vec<_>>(), [4, messages / 4 * 4]);
    assert_eq!(page.next, None, "that is all");
    note("unread", &mut costs);
    let standing = store.standing("a".into()).await.expect("where it stands");
    assert_eq!((standing.unread.count, standing.unread.more), (2, false));
    assert!(standing.messages.is_empty() && standing.tasks.is_empty());
    note("standing", &mut costs);
    let nobody = Some("nobody".into());
    for (name, filter) in [
        ("unread of a sender", MessageFilter { from: nobody.clone(), ..unread }),
        ("inbox of a sender", MessageFilter { from: nobody.clone(), ..inbox.clone() }),
        ("inbox of a thread", MessageFilter { thread: Some(MessageId::new(7)), ..inbox.clone() }),
        ("inbox of a channel", MessageFilter { channel: Some("c".to_owned()), ..inbox.clone() }),
        ("inbox of a type", MessageFilter { kind: Some(MessageType::System), ..inbox.clone() }),
        ("inbox", inbox),
        ("sender", MessageFilter { from: nobody.clone(), ..MessageFilter::default() }),
        ("type", MessageFilter { kind: Some(MessageType::System), ..MessageFilter::default() }),
        ("channel", MessageFilter { channel: Some("c".to_owned()), ..MessageFilter::default() }),
        ("target of a sender", MessageFilter { from: nobody, to: Some("a".to_owned()), ..MessageFilter::default() }),
        (
            "sender of a type",
            MessageFilter { from: Some("x".into()), kind: Some(MessageType::System), ..MessageFilter::default() },
        ),
    ] {
        let page = store.messages(filter).await.expect("messages");
        assert!(page.entries.is_empty() == (name != "inbox"), "{name}");
        assert_eq!(page.next.is_some(), name == "inbox", "{name} is looked at to the end");
        note(name, &mut costs);
    }
    let rare = EventTypes::NONE.with(EventName::AgentRemoved);
    let routes = store.routes("a".into()).await.expect("routes");
    for (name, routes) in [("events of a rare type", None), ("an agent's events of a rare type", Some(routes))] {
        let page = store.events_after(EventSeq::default(), routes, rare, 100, usize::MAX).await.expect("events");
        assert!(page.events.is_empty() && !page.more, "{name}");
        note(name, &mut costs);
    }
    let page = store.events_after(EventSeq::default(), None, EventTypes::ALL, 100, usize::MAX).await.expect("events");
    assert_eq!(page.events.len(), 100);
    note("events", &mut costs);
    let stats = store.stats().await.expect("figures");
    assert_eq!((stats.messages, stats.events), (messages, 2 * messages));
    note("stats", &mut costs);
    for (agent, kind) in [(None, ActivityKind::Security), (Some("a".into()), ActivityKind::Security)] {
        let filter = ActivityFilter { agent, kind: Some(kind), ..ActivityFilter::default() };
        let page = store.activity(filter).await.expect("entries");
        assert!(page.entries.is_empty() && page.next.is_none());
        note("activity of a kind", &mut costs);
    }
    for (target, status) in [(None, Some(CommandStatus::Running)), (Some("a".into()), Some(CommandStatus::Pending))] {
        let filter = CommandFilter { target, status, kind: Some(ControlKind::Restart), ..CommandFilter::default() };
        let page = store.commands(filter).await.expect("commands");
        assert!(page.entries.is_empty() && page.next.is_none());
        note("commands of a status", &mut costs);
    }
    // As many pairs that are over, asked for by `a` and of `a`.
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let pairs = "INSERT INTO pairs (requester_id, target_id, status, created_at, last_activity_at, ended_at)
        SELECT CASE id % 4 WHEN 0 THEN 'a' ELSE 'b' END, CASE id % 4 WHEN 0 THEN 'b' ELSE 'a' END, 'ended', 1, 1, ?1
        FROM messages";
    database.execute(pairs, [Timestamp::now().as_ms()]).expect("pairs");
    drop(database);
    for (name, agent, status) in [
        ("an agent's active pair", Some("a".into()), Some(PairStatus::Active)),
        ("pending pairs", None, Some(PairStatus::Pending)),
        ("pairs of nobody", Some("nobody".into()), None),
        ("an agent's pairs that ended", Some("a".into()), Some(PairStatus::Ended)),
    ] {
        let page = store.pairs(PairFilter { agent, status, ..PairFilter::default() }).await.expect("pairs");
        let has_some = status == Some(PairStatus::Ended);
        assert_eq!((!page.entries.is_empty(), page.next.is_some()), (has_some, has_some), "{name}");
        note(name, &mut costs);
    }
    // As much that waits for a person.
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let items = "INSERT INTO attention (cause, occasion, urgency, kind, title, since, command_id, hint, lasts)
        SELECT 'command ' || id, id, 2, 'command', 't', id, id, 'h', 0 FROM messages";
    database.execute(items, []).expect("items");
    drop(database);
    let page = store.attention(AttentionFilter::default()).await.expect("a page");
    assert_eq!(page.entries.len(), 100);
    note("what waits for a person", &mut costs);
    store.dismiss_attention(page.entries[50].id, "x".to_owned()).await.expect("dismissed");
    note("a dismissal", &mut costs);
    bench.register("b", &[]).await;
    store.request_pair(NewPair::of("a".into(), "b".into()), None).await.expect("a pair");
    note("a pair", &mut costs);
    for name in ["the first post", "a post"] {
        bench.send("x", "channel:news", "post").await;
        note(name, &mut costs);
    }
    let channels = store.channels(ChannelFilter::default()).await.expect("channels").entries;
    assert_eq!(channels.iter().map(|channel| channel.messages).collect::<Vec<_>>(), [2]);
    note("channels", &mut costs);
    store.mark_read(MessageId::new(4), "a".into(), SessionGuard::default()).await.expect("read");
    note("read", &mut costs);
    bench.send("x", "a", "new").await;
    note("send", &mut costs);
    let posted = store.post(NewMessage::plain("x".into(), "a", "new"), Posting::default(), None).await.expect("posted");
    assert_eq!(posted.recipients, Some(1));
    note("post", &mut costs);
    store.open_sessions().await.expect("none");
    store.end_session("s0".to_owned(), "a".into(), "e".to_owned()).await.expect("none");
    note("sessions", &mut costs);
    let last = store.last_command().await.expect("a number");
    store.fail_orphaned_commands(last).await.expect("none");
    note("orphans", &mut costs);
    store.reap(Vec::new(), 1_000_000, 1_000_000, false).await.expect("nobody");
    note("reap", &mut costs);
    let forever = i64::MAX;
    let keep = Retention {
        events_count: forever,
        events_ms: forever,
        messages_count: forever,
        messages_ms: forever,
        records_ms: 1_000_000,
    };
    assert_eq!(store.retain_step(keep, 500).await.expect("nothing to do").done, 0);
    note("retention with nothing to do", &mut costs);
    assert!(store.retain_step(Retention { messages_count: 1_000, ..keep }, 50).await.expect("a step").done > 0);
    note("a step of retention", &mut costs);
    drop(store.examine(0).await);
    note("health", &mut costs);
    store.close().await;
    let bench = Bench::in_folder(&ENGINES[0], bench.folder);
    costs.insert("start", bench.store.steps_taken());
    bench.store.close().await;
    costs
}

/// The names of what costs more with many than with few.
pub(super) fn grown(few: &BTreeMap<&str, u64>, many: &BTreeMap<&str, u64>) -> Vec<String> {
    println!("{many:#?}");
    // A tree with more leaves may be deeper by a step or two.
    let grown = few.iter().filter(|(name, cost)| many[*name] > *cost + *cost / 10 + 50);
    grown.map(|(name, cost)| format!("{name}: {cost} steps, then {}", many[name])).collect()
}

#[tokio::test]
async fn what_an_answer_costs_does_not_grow_with_what_is_stored() {
    let grown = grown(&costs(10_000).await, &costs(40_000).await);
    assert!(grown.is_empty(), "{grown:#?}");
}

/// What it costs to find no agent.
async fn costs_of_agents(agents: i64) -> BTreeMap<&'static str, u64> {
    let bench = filled(1, agents);
    let store = &bench.store;
    let mut costs = BTreeMap::new();
    let every = AgentFilter::default;
    for (name, filter) in [
        ("label", AgentFilter { label: Some("l".to_owned()), ..every() }),
        ("text", AgentFilter { text: Some("?".to_owned()), live_first: true, ..every() }),
        ("tag", AgentFilter { tag: Some("?".to_owned()), live_first: true, ..every() }),
        ("offline", AgentFilter { status: Some(AgentStatus::Offline), ..every() }),
    ] {
        let before = store.steps_taken();
        let page = store.agents(filter).await.expect("agents");
        assert!(page.entries.is_empty() && page.next.is_some(), "{name}: it says how far it got");
        costs.insert(name, store.steps_taken() - before);
    }
    for (name, condition) in
        [("in a condition", ConditionFilter::Any), ("at a limit", ConditionFilter::Kind(ConditionKind::Limit))]
    {
        for live_first in [false, true] {
            let before = store.steps_taken();
            let filter = AgentFilter { condition: Some(condition), live_first, ..every() };
            let page = store.agents(filter).await.expect("agents");
            assert!(page.entries.is_empty() && page.next.is_none(), "{name}: only those in one are looked at");
            *costs.entry(name).or_default() += store.steps_taken() - before;
        }
    }
    let before = store.steps_taken();
    let page = store.agents(AgentFilter { live_first: true, ..every() }).await.expect("agents");
    assert_eq!(page.entries.len(), 100);
    costs.insert("the first", store.steps_taken() - before);
    let before = store.steps_taken();
    store.reap(Vec::new(), 1_000_000, 1_000_000, false).await.expect("nobody");
    costs.insert("reap", store.steps_taken() - before);
    let before = store.steps_taken();
    assert_eq!(store.similar_targets("z17O".to_owned()).await.expect("targets").len(), 3);
    costs.insert("similar targets", store.steps_taken() - before);
    // Counted once, and then remembered.
    let news = || NewMessage::plain("x".into(), "broadcast", "news");
    store.post(news(), Posting::default(), None).await.expect("posted");
    let before = store.steps_taken();
    let posted = store.post(news(), Posting::default(), None).await.expect("posted");
    assert_eq!(posted.recipients, Some(agents + 1), "`a` is one as well");
    costs.insert("post to everybody", store.steps_taken() - before);
    bench.store.close().await;
    costs
}

#[tokio::test]
async fn looking_for_an_agent_does_not_cost_more_with_more_agents() {
    let grown = grown(&costs_of_agents(6_000).await, &costs_of_agents(18_000).await);
    assert!(grown.is_empty(), "{grown:#?}");
}

/// What may be looked at as a whole, because there is never much of it. `latest` is how a part of an index is called
/// that a limit has cut off.
const SMALL: [&str; 5] = ["hosted", "integrations", "latest", "orchestrators", "meta"];

/// Agents are counted, and what waits for a person: there are thousands of them, not millions.
const COUNTED: [&str; 2] = ["SELECT count(*) FROM agents", "SELECT count(*) FROM attention WHERE dismissed_at IS NULL"];

/// Agents follow a clock that was set, which is rare.
const FOLLOWS: &str = "UPDATE agents SET last_seen = $1 WHERE last_seen > $1";

#[tokio::test]
async fn no_statement_walks_a_table_in_search_of_something() {
    let bench = postgres::call_every_verb().await;
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let mut walks = Vec::new();
    for sql in prepared_statements() {
        let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        let plan: Vec<String> = explain
            .raw_query()
            .mapped(|row| row.get(3))
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let scans = plan.iter().filter_map(|line| line.strip_prefix("SCAN "));
        for table in scans {
            let name = table.split(' ').next().unwrap_or_default();
            // The first rows in the order of the table are found at its beginning, the last ones at its end.
            let is_first =
                ["LIMIT", "DESC LIMIT"].iter().any(|end| sql.contains(&format!("FROM {name} ORDER BY id {end}")));
            if !SMALL.contains(&name)
                && !is_first
                && !COUNTED.iter().any(|counted| sql.starts_with(counted))
                && sql != FOLLOWS
            {
                walks.push(format!("{table}: {sql}"));
            }
        }
        // An index that gives no order makes a page cost as much as the list is long.
        if sql.contains(" LIMIT ") && plan.iter().any(|line| line.contains("USE TEMP B-TREE")) {
            walks.push(format!("sorts: {sql}"));
        }
        println!("{sql}\n    {}", plan.join("\n    "));
    }
    assert!(walks.is_empty(), "{walks:#?}");
}
