//! The machine ends under its agents.

use agent_relay::domain::agent::{AgentStatus, ConditionKind};
use agent_relay::domain::control::command::CommandStatus;

use super::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_end_with_the_machine_and_one_action_brings_each_back() {
    let mut site = Site::start().await;
    let spawned = site.agent("docs").await;
    site.kill_daemon();
    site.host.end_with_the_machine().await;
    site.start_daemon().await;
    let card = site.card_is(&spawned.agent, "its end is noticed", |card| card.condition.is_some()).await;
    let condition = card.condition.expect("a condition");
    assert_eq!((card.status, condition.kind), (AgentStatus::Offline, ConditionKind::Crashed));
    assert_eq!(condition.detail.as_deref(), Some("ended with the machine"));

    let back = site.act(&spawned.agent, "restart").await;
    assert_eq!(back.status, CommandStatus::Succeeded, "{back:?}");
    let card = site.card(&spawned.agent).await;
    assert_eq!((card.status, card.epoch, card.condition, card.ready), (AgentStatus::Online, 2, None, true));
    site.pid(&spawned.agent);
}
