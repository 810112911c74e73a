//! What a host takes on at most.

use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;

use super::{SCRIPT, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_has_room_for_so_many_agents() {
    let site = Site::start_with(TmuxChoice::Never, SCRIPT, "", &["--max-agents", "1"]).await;
    let first = site.agent("first").await;
    let second = site.spawn("second").await;
    let refused = site.client.outcome(second.command).await;
    assert_eq!(refused.status, CommandStatus::Failed);
    let error = refused.error.expect("a reason");
    assert!(error.contains("runs 1 agents, which is the most it takes (--max-agents)"), "{error}");
    assert_eq!(site.host.running().len(), 1, "nothing was started");
    // Whoever is there may be started again, and makes room when it ends.
    assert_eq!(site.act(&first.agent, "restart").await.status, CommandStatus::Succeeded);
    assert_eq!(site.act(&first.agent, "shutdown").await.status, CommandStatus::Succeeded);
    site.agent("third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_memory_starts_nothing() {
    let site = Site::start_with(TmuxChoice::Never, SCRIPT, "", &["--min-free-memory", "99999999"]).await;
    let spawned = site.spawn("first").await;
    let refused = site.client.outcome(spawned.command).await;
    assert_eq!(refused.status, CommandStatus::Failed);
    let error = refused.error.expect("a reason");
    assert!(error.contains("from 99999999 MiB on (--min-free-memory)"), "{error}");
    assert!(site.host.running().is_empty());
}
