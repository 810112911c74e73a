//! `claim`: how fast eight workers take work and finish it, each piece exactly once.
//!
//! The messages are stored beforehand, for a tag that all workers have. Each worker has one
//! connection, claims a message, completes it with the generation it was given, and goes on. In the
//! first run each worker has its own share of the messages; in the second all of them go for each
//! message, seven are refused, and the rate counts what was completed. In both, each message must have
//! been claimed by one worker and completed by it.

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
        for worker in 0..WORKERS {
            let card = format!(r#"{{"id":"worker-{worker}","tags":["load"]}}"#);
            let answer = connection.post("/api/agents", &card).await?;
            if answer.status != 200 {
                answer.expect(201)?;
            }
        }
        run(&server, "a share each", SHARED_OUT, false, Goal::AtLeast(5_800.0), report).await?;
        run(&server, "all after the same", FOUGHT_OVER, true, Goal::None, report).await?;
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

async fn run(server: &Server, name: &str, count: usize, fight: bool, goal: Goal, report: &mut Report) -> Outcome<()> {
    let ids = store(server.target(), count).await?;
    let before = server.cpu_seconds()?;
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (first, step) = if fight { (0, 1) } else { (worker, WORKERS) };
        let of_worker: Vec<u64> = ids.iter().copied().skip(first).step_by(step).collect();
        workers.spawn(work(server.target().clone(), worker, of_worker, fight));
    }
    let mut done = Vec::with_capacity(count);
    while let Some(of_one) = workers.join_next().await {
        done.extend(of_one??);
    }
    let seconds = started.elapsed().as_secs_f64();
    done.sort_unstable();
    let mut ids = ids;
    ids.sort_unstable();
    if done != ids {
        return Err(format!("{count} messages were stored, and {} claims completed, not one each", done.len()).into());
    }
    report.add(format!("{name}: claimed and completed"), count as f64 / seconds, "/s", goal);
    report_cpu(report, name, server, before, count, Goal::None)
}

/// Claims and completes, and answers the messages that this worker got.
async fn work(target: Target, worker: usize, ids: Vec<u64>, fight: bool) -> Outcome<Vec<u64>> {
    let mut connection = Connection::open(&target).await?;
    let mut done = Vec::with_capacity(ids.len());
    for id in ids {
        let claim = format!(r#"{{"agentId":"worker-{worker}"}}"#);
        let answer = connection.post(&format!("/api/messages/{id}/claim"), &claim).await?;
        if fight && answer.status == 409 {
            continue;
        }
        answer.expect(200)?;
        let generation = answer.number("claimGeneration")?;
        let complete = format!(r#"{{"agentId":"worker-{worker}","claimGeneration":{generation}}}"#);
        connection.post(&format!("/api/messages/{id}/claim/complete"), &complete).await?.expect(200)?;
        done.push(id);
    }
    Ok(done)
}

/// Stores claimable messages and answers their ids, oldest first.
async fn store(target: &Target, count: usize) -> Outcome<Vec<u64>> {
    let mut senders = JoinSet::new();
    for first in 0..SENDERS {
        let target = target.clone();
        senders.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let mut ids = Vec::new();
            for index in (first..count).step_by(SENDERS) {
                let body = message("tag:load", index as u64, r#","claimable":true"#);
                let answer = connection.post("/api/messages", &body).await?;
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
