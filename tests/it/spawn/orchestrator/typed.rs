//! What people type about an agent that a daemon runs.

use agent_relay::domain::agent::AgentStatus;
use serde_json::json;

use super::Site;
use crate::sessions::runs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_a_daemon_is_restarted_ended_and_brought_back_by_what_is_typed() {
    let site = Site::start().await;
    let agent = site.agent("docs").await.agent;
    let (pid, child) = (site.pid(&agent), site.child("docs"));
    assert!(runs(pid) && runs(child));

    let said = site.types(&["restart", &agent]).done();
    assert!(said.starts_with(&format!("agent {agent} is up again")), "{said}");
    assert!(!runs(pid) && !runs(child), "all of it had ended before it began again");
    let (again, child) = (site.pid(&agent), site.child("docs"));
    assert!(again != pid && runs(again) && runs(child));
    let card = site.card(&agent).await;
    assert_eq!((card.status, card.epoch, card.ready), (AgentStatus::Online, 2, true));

    let command = site.types(&["shutdown", &agent, "--json"]).json();
    assert_eq!((&command["kind"], &command["status"]), (&json!("shutdown"), &json!("succeeded")));
    assert!(command["result"].get("survivors").is_none(), "{command}");
    assert!(!runs(again) && !runs(child), "the command is done when all of it has ended, and not before");
    assert_eq!(site.try_pid(&agent), None);
    let card = site.card(&agent).await;
    assert_eq!((card.status, card.condition), (AgentStatus::Offline, None));

    let said = site.types(&["restart", &agent]).done();
    assert!(said.starts_with(&format!("agent {agent} is up again")), "{said}");
    let back = site.pid(&agent);
    assert_eq!(site.types(&["shutdown", &agent]).done(), format!("agent {agent} has ended\n"));
    assert!(!runs(back));
    assert_eq!(site.starts("docs"), 3, "it was started as often as was asked for");
    let unknown = site.types(&["shutdown", "nobody"]).failed(1);
    assert!(unknown.contains("there is no agent nobody"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_again_is_not_ended() {
    let site = Site::start().await;
    let agent = site.agent("docs").await.agent;
    let pid = site.pid(&agent);
    std::fs::rename(site.project(), site.path().join("base/elsewhere")).expect("moved");
    let said = site.types(&["restart", &agent]).failed(1);
    assert!(said.contains("failed") && said.contains("base/project"), "{said}");
    assert!(runs(pid), "nothing is ended before it is known that it can start again");
    assert_eq!(site.card(&agent).await.status, AgentStatus::Online);
}
