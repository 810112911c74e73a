//! SQLite databases of earlier versions, and of later ones.

use agent_relay::domain::agent::{AgentFilter, AgentPatch, ConditionKind, NewCondition, SessionGuard};
use agent_relay::domain::message::{ChannelFilter, Sender, SenderKind};
use agent_relay::domain::page::{Limit, Page};
use agent_relay::domain::time::Timestamp;
use agent_relay::store::StoreError;

use super::{Bench, ENGINES, open_sqlite, sqlite_file};

/// The schema as it was at version 3.
const VERSION_3: [&str; 3] = [
    include_str!("../../../src/store/engine/migrations/0001_initial.sql"),
    include_str!("../../../src/store/engine/migrations/0002_messages_are_events.sql"),
    include_str!("../../../src/store/engine/migrations/0003_questions.sql"),
];

/// What the versions after it added.
const VERSION_4: &str = include_str!("../../../src/store/engine/migrations/0004_agent_targets.sql");
const VERSION_5: &str = include_str!("../../../src/store/engine/migrations/0005_answers.sql");

#[tokio::test]
async fn a_database_of_version_3_keeps_its_data_and_its_agents_are_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    {
        let database = rusqlite::Connection::open(sqlite_file(folder.path())).expect("a database");
        let schema = VERSION_3.concat();
        database
            .execute_batch(&format!(
                r#"PRAGMA journal_mode = WAL; BEGIN; {schema}
                INSERT INTO meta VALUES ('epoch', 'abcd');
                INSERT INTO agents VALUES
                    ('a', 'A', 'nick', '["t","channel:news","t"]', '["Rust"]', NULL, NULL, 'idle', 1, 'i', 3,
                     '{{"channels":["dev",7],"k":1}}', 5, 4),
                    ('b', 'B', NULL, '[]', '[]', NULL, NULL, 'offline', 0, NULL, 1, '{{"channels":"none"}}', 5, 4);
                INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at)
                    VALUES (7, 'x', 'tag:t', 'system', 'old', 7, 1, '{{}}', 5);
                 INSERT INTO messages (id, sender, target, type, body, channel, thread_id, claimable, meta, created_at)
                     VALUES (12, 'x', 'channel:news', 'message', 'old', 'news', 12, 0, '{{}}', 6),
                            (13, 'x', 'tag:nobody', 'message', 'old', 'mail', 13, 0, '{{}}', 7),
                            (14, 'x', 'channel:news', 'message', 'old', 'news', 14, 0, '{{}}', 8);
                 INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at, expires_at)
                     VALUES (8, 'user', 'a', 'message', 'm', 8, 0, '{{}}', 5, NULL),
                            (9, 'system', 'a', 'system', 'm', 9, 0, '{{}}', 5, NULL),
                            (10, 'orchestrator-o', 'a', 'message', 'm', 10, 0, '{{}}', 5, NULL),
                            (11, 'x', 'a', 'message', 'm', 11, 0, '{{}}', 5, 6);
                INSERT INTO reads VALUES (7, 'a', 6);
                PRAGMA user_version = 3; COMMIT;"#
            ))
            .expect("the third schema");
    }
    let bench = Bench::in_folder(&ENGINES[0], folder);
    let card = bench.store.agent("a".into()).await.expect("its card");
    assert_eq!((card.label.as_deref(), card.epoch, card.created_at.as_ms()), (Some("nick"), 3, 4));
    let message = bench.store.message(7.into()).await.expect("the message");
    assert_eq!((message.body.as_str(), message.read_by.as_slice()), ("old", ["a".into()].as_slice()));
    // Nobody wrote down how its sender was known.
    let of_agent = Sender { r#as: SenderKind::Agent, verified: false, via: "unknown".to_owned() };
    assert_eq!(message.sender, of_agent);
    for (id, kind) in [(8, SenderKind::User), (9, SenderKind::System), (10, SenderKind::Orchestrator)] {
        let message = bench.store.message(id.into()).await.expect("the message");
        assert_eq!(message.sender, Sender { r#as: kind, ..of_agent.clone() }, "{}", message.from);
    }
    // What expired before is told to nobody.
    bench.store.reap(Vec::new(), 1_000_000, 1_000_000, false).await.expect("reaped");
    assert_eq!(bench.inbox("x").await, Vec::<String>::new());
    assert_eq!(bench.store.epoch(), "abcd");
    // Its channels are counted once, and being ready comes back after a dialog.
    let channels = bench.store.channels(ChannelFilter::default()).await.expect("channels").entries;
    let channels: Vec<_> = channels
        .iter()
        .map(|one| (one.name.as_str(), one.messages, one.subscribers, one.last_message_at.map(Timestamp::as_ms)))
        .collect();
    assert_eq!(channels, [("mail", 1, 0, Some(7)), ("news", 2, 1, Some(8))]);
    for condition in [Some(NewCondition::seen(ConditionKind::Dialog, "")), None] {
        let is_ready = condition.is_none();
        let patch = AgentPatch::Condition(condition);
        let card = bench.store.patch_agent("a".into(), SessionGuard::default(), patch).await.expect("its card");
        assert_eq!(card.ready, is_ready);
    }
    let found = async |filter: AgentFilter| {
        let Page { entries, .. } = bench.store.agents(filter).await.expect("agents");
        entries.into_iter().map(|agent| agent.id.into_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(AgentFilter { tag: Some("t".to_owned()), ..Default::default() }).await, ["a"]);
    assert_eq!(found(AgentFilter { capability: Some("Rust".to_owned()), ..Default::default() }).await, ["a"]);
    bench.store.close().await;

    // What the migration filled in is what saving the card would have.
    let path = sqlite_file(bench.folder.path());
    let database = rusqlite::Connection::open(path).expect("the database");
    let mode: i64 = database.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).expect("a mode");
    assert_eq!(mode, 2, "it gives space back from now on");
    let mut statement = database.prepare("SELECT target FROM agent_targets ORDER BY target").expect("a statement");
    let targets = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
    let mut expected = card.routes().groups;
    expected.retain(|target| target != "broadcast");
    assert_eq!(targets.collect::<Result<Vec<_>, _>>().expect("targets"), expected);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let bench = Bench::new(&ENGINES[0]);
    bench.register("a", &[]).await;
    bench.store.close().await;
    let path = sqlite_file(bench.folder.path());
    let open = || rusqlite::Connection::open(&path).expect("the database");
    let set = |version: u32| open().pragma_update(None, "user_version", version).expect("a version");
    let known: u32 = open().pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
    set(known + 1);
    let refused = open_sqlite(bench.folder.path(), Box::new(drop)).err().expect("refused");
    let newer = format!("schema version {}", known + 1);
    assert!(matches!(&refused, StoreError::Unusable(text) if text.contains(&newer)), "{refused}");
    set(known);
    let bench = Bench::in_folder(bench.engine, bench.folder);
    bench.store.agent("a".into()).await.expect("its card");
    bench.store.close().await;
}

#[tokio::test]
async fn since_when_an_agent_gets_group_messages_is_found_by_the_times_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    {
        let database = rusqlite::Connection::open(sqlite_file(folder.path())).expect("a database");
        let schema = [VERSION_3[0], VERSION_3[1], VERSION_3[2], VERSION_4, VERSION_5].concat();
        let agents: String = [("before", 50), ("at", 300), ("between", 301), ("after", 5_000), ("future", 9_000_000)]
            .iter()
            .map(|(id, at)| {
                format!("INSERT INTO agents VALUES ('{id}', 'n', NULL, '[]', '[]', NULL, NULL, 'idle', 1, NULL, 1, '{{}}', {at}, {at});")
            })
            .collect();
        // Ids have gaps: other events have the numbers between.
        let messages: String = (1..=40)
            .map(|n| {
                format!(
                    "INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at)
                         VALUES ({0}, 'x', 'broadcast', 'message', '{0}', {0}, 0, '{{}}', {1});",
                    n * 7,
                    n * 100
                )
            })
            .collect();
        database
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; BEGIN; {schema} {agents} {messages} PRAGMA user_version = 5; COMMIT;"
            ))
            .expect("the fifth schema");
    }
    let bench = Bench::in_folder(&ENGINES[0], folder);
    for (agent, received) in [("before", 40), ("at", 38), ("between", 37), ("after", 0), ("future", 0)] {
        assert_eq!(bench.inbox(agent).await.len(), received, "{agent}");
    }
    bench.send("x", "broadcast", "new").await;
    for agent in ["before", "after", "future"] {
        assert_eq!(bench.inbox(agent).await.last().map(String::as_str), Some("new"), "{agent}");
    }
    bench.store.close().await;
}

/// A database of version 13 with these rows.
fn of_version_13(rows: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let migrations = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/engine/migrations");
    let mut files: Vec<_> =
        std::fs::read_dir(migrations).expect("migrations").flatten().map(|file| file.path()).collect();
    files.sort();
    let schema: String = files[..13].iter().map(|file| std::fs::read_to_string(file).expect("a migration")).collect();
    rusqlite::Connection::open(sqlite_file(folder.path()))
        .expect("a database")
        .execute_batch(&format!("PRAGMA journal_mode = WAL; BEGIN; {schema} {rows} PRAGMA user_version = 13; COMMIT;"))
        .expect("the schema of version 13");
    folder
}

/// What waited before there was a list of it.
#[tokio::test]
async fn what_waits_already_is_on_the_list_after_an_upgrade() {
    let card = "'[]', '[]', NULL, NULL, 'idle', 1, NULL, 1, '{}', 5, 4";
    let task = "'info', 'open', 'user', 'a', 1, 0, '[]', '{}', '[]', '[]', 7, 7, 0, 1";
    let folder = of_version_13(&format!(
        r#"INSERT INTO agents (id, name, label, tags, capabilities, machine, rig, status, ready, instance_id, epoch, meta,
                               last_seen, created_at, condition, condition_kind) VALUES
               ('a', 'A', NULL, {card}, '{{"kind":"dialog","since":9,"source":"relay"}}', 'dialog'),
               ('b', 'B', NULL, {card}, '{{"kind":"starting","since":9,"source":"relay"}}', 'starting');
           INSERT INTO tasks (source, kind, title, severity, status, target, asker, occurrences, claim_generation,
                              options, metadata, depends_on, blocked_by, created_at, updated_at, claim_lease_ms,
                              event_count) VALUES
               ('api', 'question', 'Which?', {task}), ('api', 'approval', 'May I?', {task}), ('api', 'work', 'Do', {task});"#
    ));
    let bench = Bench::in_folder(&ENGINES[0], folder);
    let items = bench.store.attention(Default::default()).await.expect("items").entries;
    let found: Vec<_> =
        items.iter().map(|item| (item.kind.as_str(), item.title.as_str(), item.since.as_ms())).collect();
    let expected =
        [("approval", "May I?", 7), ("dialog", "a is in the condition dialog", 9), ("question", "Which?", 7)];
    assert_eq!(found, expected);
    // They go like any other.
    bench.store.patch_agent("a".into(), SessionGuard::default(), AgentPatch::Condition(None)).await.expect("its card");
    let left = bench.store.attention(Default::default()).await.expect("items").entries;
    assert_eq!(left, [items[0].clone(), items[2].clone()]);
    bench.store.close().await;
}

/// The claim of a task was kept with its message as well, and its history by numbers of its own.
#[tokio::test]
async fn a_task_and_its_message_have_their_claim_and_their_history_after_an_upgrade() {
    let until = Timestamp::now() + 3_600_000;
    let folder = of_version_13(&format!(
        r#"INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at, claimed_by,
                                 claimed_at, claim_expires_at, claim_lease_ms, claim_generation) VALUES
               (7, 'x', 'a', 'message', 'Do', 7, 1, '{{"taskId":3}}', 5, 'a', 6, {until}, 300000, 2);
           INSERT INTO tasks (id, source, kind, title, severity, status, target, asker, occurrences, claimed_by,
                              claimed_at, claim_expires_at, claim_generation, options, metadata, depends_on, blocked_by,
                              message_id, created_at, updated_at, claim_lease_ms, event_count) VALUES
               (3, 'api', 'work', 'Do', 'info', 'claimed', 'a', 'x', 1, 'a', 6, {until}, 2, '[]', '{{}}', '[]', '[]', 7, 5,
                6, 300000, 2);
           INSERT INTO task_events (id, task_id, type, agent_id, created_at) VALUES
               (1, 3, 'created', 'x', 5), (2, 3, 'claimed', 'a', 6);"#
    ));
    let bench = Bench::in_folder(&ENGINES[0], folder);
    let store = &bench.store;
    let message = store.message(7.into()).await.expect("the message");
    assert_eq!((message.claimed_by, message.claim_generation), (Some("a".into()), 2));
    let task = store.renew_task(3.into(), "a".into(), SessionGuard::default(), 2, Some(60_000)).await.expect("renewed");
    let message = store.message(7.into()).await.expect("the message");
    assert_eq!((message.claim_expires_at, message.claim_generation), (task.claim_expires_at, 2), "one claim");
    store.complete_claim(7.into(), "a".into(), SessionGuard::default(), 2).await.expect("completed");
    let events = store.task_events(3.into(), None, Limit::MAX).await.expect("events").entries;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["created", "claimed", "done"]);
    assert!(events.is_sorted_by_key(|event| event.id));
    bench.store.close().await;
}
