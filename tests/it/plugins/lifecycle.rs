//! Each step in a plugin's life is written down, a request keeps its generation to its end, and nobody
//! waits for a load who need not.

mod candidates;
mod fickle;
mod losses;
mod namespaces;
mod operating;
mod quarantine;
mod replacing;
mod sequences;
mod watching;

use agent_relay::plugins::{Action, ChangeKind, PluginState, Plugins, Stage, Step};
use serde_json::{Value, json};

use super::{Home, change, decide, denial, guest, open, policy, put, status, variant};
use crate::server::{Server, eventually};

fn marked(marker: &str) -> String {
    policy("guard", &format!("marker = '{marker}'"))
}

/// A manifest whose component loops while it is loaded, for as long as any call may.
fn endless(id: &str) -> String {
    format!("id = '{id}'\nkind = 'policy'\n[limits]\ndeadline_ms = 10000\n[settings]\nid = '{id}'\ncheck = 'loop'\n")
}

fn states(steps: &[Step]) -> Vec<PluginState> {
    steps.iter().map(|step| step.state).collect()
}

const LOADED: [PluginState; 5] =
    [PluginState::Staged, PluginState::Inspected, PluginState::Compiled, PluginState::Probed, PluginState::Active];

#[tokio::test]
async fn every_step_is_written_down() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &marked("one"), &wasm);
    let plugins = home.open().await;
    let first = status(&plugins, "guard", PluginState::Active);
    let steps = plugins.history("guard");
    assert_eq!(states(&steps), LOADED);
    assert!(steps.is_sorted_by_key(|step| step.at) && steps[0].at > 0, "{steps:#?}");
    assert!(steps.iter().all(|step| step.digest == first.digest && step.by.is_none() && step.reason.is_none()));
    assert_eq!(steps.iter().map(|step| step.generation).collect::<Vec<_>>(), [None, None, None, None, Some(1)]);

    let mut changes = plugins.changes();
    home.put("guard", &marked("two"), &variant(&wasm, 1));
    plugins.reload(Some("ada".to_owned())).await;
    let second = status(&plugins, "guard", PluginState::Active);
    let told = changes.recv().await.expect("a change");
    assert_eq!((told.kind, told.by.as_deref()), (ChangeKind::Activated, Some("ada")));
    let replaced = [&LOADED[..], &[PluginState::Draining, PluginState::Retired]].concat();
    assert_eq!(states(&told.steps), replaced, "told with what took its place, for nobody used it any more");
    assert_eq!(plugins.history("guard")[LOADED.len()..], told.steps);
    let of = |steps: &[Step], generation| {
        let of = steps.iter().filter(|step| step.generation == Some(generation));
        of.map(|step| (step.state, step.digest.clone())).collect::<Vec<_>>()
    };
    assert_eq!(of(&told.steps, 2), [(PluginState::Active, second.digest)]);
    assert_eq!(
        of(&told.steps, 1),
        [(PluginState::Draining, first.digest.clone()), (PluginState::Retired, first.digest)]
    );
    assert!(told.steps[..LOADED.len()].iter().all(|step| step.by.as_deref() == Some("ada")), "{:#?}", told.steps);

    home.put("guard", &marked("three"), b"garbage");
    plugins.reload(None).await;
    let told = change_of(&mut changes, ChangeKind::Rejected).await;
    assert_eq!(states(&told), [PluginState::Staged, PluginState::Inspected, PluginState::Rejected]);
    let last = told.last().expect("a step");
    assert_eq!((last.stage, last.digest.as_deref().map(str::len)), (Some(Stage::Compile), Some(64)));
    assert!(last.reason.as_deref().is_some_and(|reason| reason.starts_with("not WebAssembly at all")), "{last:?}");

    plugins.act("guard", Action::Disable, Some("bob".to_owned())).await.expect("disabled");
    let told = change_of(&mut changes, ChangeKind::Disabled).await;
    assert_eq!(states(&told), [PluginState::Disabled, PluginState::Draining, PluginState::Retired]);
    assert_eq!((told[0].by.as_deref(), told[0].stage), (Some("bob"), Some(Stage::Disabled)));
    assert!(plugins.history("nobody").is_empty());
}

async fn change_of(
    changes: &mut tokio::sync::broadcast::Receiver<agent_relay::plugins::PluginChange>,
    kind: ChangeKind,
) -> Vec<Step> {
    let change = changes.recv().await.expect("a change");
    assert_eq!(change.kind, kind, "{change:#?}");
    change.steps
}

#[tokio::test]
async fn a_generation_drains_until_the_last_request_that_uses_it_has_ended() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &marked("one"), &wasm);
    let plugins = home.open().await;
    let requests = [plugins.current(), plugins.current()];
    let mut changes = plugins.changes();
    home.put("guard", &marked("two"), &wasm);
    plugins.reload(None).await;
    // Replaced twice over: it is in use by requests that began two sets ago.
    home.put("other", &policy("other", ""), &wasm);
    plugins.reload(None).await;

    let draining = status(&plugins, "guard", PluginState::Draining);
    assert_eq!((draining.generation, draining.error), (Some(1), None));
    assert_eq!(status(&plugins, "guard", PluginState::Active).generation, Some(2));
    assert_eq!(plugins.list()[0].state, PluginState::Active, "the active one comes first");
    let decision = requests[0].decide(super::spawn("deny"), &super::context()).await;
    assert_eq!(denial(&decision).1, "one", "a request keeps what it began with");
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");

    let [first, second] = requests;
    drop(first);
    assert_eq!(status(&plugins, "guard", PluginState::Draining).generation, Some(1));
    assert!(!states(&plugins.history("guard")).contains(&PluginState::Retired));
    drop(second);
    change(&mut changes, ChangeKind::Retired, "guard").await;
    assert!(plugins.list().iter().all(|plugin| plugin.state == PluginState::Active), "{:#?}", plugins.list());
    let last = plugins.history("guard").pop().expect("a step");
    assert_eq!((last.state, last.generation), (PluginState::Retired, Some(1)));
}

#[tokio::test]
async fn a_newer_change_overtakes_a_load_and_nobody_waits_for_it() {
    let home = Home::new();
    let wasm = guest("misbehave");
    home.put("guard", &marked("one"), &wasm);
    home.put("other", &policy("other", ""), &wasm);
    let plugins = home.open().await;
    home.put("guard", &endless("guard"), &variant(&wasm, 1));
    let slow = tokio::spawn({
        let plugins = plugins.clone();
        async move { plugins.reload(None).await }
    });
    eventually("the candidate is being loaded", async || {
        let candidate = plugins.list().into_iter().find(|plugin| plugin.state == PluginState::Compiled)?;
        assert!(candidate.id == "guard" && candidate.since.is_some() && candidate.digest.is_some(), "{candidate:?}");
        Some(())
    })
    .await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "one", "the one before it is asked meanwhile");

    // What concerns others is done at once.
    let disabled = plugins.act("other", Action::Disable, None).await.expect("disabled");
    assert_eq!(disabled.state, PluginState::Disabled);
    assert!(!slow.is_finished());

    home.put("guard", &marked("two"), &variant(&wasm, 2));
    let listed = plugins.reload(None).await;
    assert_eq!(denial(&decide(&plugins, "deny").await).1, "two");
    assert!(listed.iter().all(|plugin| plugin.id != "guard" || plugin.state == PluginState::Active), "{listed:#?}");
    let after = slow.await.expect("an answer");
    assert!(after.iter().all(|plugin| plugin.state != PluginState::Rejected), "{after:#?}");
    let steps = plugins.history("guard");
    let overtaken = steps.iter().find(|step| step.state == PluginState::Rejected).expect("it was overtaken");
    assert_eq!(overtaken.stage, Some(Stage::Probe));
    assert_eq!(overtaken.reason.as_deref(), Some("overtaken: its folder changed again"));
    assert_eq!(status(&plugins, "guard", PluginState::Active).generation, Some(2), "what was overtaken has no number");
}

/// What is being loaded is never what an operator has decided against.
#[tokio::test]
async fn a_decision_overtakes_a_load() {
    let home = Home::new();
    let wasm = guest("misbehave");
    for marker in ["one", "two"] {
        home.put("guard", &marked(marker), &wasm);
        home.open().await;
    }
    let plugins = home.open().await;
    for (action, then) in [(Action::RollBack, Some("one")), (Action::Disable, None)] {
        home.put("guard", &endless("guard"), &wasm);
        let slow = tokio::spawn({
            let plugins = plugins.clone();
            async move { plugins.reload(None).await }
        });
        eventually("the candidate is being loaded", async || {
            plugins.list().iter().any(|plugin| plugin.state == PluginState::Compiled).then_some(())
        })
        .await;
        plugins.act("guard", action.clone(), None).await.expect("done");
        slow.await.expect("an answer");
        let decision = decide(&plugins, "deny").await;
        match then {
            Some(marker) => assert_eq!(denial(&decision).1, marker),
            None => assert!(decision.verdicts.is_empty(), "{decision:?}"),
        }
        // Neither does the directory's next look bring it back.
        plugins.reload(None).await;
        assert_eq!(decide(&plugins, "deny").await.outcome, decision.outcome);
        home.put("guard", &marked("three"), &wasm);
        plugins.reload(None).await;
    }
}

/// While the relay is opened, there is nobody to be kept waiting, and everything is loaded.
#[tokio::test]
async fn a_full_directory_is_loaded_when_the_relay_is_open() {
    let home = Home::new();
    for number in 0..40 {
        home.put(&format!("guard-{number}"), &policy(&format!("guard-{number}"), ""), &guest("misbehave"));
    }
    let plugins: Plugins = open(home.options()).await;
    let listed = plugins.list();
    assert_eq!(listed.len(), 40);
    assert!(listed.iter().all(|plugin| plugin.state == PluginState::Active), "{listed:#?}");
}

#[tokio::test]
async fn callers_see_every_step() {
    let (server, directory) = Server::start_unwatched().await;
    let client = &server.client;
    let mut stream = client.follow("types=plugin.updated,activity.new").await;
    put(&directory.join("guard"), &marked("one"), &guest("misbehave"));
    client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
    client.post("/api/plugins/guard/disable", json!({})).await.expect::<Value>(202);
    for (what, states) in [
        ("activated", vec!["staged", "inspected", "compiled", "probed", "active"]),
        ("disabled", vec!["disabled", "draining", "retired"]),
    ] {
        let told = stream.next_event("plugin.updated").await;
        assert_eq!(told.text("change"), what);
        let steps = told.data["steps"].as_array().expect("steps");
        assert_eq!(steps.iter().map(|step| step["state"].as_str().expect("a state")).collect::<Vec<_>>(), states);
        for step in steps {
            assert!(step["at"].is_u64() && step["digest"].as_str().map(str::len) == Some(64), "{step}");
        }
        assert_eq!(told.text("by"), "dashboard", "{}", told.data);
        let entry = stream.next_event("activity.new").await;
        assert_eq!(entry.data["metadata"]["by"], "dashboard", "{}", entry.data);
    }
    let guard: Value = client.get("/api/plugins/guard").await.expect(200);
    assert_eq!((&guard["state"], guard["history"].as_array().map(Vec::len)), (&json!("disabled"), Some(8)));
    assert_eq!(guard["history"][5]["reason"], guard["error"]["reason"]);
    let metrics = client.get("/metrics").await.text;
    for state in ["staged", "inspected", "compiled", "probed", "active", "disabled", "draining", "retired"] {
        let line = format!("agent_relay_plugin_transitions_total{{plugin=\"guard\",state=\"{state}\"}}");
        assert!(metrics.contains(&line), "no {line}");
    }
}
