//! Replacing the rule about directories while control requests are made: the new one decides from the moment it is
//! announced, a broken one changes nothing, and no request fails over it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Site;
use super::exchange::Exchange;
use crate::plugins::{guest, policy, put, write};
use crate::server::{Client, Frame, Stream, eventually};

/// Who make control requests all the time.
const CONTROLLERS: usize = 8;
/// What the new rule says to everything.
const NO: &str = "nobody starts anything on a Sunday";

/// Replaces the rule under way, breaks it, and takes it away again. `provider` can be started on the relay's host.
pub(super) async fn replace(site: &Site, provider: &str) {
    let client = &site.client;
    // It offers the other provider, so that this one is still the relay's own business.
    let elsewhere = if provider == "claude" { "codex" } else { "claude" };
    let registration = json!({"id": "far", "hostname": "far", "baseDir": "/base", "providers": [elsewhere]});
    client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    let mut plugins = client.follow("types=plugin.updated").await;
    let exchange = Exchange::begin(client).await;
    let controllers = Controllers::begin(client, elsewhere);
    controllers.go_on().await;

    let rule = site.rule();
    let next = rule.with_file_name(".next");
    let wasm = guest("misbehave");
    put(&next, &policy("containment", &format!("decide = 'deny'\nmarker = '{NO}'")), &wasm);
    fs::rename(&next, &rule).expect("moved into place");
    let active = changed(&mut plugins, "activated").await;
    assert_eq!(active.data["origin"], "directory", "{active:?}");
    assert_denied(client, provider).await;
    controllers.go_on().await;

    write(&rule.join("plugin.wasm"), b"this is no component");
    let rejected = changed(&mut plugins, "rejected").await;
    let listed: Vec<Value> = client.get("/api/plugins").await.expect(200);
    let entry = |state: &str| {
        let found = listed.iter().find(|plugin| plugin["id"] == "containment" && plugin["state"] == state);
        found.unwrap_or_else(|| panic!("no {state} containment in {listed:?}"))
    };
    assert_eq!(entry("active")["digest"], active.data["digest"], "the old rule stays");
    let error = &entry("rejected")["error"];
    assert_eq!(error["stage"], "compile", "{error}");
    assert!(error["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{error}");
    assert_eq!(rejected.data["error"]["reason"], error["reason"]);
    assert_denied(client, provider).await;
    controllers.go_on().await;
    controllers.end().await;

    // With the folder goes its rule, and the relay's own one is asked again.
    fs::remove_dir_all(&rule).expect("removed");
    eventually("the relay's own rule is back", async || {
        let plugin: Value = client.get("/api/plugins/containment").await.expect(200);
        (plugin["origin"] == "built-in").then_some(())
    })
    .await;
    let answer = client.post("/api/orchestrators/far/spawn", json!({"provider": elsewhere})).await;
    answer.expect::<Value>(202);
    let ask = json!({"provider": elsewhere, "cwd": "/base/../etc"});
    let problem = client.post("/api/orchestrators/far/spawn", ask).await.problem(403, "policy_denied");
    assert_eq!(problem["detail"], "cwd must be within orchestrator base directory: /base");
    exchange.end().await;
    client.delete("/api/orchestrators/far").await.expect::<Value>(200);
}

/// The next change of the rule of this kind.
async fn changed(stream: &mut Stream, change: &str) -> Frame {
    loop {
        let frame = stream.next_event("plugin.updated").await;
        if frame.data["id"] == "containment" && frame.data["change"] == change {
            return frame;
        }
    }
}

/// The new rule decides about everything that is started, here and elsewhere.
async fn assert_denied(client: &Client, provider: &str) {
    let problem = client.post("/api/agents/spawn", json!({"provider": provider, "cwd": "project"})).await;
    let problem = problem.problem(403, "policy_denied");
    assert_eq!((&problem["detail"], &problem["policy"]), (&json!(NO), &json!("containment")));
    let ask = json!({"kind": "spawn", "provider": provider});
    let opinion: Value = client.post("/api/plugins/evaluate", ask).await.expect(200);
    assert_eq!((&opinion["outcome"], &opinion["reason"]), (&json!("denied"), &json!(NO)));
}

/// Clients that have an orchestrator start something, again and again. Each expects to be allowed, and from some moment
/// on to be denied by the new rule: nothing else, and never the other way round.
struct Controllers {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: JoinSet<(usize, usize)>,
}

impl Controllers {
    fn begin(client: &Client, provider: &'static str) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CONTROLLERS {
            clients.spawn(control(client.clone(), provider, number, stop.clone(), asked.clone()));
        }
        Self { stop, asked, clients }
    }

    /// Waits until each of them has made some more requests.
    async fn go_on(&self) {
        let enough = self.asked.load(Ordering::Relaxed) + 3 * CONTROLLERS;
        eventually("more control requests", async || (self.asked.load(Ordering::Relaxed) >= enough).then_some(()))
            .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for (allowed, denied) in self.clients.join_all().await {
            assert!(allowed > 0 && denied > 0, "{allowed} allowed before, {denied} denied after");
        }
    }
}

/// How many requests were allowed, and how many denied.
async fn control(
    client: Client,
    provider: &'static str,
    number: usize,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
) -> (usize, usize) {
    let (mut allowed, mut denied) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let ask = json!({"provider": provider, "cwd": format!("of-{number}")});
        let answer = client.post("/api/orchestrators/far/spawn", ask).await;
        if answer.status == 202 {
            assert_eq!(denied, 0, "the old rule decided after the new one");
            allowed += 1;
        } else {
            assert_eq!(answer.problem(403, "policy_denied")["detail"], NO);
            denied += 1;
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    (allowed, denied)
}
