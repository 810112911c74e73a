//! Plugins by typed requests.

use agent_relay::client::control::SpawnOrder;
use agent_relay::domain::control::VerdictKind;
use serde_json::{Value, json};

use crate::server::{SHIPPED, Server};

#[tokio::test]
async fn plugins_are_listed_asked_and_decided_about() {
    let server = Server::start().await;
    let plugins = server.client.relay.plugins();
    let listed = plugins.list().send().await.expect("a list");
    assert_eq!(listed.iter().map(|plugin| plugin.id.as_str()).collect::<Vec<_>>(), SHIPPED);
    assert!(listed.iter().all(|plugin| plugin.state == "active" && plugin.origin.as_deref() == Some("built-in")));
    let claude = plugins.get("claude").send().await.expect("a plugin");
    assert_eq!(claude.plugin.kind.as_deref(), Some("provider"));
    assert_eq!(claude.history.last().expect("steps").state, "active");
    assert!(plugins.get("aider").send().await.expect_err("no such plugin").is("not_found"));

    let Value::Object(control) = json!({"kind": "spawn", "provider": "claude", "cwd": "/"}) else {
        panic!("an object");
    };
    let evaluated = plugins.evaluate(&control).send().await.expect("an evaluation");
    assert_eq!(evaluated.outcome, "denied");
    let last = evaluated.verdicts.last().expect("verdicts");
    assert_eq!((last.plugin.as_str(), last.verdict), ("containment", VerdictKind::Deny));
    assert_eq!(evaluated.reason, last.reason);
    let order = SpawnOrder { prompt: Some("hello".to_owned()), ..SpawnOrder::of("claude") };
    let planned = plugins.plan(&order).send().await.expect("a plan");
    assert_eq!(planned.provider, "claude");
    assert!(planned.plan.program.ends_with("claude") && planned.sha256.len() == 64, "{planned:?}");

    let refused = server.client.relay.control().spawn(&SpawnOrder { cwd: Some("/".to_owned()), ..order });
    refused.send().await.expect_err("outside");
    let decisions = plugins.decisions(None, Some(10)).send().await.expect("decisions");
    assert_eq!(decisions.len(), 1);
    let earlier = plugins.decisions(Some(decisions[0].command_id), None).send().await;
    assert_eq!(earlier.expect("decisions"), []);

    assert_eq!(plugins.disable("codex").send().await.expect("a plugin").state, "disabled");
    assert_eq!(plugins.enable("codex").send().await.expect("a plugin").state, "active");
    assert!(plugins.roll_back("codex").send().await.is_err_and(|error| error.is("plugin_state")));
    assert!(plugins.allow("codex", "none").send().await.is_err_and(|error| error.is("plugin_state")));
    assert_eq!(plugins.reload().send().await.expect("a list").len(), SHIPPED.len());
}
