//! Two daemons of one id: the later one speaks for it, and the earlier one stops.

use agent_relay::domain::control::command::CommandStatus;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Site;
use crate::program::Running as Daemon;
use crate::server::eventually;
use crate::sessions::{end_all, open, runs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_daemon_wins_and_the_earlier_one_stops_acting() {
    let mut site = Site::start().await;
    let spawned = site.agent("docs").await;
    let pid = site.pid(&spawned.agent);
    let first = site.daemon.take().expect("a daemon");
    let second = Daemon::start(&mut site.command("other"));
    second.said("registered as far");
    let (code, log) = first.ended();
    assert_eq!(code, Some(1), "{log:?}");
    let last = log.last().expect("a word");
    assert!(last.contains("another daemon took over orchestrator far") && last.contains("--id"), "{last}");
    assert!(runs(pid), "the agents that it started go on");
    eventually("the list is the later one's", async || {
        site.orchestrator().await?.managed_agents.is_empty().then_some(())
    })
    .await;
    // What is asked now is done by the later one alone.
    site.sign("new");
    let new = site.spawn("new").await;
    let done = site.client.outcome(new.command).await;
    assert_eq!((done.status, site.starts("new")), (CommandStatus::Succeeded, 1), "{done:?}");
    assert!(site.try_pid(&new.agent).is_none(), "it runs with the other one's sessions");
    let directory = site.path().join("other/sessions");
    let others = open(&directory, agent_relay::sessions::TmuxChoice::Never).await;
    assert_eq!(others.list().len(), 1);
    drop(second);
    end_all(&others, &directory);
}

/// One that was cut off while another took over does not come back by registering again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_away_does_not_take_over_again() {
    let mut site = Site::start().await;
    let first = site.daemon.take().expect("a daemon");
    first.signal(Signal::STOP);
    site.wire.sever();
    let second = Daemon::start(&mut site.command("other"));
    second.said("registered as far");
    let taken = eventually("the other one speaks for it", async || {
        site.orchestrator().await.filter(|orchestrator| orchestrator.epoch == 2)
    })
    .await;
    first.signal(Signal::CONT);
    assert_eq!(first.ended().0, Some(1));
    assert_eq!(site.orchestrator().await.expect("it is there").instance_id, taken.instance_id);
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_speaks_for_an_orchestrator_is_guarded() {
    let site = crate::server::Server::start().await;
    let client = &site.client;
    let daemon = |instance: &str| json!({"id": "far", "hostname": "h", "baseDir": "/base", "instanceId": instance});
    let first: Value = client.post("/api/orchestrators", daemon("a")).await.expect(201);
    assert_eq!((&first["instanceId"], &first["epoch"]), (&json!("a"), &json!(1)));
    let again: Value = client.post("/api/orchestrators", daemon("a")).await.expect(201);
    assert_eq!(again["epoch"], 1, "the same daemon again takes nothing over");
    let guard = json!({"instanceId": "a", "epoch": 1});
    let heartbeat = "/api/orchestrators/far/heartbeat?instanceId=a&epoch=1";
    client.post(heartbeat, json!({})).await.expect::<Value>(200);
    let second: Value = client.post("/api/orchestrators", daemon("b")).await.expect(201);
    assert_eq!(second["epoch"], 2);
    let agent: Value = client.get("/api/agents/orchestrator-far").await.expect(200);
    assert_eq!((&agent["instanceId"], &agent["epoch"]), (&json!("b"), &json!(2)));

    client.post(heartbeat, json!({})).await.problem(409, "stale_session");
    let mut list = guard;
    list["agents"] = json!([]);
    client.patch("/api/orchestrators/far/agents", list.clone()).await.problem(409, "stale_session");
    let mut back = daemon("a");
    back["epoch"] = json!(1);
    client.post("/api/orchestrators", back).await.problem(409, "stale_session");
    // Whoever says nothing of that is asked nothing.
    client.post("/api/orchestrators/far/heartbeat", json!({})).await.expect::<Value>(200);
    list["instanceId"] = json!("b");
    list["epoch"] = json!(2);
    client.patch("/api/orchestrators/far/agents", list).await.expect::<Value>(200);
    let unnamed = json!({"id": "far", "hostname": "h", "baseDir": "/base"});
    let kept: Value = client.post("/api/orchestrators", unnamed).await.expect(201);
    assert_eq!((&kept["instanceId"], &kept["epoch"]), (&json!("b"), &json!(2)));
}
