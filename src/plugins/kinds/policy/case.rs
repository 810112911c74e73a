//! What a policy is asked, made whole from what a case says of it.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::domain::control::{Context, Control, RunningAgent};
use crate::domain::text::path::normalise;

use super::super::overlay::{only, over};
use super::samples;

/// What somebody wants done, each path of it complete: the spawn of the sample, unless something is said.
pub(crate) fn control(given: Option<Value>) -> Result<Control, String> {
    let wrong = || "control: must be an object with one of `spawn`, `restart` and `shutdown`".to_owned();
    // A spawn is what most policies are about.
    let given = given.unwrap_or_else(|| json!({"spawn": {}}));
    let Value::Object(given) = given else { return Err(wrong()) };
    only("control", &given, &["spawn", "restart", "shutdown"])?;
    let mut parts = given.into_iter();
    let (Some((kind, mut body)), None) = (parts.next(), parts.next()) else { return Err(wrong()) };
    let sample = if kind == "spawn" {
        let local = is_local(&body["site"]);
        let base = complete(&mut body["site"], "baseDir", "/", local).unwrap_or_else(|| "/code".into());
        complete(&mut body, "cwd", &base, local);
        discard_null(&mut body, "site");
        spawn(local)
    } else {
        target(&mut body)?
    };
    over("control", &Value::Object(Map::from_iter([(kind.clone(), sample)])), Some(json!({ kind: body })))
}

/// A target of the same form as the one given; what is given is completed.
fn target(given: &mut Value) -> Result<Value, String> {
    let wrong = || "control: a target must be an object with one of `agent` and `everyAgentOf`".to_owned();
    let Value::Object(parts) = &mut *given else { return Err(wrong()) };
    only("control", parts, &["agent", "everyAgentOf"])?;
    if parts.len() != 1 {
        return Err(wrong());
    }
    if let Some(agent) = parts.get_mut("agent") {
        let has_site = agent.get("site").is_some_and(Value::is_object);
        let local = !has_site || is_local(&agent["site"]);
        if has_site {
            complete(&mut agent["site"], "baseDir", "/", local);
        }
        return Ok(json!({"agent": {
            "id": "a1", "name": "a1", "label": null, "tags": [], "capabilities": [], "machine": null,
            "status": "online", "site": site(local),
        }}));
    }
    let every = &mut parts["everyAgentOf"];
    let local = is_local(every);
    complete(every, "baseDir", "/", local);
    Ok(json!({"everyAgentOf": site(local)}))
}

/// What is known, the same whenever it is asked.
pub(crate) fn context(given: Option<Value>) -> Result<Context, String> {
    let mut sample = samples::context();
    sample.caller.name = "admin".into();
    // A case must come out the same whenever it is asked.
    sample.now = 1_700_000_000_000;
    let mut given = given.unwrap_or_else(|| json!({}));
    if let Some(Value::Array(running)) = given.get_mut("running") {
        let one = json!({
            "agentId": "a1", "provider": "claude", "cwd": "/code/a", "label": null, "approvalMode": "guarded",
            "orchestrator": null, "startedAtMs": 1_700_000_000_000_i64,
        });
        for agent in running {
            let whole: RunningAgent = over("context.running", &one, Some(agent.take()))?;
            *agent = json!(whole);
        }
    }
    over("context", &sample, Some(given))
}

fn spawn(local: bool) -> Value {
    json!({
        "provider": "claude", "approvalMode": "guarded", "cwd": path("/code/a", local), "label": null, "prompt": null,
        "site": site(local),
    })
}

fn site(local: bool) -> Value {
    json!({
        "orchestrator": if local { Value::Null } else { "builder".into() }, "hostname": "host",
        "baseDir": path("/code", local),
    })
}

fn path(path: &str, local: bool) -> Value {
    json!({"given": path, "normalised": path, "resolved": local.then_some(path)})
}

/// Whether a site is the relay's own host, as it is unless it names an orchestrator.
fn is_local(site: &Value) -> bool {
    site.get("orchestrator").is_none_or(Value::is_null)
}

/// Fills in what a path leaves out, and says where it is.
fn complete(parent: &mut Value, key: &str, base: &str, local: bool) -> Option<String> {
    let path = parent.get_mut(key)?.as_object_mut()?;
    let given = path.get("given")?.as_str()?;
    let normal = normalise(&Path::new(base).join(given)).to_string_lossy().into_owned();
    let normal = path.entry("normalised").or_insert_with(|| normal.into()).clone();
    path.entry("resolved").or_insert_with(|| if local { normal.clone() } else { Value::Null });
    normal.as_str().map(str::to_owned)
}

/// Indexing made a null where there was nothing.
fn discard_null(value: &mut Value, key: &str) {
    if let Some(map) = value.as_object_mut()
        && map.get(key).is_some_and(Value::is_null)
    {
        map.remove(key);
    }
}
