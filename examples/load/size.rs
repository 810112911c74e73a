//! `size`: what it costs when much is stored.
//!
//! A store is filled with 100,000 messages, and with ten times as many as often as was asked for. It is filled with
//! SQL, in the shape in which the relay stores it: nearly half of the messages are for one agent, who read them all,
//! with a receipt and an event each; the others are for fifty others. Then the server is started on it. Each row is
//! the median of some requests, one at a time: those that find nothing, or what is rare, are the ones that would look
//! at everything. The aim is that a row is as quick with many messages as with few; so the goals are the same for
//! every size.
//!
//! After that eight connections ask for the first row as fast as they can, while one asks for a single agent. In the
//! end the server is started again with a tenth of the messages to keep, and one connection sends messages for a minute
//! while the rest is deleted and its space given back; after that retention has the store to itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::http::{Connection, now};
use crate::post::{hammer, to_agent};
use crate::report::{Goal, Report, millis, percentile};
use crate::server::{Server, Target};
use crate::{Load, Outcome, on_this_thread};

/// Messages of the smallest store.
const SMALLEST: u64 = 100_000;
/// Requests of each row.
const REQUESTS: usize = 50;
/// How long the server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(2);
/// How long messages are sent while retention is at work, and how long it is given after that.
const SENDING: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(60 * 60);
/// How often the file is looked at, until it shrinks no more.
const LOOK: Duration = Duration::from_secs(5);

/// What is asked. Nothing matches but in the last ones.
const ROWS: [(&str, &str); 13] = [
    ("unread", "/api/messages?for=reader&unread=true"),
    ("for, from", "/api/messages?for=reader&from=nobody"),
    ("for, thread", "/api/messages?for=reader&thread=7"),
    ("from", "/api/messages?from=nobody"),
    ("type", "/api/messages?type=system"),
    ("channel", "/api/messages?channel=none"),
    ("events of a rare type", "/api/events/log?types=agent.removed"),
    ("an agent's events of a rare type", "/api/events/log?agent=reader&types=agent.removed"),
    ("stats", "/api/stats"),
    ("inbox", "/api/messages?for=reader&limit=20"),
    ("activity", "/api/activity?kind=security"),
    ("metrics", "/metrics"),
    ("health", "/api/health"),
];

/// Measures, up to this many messages.
pub(crate) fn measure(load: &Load, largest: u64, report: &mut Report) -> Outcome<()> {
    let mut messages = SMALLEST;
    while messages <= largest {
        measure_one(load, messages, report)?;
        messages *= 10;
    }
    Ok(())
}

fn measure_one(load: &Load, messages: u64, report: &mut Report) -> Outcome<()> {
    let name = |row: &str| format!("{}k messages: {row}", messages / 1_000);
    load.progress(&name("filling"));
    let server = load.own_server("the store is to be filled")?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        connection.post("/api/agents", r#"{"id":"reader","tags":["t"]}"#).await?.expect(201)
    })?;
    let dir = server.stop()?;
    let database = dir.path().join("data/relay.db");
    let begun = Instant::now();
    fill(&database, messages)?;
    report.add(name("filled in"), begun.elapsed().as_secs_f64(), "s", Goal::None);
    report.add(name("file"), mebibytes(&database)?, "MiB", Goal::None);

    load.progress(&name("asking"));
    keep(dir.path(), messages * 10)?;
    let server = Server::start_in(&load.program, dir)?;
    report.add(name("start"), server.starting.as_secs_f64() * 1_000.0, "ms", Goal::AtMost(50.0));
    on_this_thread(async {
        tokio::time::sleep(IDLE).await;
        Ok(())
    })?;
    if let Some(bytes) = server.memory_bytes()? {
        report.add(name("memory when idle"), bytes / f64::from(1 << 20), "MiB", Goal::AtMost(40.0));
    }
    let before = on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for (row, path) in ROWS {
            let mut times = Vec::with_capacity(REQUESTS);
            connection.get(path).await?.expect(200)?;
            for _ in 0..REQUESTS {
                let asked = now();
                connection.get(path).await?.expect(200)?;
                times.push(now() - asked);
            }
            times.sort_unstable();
            report.add(name(row), millis(percentile(&times, 50.0)), "ms", Goal::AtMost(5.0));
        }
        let mut alone = ask_for_an_agent(server.target(), 0).await?;
        report.add_times(&name("an agent"), &mut alone, Goal::None, Goal::None);
        let mut among = ask_for_an_agent(server.target(), 8).await?;
        report.add_times(&name("an agent, beside eight pollers"), &mut among, Goal::None, Goal::None);
        let mut run = hammer(server.target(), 1, load.duration(), 201, "/api/messages", to_agent).await?;
        report.add_times(&name("post"), &mut run.times, Goal::None, Goal::None);
        Ok(percentile(&run.times, 99.0))
    })?;
    let dir = server.stop()?;

    load.progress(&name("retention"));
    let full = mebibytes(&database)?;
    keep(dir.path(), messages / 10)?;
    let server = Server::start_in(&load.program, dir)?;
    let begun = Instant::now();
    on_this_thread(async {
        let mut times = Vec::new();
        while begun.elapsed() < SENDING {
            times.extend(hammer(server.target(), 1, load.duration(), 201, "/api/messages", to_agent).await?.times);
        }
        let mut smallest = mebibytes(&database)?;
        report.add(name("file after a minute of posts"), smallest, "MiB", Goal::None);
        let mut took = begun.elapsed();
        while begun.elapsed() < RETENTION {
            tokio::time::sleep(LOOK).await;
            let size = mebibytes(&database)?;
            if smallest < full / 2.0 && size >= smallest {
                break;
            }
            (smallest, took) = (smallest.min(size), begun.elapsed());
        }
        times.sort_unstable();
        report.add(name("retention took"), took.as_secs_f64(), "s", Goal::None);
        report.add(name("file after it"), mebibytes(&database)?, "MiB", Goal::AtMost(full / 2.0));
        report.add_times(&name("post meanwhile"), &mut times, Goal::None, Goal::AtMost(2.0 * millis(before)));
        Ok(())
    })
}

/// How long it takes to get one agent, while so many others poll the first row.
async fn ask_for_an_agent(target: &Target, pollers: usize) -> Outcome<Vec<u64>> {
    let done = Arc::new(AtomicBool::new(false));
    let mut polling = JoinSet::new();
    for _ in 0..pollers {
        let (mut connection, done) = (Connection::open(target).await?, done.clone());
        polling.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                connection.get(ROWS[0].1).await?.expect(200)?;
            }
            Outcome::Ok(())
        });
    }
    let (mut connection, mut times) = (Connection::open(target).await?, Vec::new());
    for _ in 0..10 * REQUESTS {
        let asked = now();
        connection.get("/api/agents/reader").await?.expect(200)?;
        times.push(now() - asked);
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = polling.join_next().await {
        ended??;
    }
    Ok(times)
}

fn mebibytes(file: &Path) -> Outcome<f64> {
    Ok(fs::metadata(file)?.len() as f64 / f64::from(1 << 20))
}

/// How many messages and events the next server keeps.
fn keep(dir: &Path, count: u64) -> Outcome<()> {
    let text = format!("[messages]\nkeep_count = {count}\n[events]\nkeep_count = {count}\n");
    Ok(fs::write(dir.join("relay.toml"), text)?)
}

/// Fills the store as the relay would: every message and event, who read what, and how many there are.
fn fill(database: &Path, messages: u64) -> Outcome<()> {
    let connection = rusqlite::Connection::open(database)?;
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    connection.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA foreign_keys = OFF; BEGIN;
         WITH RECURSIVE n(i) AS (SELECT 500 UNION ALL SELECT i + 1 FROM n WHERE i < {messages} + 499)
             INSERT INTO messages (id, sender, target, type, body, thread_id, claimable, meta, created_at)
             SELECT 2 * i, 'sender-' || i % 97, CASE WHEN i % 20 < 9 THEN 'reader' ELSE 'agent-' || i % 50 END,
                 'message', '{body}', 2 * i, 0, '{{}}', {at} FROM n;
         WITH RECURSIVE n(i) AS (SELECT 500 UNION ALL SELECT i + 1 FROM n WHERE i < {messages} + 499)
             INSERT INTO reads (message_id, agent_id, read_at) SELECT 2 * i, 'reader', {at} FROM n WHERE i % 20 < 9;
         WITH RECURSIVE n(i) AS (SELECT 500 UNION ALL SELECT i + 1 FROM n WHERE i < {messages} + 499)
             INSERT INTO events (seq, at, name, target, also, data)
             SELECT 2 * i + 1, {at}, 'message.read', 'sender-' || i % 97, 'reader',
                 '{{\"agentId\":\"reader\",\"id\":' || 2 * i || '}}' FROM n WHERE i % 20 < 9;
         INSERT INTO read_ranges (agent_id, target, from_id, to_id)
             SELECT 'reader', 'reader', 0, max(id) FROM messages WHERE target = 'reader';
         UPDATE meta SET value = (SELECT count(*) FROM messages) || ' ' || (SELECT count(*) FROM messages) || ' '
             || (SELECT count(*) FROM events) || ' ' || (SELECT max(id) + 1 FROM messages) WHERE key = 'counts';
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE);",
        body = "x".repeat(200),
    ))?;
    Ok(())
}
