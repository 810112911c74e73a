//! A host asks its own policies again, with the paths as they are there.

use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;
use serde_json::json;

use super::{SCRIPT, Site};
use crate::plugins::{guest, policy, put};
use crate::server::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_host_alone_refuses() {
    let settings = "settings.max_approval_mode = 'read-only'\n";
    let site = Site::start_with(TmuxChoice::Never, SCRIPT, settings, &[]).await;
    let spawned = site.spawn("docs").await;
    let refused = site.client.outcome(spawned.command).await;
    assert_eq!(refused.status, CommandStatus::Failed);
    assert!(refused.decision.iter().all(|verdict| verdict.verdict.as_str() == "allow"), "the relay allowed it");
    let error = refused.error.expect("a reason");
    assert!(error.starts_with("policy control-guard of this host: approval mode guarded is wider"), "{error}");
    assert!(site.host.running().is_empty() && site.host.sessions.list().is_empty());
    site.sign("narrow");
    let narrow = site.ask(json!({"label": "narrow", "approvalMode": "read-only"})).await;
    assert_eq!(site.client.outcome(narrow.command).await.status, CommandStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_leads_out_of_the_base_directory_is_seen_on_the_host() {
    let site = Site::start().await;
    std::os::unix::fs::symlink("/", site.path().join("base/out")).expect("a link");
    let spawned = site.ask(json!({"cwd": "out"})).await;
    let refused = site.client.outcome(spawned.command).await;
    assert_eq!(refused.status, CommandStatus::Failed);
    let error = refused.error.expect("a reason");
    assert!(
        error.contains("policy containment of this host: cwd must be within orchestrator base directory"),
        "{error}"
    );
    let missing = site.ask(json!({"cwd": "nowhere"})).await;
    let error = site.client.outcome(missing.command).await.error.expect("a reason");
    assert!(error.contains("cwd is not a directory"), "{error}");
    assert!(site.host.sessions.list().is_empty());
}

/// The directory of plugins is the daemon's own, and watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_put_there_decides_at_once() {
    let site = Site::start().await;
    site.agent("before").await;
    let folder = site.path().join("far/plugins/nobody");
    put(&folder, &policy("nobody", "decide = 'deny'\nmarker = 'none of that'"), &guest("misbehave"));
    let refused = eventually("it refuses", async || {
        let spawned = site.spawn("before").await;
        let outcome = site.client.outcome(spawned.command).await;
        (outcome.status == CommandStatus::Failed).then_some(outcome)
    })
    .await;
    assert_eq!(refused.error.as_deref(), Some("policy nobody of this host: none of that"));
}
