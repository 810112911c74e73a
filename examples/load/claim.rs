//! `claim`: how fast eight workers take work and finish it, each piece exactly once.
//!
//! The messages are stored beforehand, for a tag that all workers have. Each worker has one
//! connection, claims a message, completes it with the generation it was given, and goes on. In the
//! first run each worker has its own share of the messages; in the second all of them go for each
//! message, seven are refused, and the rate counts what was completed. In both, each message must have
//! been claimed by one worker and completed by it.
//!
//! Then sixteen workers take plain messages, and as many tasks for the same tag by their own door: a task has a
//! history and a message beside it, and goes at four fifths of the rate of a plain message at least.

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::http::{Connection, message};
use crate::post::report_cpu;
use crate::redis::{self, Redis};
use crate::report::{Goal, Report};
use crate::server::{Server, Target};
use crate::{Load, Outcome, on_this_thread};

/// Workers, each with a connection.
const WORKERS: usize = 8;
/// Workers where messages and tasks are compared.
const WORKERS_OF_TASKS: usize = 16;
/// Of the rate of messages, tasks go at so much at least.
const SHARE_OF_TASKS: f64 = 0.8;
/// Messages claimed by workers with a share each.
const SHARED_OUT: usize = 12_000;
/// Messages that all workers go for.
const FOUGHT_OVER: usize = 3_000;
/// Connections that store the messages.
const SENDERS: usize = 64;

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for worker in 0..WORKERS_OF_TASKS {
            let card = format!(r#"{{"id":"worker-{worker}","tags":["load"]}}"#);
            let answer = connection.post("/api/agents", &card).await?;
            if answer.status != 200 {
                answer.expect(201)?;
            }
        }
        let (eight, sixteen) = (WORKERS, WORKERS_OF_TASKS);
        run(&server, Work::Message, ("a share each", eight, SHARED_OUT), false, Goal::AtLeast(5_800.0), report).await?;
        run(&server, Work::Message, ("all after the same", eight, FOUGHT_OVER), true, Goal::None, report).await?;
        let sizes = ("16 workers, messages", sixteen, SHARED_OUT);
        let messages = run(&server, Work::Message, sizes, false, Goal::None, report).await?;
        let sizes = ("16 workers, tasks", sixteen, SHARED_OUT);
        let tasks = run(&server, Work::Task, sizes, false, Goal::AtLeast(messages * SHARE_OF_TASKS), report).await?;
        report.add("tasks for each message", tasks / messages, "", Goal::AtLeast(SHARE_OF_TASKS));
        if load.redis {
            let redis = Redis::start(load)?;
            // Filled with more than can be taken in the time.
            let fill = [redis::command(&["LPUSH", "work", &message("tag:load", 0, "")])];
            redis.hammer(64, load.duration(), &fill).await?;
            let round = [
                redis::command(&["LMOVE", "work", "taken", "LEFT", "LEFT"]),
                redis::command(&["LREM", "taken", "1", &message("tag:load", 0, "")]),
            ];
            let run = redis.hammer(WORKERS as u64, load.duration(), &round).await?;
            report.add("redis, moved and removed", run.rate(), "/s", Goal::None);
        }
        Ok(())
    })
}

/// What is claimed.
#[derive(Clone, Copy)]
enum Work {
    Message,
    Task,
}

impl Work {
    /// The request that stores one, the number `index`.
    fn draft(self, index: usize) -> (&'static str, String) {
        match self {
            Self::Message => ("/api/messages", message("tag:load", index as u64, r#","claimable":true"#)),
            Self::Task => ("/api/tasks", format!(r#"{{"from":"x","title":"task {index}","target":"tag:load"}}"#)),
        }
    }

    /// The request that finishes one.
    fn end(self, id: u64, worker: usize, generation: u64) -> (&'static str, String, String) {
        let who = format!(r#""agentId":"worker-{worker}","claimGeneration":{generation}"#);
        match self {
            Self::Message => ("POST", format!("/api/messages/{id}/claim/complete"), format!("{{{who}}}")),
            Self::Task => ("PATCH", format!("/api/tasks/{id}/status"), format!(r#"{{{who},"status":"done"}}"#)),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Message => "/api/messages",
            Self::Task => "/api/tasks",
        }
    }
}

/// Runs so many workers over so many pieces of work, and answers the rate.
async fn run(
    server: &Server,
    kind: Work,
    (name, workers_count, count): (&str, usize, usize),
    fight: bool,
    goal: Goal,
    report: &mut Report,
) -> Outcome<f64> {
    let ids = store(server.target(), kind, count).await?;
    let before = server.cpu_seconds()?;
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..workers_count {
        let (first, step) = if fight { (0, 1) } else { (worker, workers_count) };
        let of_worker: Vec<u64> = ids.iter().copied().skip(first).step_by(step).collect();
        workers.spawn(work(server.target().clone(), kind, worker, of_worker, fight));
    }
    let mut done = Vec::with_capacity(count);
    while let Some(of_one) = workers.join_next().await {
        done.extend(of_one??);
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    done.sort_unstable();
    let mut ids = ids;
    ids.sort_unstable();
    if done != ids {
        return Err(format!("{count} were stored, and {} claims completed, not one each", done.len()).into());
    }
    report.add(format!("{name}: claimed and completed"), rate, "/s", goal);
    report_cpu(report, name, server, before, count, Goal::None)?;
    Ok(rate)
}

/// Claims and completes, and answers what this worker got.
async fn work(target: Target, kind: Work, worker: usize, ids: Vec<u64>, fight: bool) -> Outcome<Vec<u64>> {
    let mut connection = Connection::open(&target).await?;
    let mut done = Vec::with_capacity(ids.len());
    for id in ids {
        let claim = format!(r#"{{"agentId":"worker-{worker}"}}"#);
        let answer = connection.post(&format!("{}/{id}/claim", kind.path()), &claim).await?;
        if fight && answer.status == 409 {
            continue;
        }
        answer.expect(200)?;
        let generation = answer.number("claimGeneration")?;
        let (method, path, body) = kind.end(id, worker, generation);
        connection.call(method, &path, &body).await?.expect(200)?;
        done.push(id);
    }
    Ok(done)
}

/// Stores work and answers its ids, oldest first.
async fn store(target: &Target, kind: Work, count: usize) -> Outcome<Vec<u64>> {
    let mut senders = JoinSet::new();
    for first in 0..SENDERS {
        let target = target.clone();
        senders.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let mut ids = Vec::new();
            for index in (first..count).step_by(SENDERS) {
                let (path, body) = kind.draft(index);
                let answer = connection.post(path, &body).await?;
                answer.expect(201)?;
                ids.push(answer.number("id")?);
            }
            Outcome::Ok(ids)
        });
    }
    let mut ids = Vec::with_capacity(count);
    while let Some(of_one) = senders.join_next().await {
        ids.extend(of_one??);
    }
    ids.sort_unstable();
    Ok(ids)
}
