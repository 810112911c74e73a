//! The daemon is killed: what it started goes on, and the next one finds it, goes on with what was asked, and does
//! nothing twice.

use agent_relay::domain::agent::AgentStatus;
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::domain::control::orchestrator::OrchestratorStatus;
use agent_relay::sessions::TmuxChoice;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use super::{SCRIPT, Site, token_of};
use crate::server::eventually;
use crate::sessions::{choices, runs};

/// How often it is killed at a moment that nobody chose.
const ROUNDS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_outlive_the_daemon_and_are_found_again() {
    for tmux in choices("a killed daemon") {
        let mut site = Site::start_with(tmux, SCRIPT, "", &[]).await;
        let up = site.agent("up").await;
        let doomed = site.agent("doomed").await;
        let coming = site.spawn("coming").await;
        eventually("it runs", async || {
            (site.command_of(coming.command).await.status == CommandStatus::Running).then_some(())
        })
        .await;
        let pids = [site.pid(&up.agent), site.pid(&coming.agent)];
        let token = token_of(site.pid(&doomed.agent));
        site.kill_daemon();
        assert!(pids.into_iter().all(runs), "they go on");
        let group = Pid::from_raw(i32::try_from(site.pid(&doomed.agent)).expect("a process id"));
        kill_process_group(group.expect("a process id"), Signal::KILL).expect("a living process");
        // While nobody listens: one that is asked for, and one that is to end.
        site.sign("late");
        let late = site.spawn("late").await;
        let ending = site.asked(&up.agent, "shutdown").await;

        site.start_daemon().await;
        let card = site.card_is(&doomed.agent, "its end is noticed", |card| card.condition.is_some()).await;
        assert_eq!(card.status, AgentStatus::Offline);
        eventually("its token has ended", async || {
            let answer = site.client.with_token(Some(&token)).get("/api/agents").await;
            (answer.status == 401).then_some(())
        })
        .await;
        assert_eq!(site.client.outcome(late.command).await.status, CommandStatus::Succeeded);
        assert_eq!(site.client.outcome(ending).await.status, CommandStatus::Succeeded);
        assert!(!runs(pids[0]));
        let still = site.command_of(coming.command).await;
        assert_eq!(still.status, CommandStatus::Running, "having outlived the daemon does not make it up: {still:?}");
        assert!(!site.card(&coming.agent).await.ready);
        site.sign("coming");
        let settled = site.client.outcome(coming.command).await;
        assert_eq!(settled.status, CommandStatus::Succeeded, "{settled:?}");
        assert!(site.card(&coming.agent).await.ready);
        assert_eq!(site.pid(&coming.agent), pids[1]);
        // An orderly end leaves them alone as well.
        let daemon = site.daemon.take().expect("a daemon");
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().0, Some(0));
        assert!(runs(pids[1]));
        // The relay knows at once, and asks nobody who is not there.
        let left = site.orchestrator().await.expect("it is known");
        assert_eq!(left.status, OrchestratorStatus::Offline);
        let refused = site.client.post("/api/orchestrators/far/spawn", json!({"provider": "claude"})).await;
        refused.problem(409, "orchestrator_offline");
        site.start_daemon().await;
        assert_eq!(site.act(&coming.agent, "restart").await.status, CommandStatus::Succeeded);
        assert!(!runs(pids[1]));
    }
}

/// Whatever the moment: each agent that was asked for is started once, each end is confirmed, each command is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_does_everything_once() {
    let mut site = Site::start().await;
    for round in 0..ROUNDS {
        let label = format!("round-{round}");
        site.sign(&label);
        let spawned = site.spawn(&label).await;
        kill_some_time_later(&mut site, round).await;
        site.start_daemon().await;
        let done = site.client.outcome(spawned.command).await;
        assert_eq!((done.status, site.starts(&label)), (CommandStatus::Succeeded, 1), "{done:?}");
        let pid = site.pid(&spawned.agent);
        site.card_is(&spawned.agent, "it is ready", |card| card.ready).await;

        let restart = site.asked(&spawned.agent, "restart").await;
        kill_some_time_later(&mut site, round).await;
        site.start_daemon().await;
        let done = site.client.outcome(restart).await;
        assert_eq!((done.status, site.starts(&label)), (CommandStatus::Succeeded, 2), "{done:?}");
        assert!(!runs(pid));
        let pid = site.pid(&spawned.agent);
        let card = site.card_is(&spawned.agent, "it is ready", |card| card.ready).await;
        assert_eq!((card.epoch, card.condition), (2, None));

        let shutdown = site.asked(&spawned.agent, "shutdown").await;
        kill_some_time_later(&mut site, round).await;
        site.start_daemon().await;
        let done = site.client.outcome(shutdown).await;
        assert_eq!((done.status, site.starts(&label)), (CommandStatus::Succeeded, 2), "{done:?}");
        assert!(!runs(pid) && !runs(site.child(&label)));
        let card = site.card_is(&spawned.agent, "it is offline", |card| card.status == AgentStatus::Offline).await;
        assert_eq!(card.condition, None, "it has not crashed");
        assert!(site.host.running().is_empty());
    }
}

/// After so many steps of a clock that has nothing to do with what the daemon does.
async fn kill_some_time_later(site: &mut Site, round: usize) {
    let mut byte = [0];
    getrandom::fill(&mut byte).expect("randomness");
    let millis = u64::from(byte[0]) * (1 + round as u64 % 4) / 2;
    let _ = tokio::time::timeout(std::time::Duration::from_millis(millis), std::future::pending::<()>()).await;
    site.kill_daemon();
}

/// A program that takes its time to end is ended by the next daemon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_goes_on_with_the_next_daemon() {
    let script = "trap 'echo asked >> asked' TERM INT; echo '(shift+tab to cycle)'; while :; do sleep 0.1; done";
    let mut site = Site::start_with(TmuxChoice::Never, script, "", &[]).await;
    let spawned = site.ask(json!({})).await;
    assert_eq!(site.client.outcome(spawned.command).await.status, CommandStatus::Succeeded);
    let pid = site.pid(&spawned.agent);
    let ending = site.asked(&spawned.agent, "shutdown").await;
    let asked = site.project().join("asked");
    eventually("it was asked to end", async || asked.exists().then_some(())).await;
    site.kill_daemon();
    assert!(runs(pid));
    assert_eq!(site.command_of(ending).await.status, CommandStatus::Running);
    site.start_daemon().await;
    let ended = site.client.outcome(ending).await;
    assert_eq!(ended.status, CommandStatus::Succeeded, "{ended:?}");
    assert!(!runs(pid));
    assert_eq!(site.card(&spawned.agent).await.condition, None, "it has not crashed");
}
