//! The network between a daemon and its relay is cut, or the relay is away: nothing is lost by that, and nothing done
//! twice.

use agent_relay::domain::agent::AgentStatus;
use agent_relay::domain::control::command::CommandStatus;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Daemon, Site, gone};
use crate::server::eventually;
use crate::sessions::runs;

fn kill(pid: u32) {
    let group = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id");
    kill_process_group(group, Signal::KILL).expect("a living process");
}

/// What happened while nobody could hear of it: a program came up, another ended, a third was asked for.
async fn meanwhile(site: &Site, doomed: &super::Spawned) {
    site.sign("coming");
    eventually("it has come up", async || (site.starts("coming") == 1).then_some(())).await;
    kill(site.pid(&doomed.agent));
    eventually("it has ended", async || site.try_pid(&doomed.agent).is_none().then_some(())).await;
}

async fn all_is_told(site: &Site, coming: &super::Spawned, doomed: &super::Spawned) {
    let command = site.client.outcome(coming.command).await;
    assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
    let card = site.card_is(&coming.agent, "it is ready", |card| card.ready).await;
    assert_eq!((card.status, card.epoch, card.condition), (AgentStatus::Online, 1, None));
    let card = site.card_is(&doomed.agent, "it is known to have ended", |card| card.condition.is_some()).await;
    assert_eq!((card.status, card.ready), (AgentStatus::Offline, false));
    eventually("the list is true", async || {
        let [managed] = &site.orchestrator().await?.managed_agents[..] else { return None };
        (*managed.agent_id == *coming.agent).then_some(())
    })
    .await;
    assert_eq!(site.starts("coming"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_relay_was_away_is_told_when_it_is_back() {
    let mut site = Site::start().await;
    let doomed = site.agent("doomed").await;
    let coming = site.spawn("coming").await;
    eventually("its process runs", async || site.try_pid(&coming.agent)).await;
    eventually("it is noted", async || {
        (site.command_of(coming.command).await.status == CommandStatus::Running).then_some(())
    })
    .await;
    site.kill_relay();
    meanwhile(&site, &doomed).await;
    site.start_relay();
    all_is_told(&site, &coming, &doomed).await;
    assert_eq!(site.act(&coming.agent, "shutdown").await.status, CommandStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_network_was_cut_is_told_when_it_is_whole() {
    let site = Site::start().await;
    let doomed = site.agent("doomed").await;
    let coming = site.spawn("coming").await;
    site.card_is(&coming.agent, "it is known", |card| card.condition.is_some()).await;
    let pid = site.pid(&coming.agent);
    site.wire.hold(true);
    meanwhile(&site, &doomed).await;
    let late = site.asked(&coming.agent, "restart").await;
    assert!(!site.command_of(late).await.status.is_final());
    // The bytes that were on their way are lost with their connections, as after a minute they are.
    site.wire.sever();
    site.wire.hold(false);
    let restarted = site.client.outcome(late).await;
    assert_eq!(restarted.status, CommandStatus::Succeeded, "{restarted:?}");
    assert!(!runs(pid));
    // Whether it was seen to be up in the moment before it was ended is a matter of luck; that it is over is not.
    assert!(site.client.outcome(coming.command).await.status.is_final());
    assert_eq!(site.starts("coming"), 2, "once for the spawn, and once for the restart");
    let card = site.card_is(&coming.agent, "it is ready", |card| card.ready).await;
    assert_eq!((card.status, card.epoch), (AgentStatus::Online, 2));
    let card = site.card_is(&doomed.agent, "it is known to have ended", |card| card.condition.is_some()).await;
    assert_eq!(card.status, AgentStatus::Offline);
}

/// An answer that is lost on its way is asked for again, and what was asked is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_do_no_harm() {
    let site = Site::start().await;
    site.sign("docs");
    let spawned = site.spawn("docs").await;
    let mut cuts = 0;
    let done = eventually("it is up", async || {
        site.wire.sever();
        cuts += 1;
        // Not so often that nothing ever comes through.
        let patience = std::time::Duration::from_millis(20 * (cuts % 40));
        let _ = tokio::time::timeout(patience, std::future::pending::<()>()).await;
        let command = site.command_of(spawned.command).await;
        command.status.is_final().then_some(command)
    })
    .await;
    assert_eq!((done.status, site.starts("docs")), (CommandStatus::Succeeded, 1), "{done:?}");
    let pid = site.pid(&spawned.agent);
    assert_eq!(site.act(&spawned.agent, "shutdown").await.status, CommandStatus::Succeeded);
    gone(pid).await;
}

/// Whoever starts it sees why nothing happens, and need not start it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_a_relay_says_so_and_waits_for_it() {
    let mut site = Site::start().await;
    site.kill_daemon();
    site.kill_relay();
    let daemon = Daemon::start(&mut site.command("far"));
    daemon.complained("the relay does not answer: it is asked until it does");
    site.start_relay();
    daemon.said("registered as far");
    daemon.complained("the relay answers");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().0, Some(0));
}
