//! Cases: a question in JSON, as far as it matters, and the answer it should have.
//!
//! What a case leaves out is taken from a sample: the administrator, over loopback, has the relay's own
//! host start `claude` in guarded mode in `/code/a`, below the base directory `/code`; a restart or
//! shutdown is aimed at the agent `a1`, which runs there. Nothing else is running. Where a path says no
//! `normalised`, it is made of `given`; where it says no `resolved`, it is the normalised path on the
//! relay's own host, and not known on an orchestrator's.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::domain::control::{Context, Control, RunningAgent};
use crate::domain::path::normalise;
use crate::domain::plan::{LaunchSite, SpawnRequest};

use super::super::manifest::{Grants, PluginKind};
use super::super::samples;

/// Differences that are told of one answer.
const DIFFERENCES_MAX: usize = 20;

/// A question, the settings it is asked under, and the answer it should have.
#[derive(Clone, Debug)]
pub struct Case {
    /// Settings laid over those of the manifest, key by key.
    pub settings: Map<String, Value>,
    /// What is asked.
    pub question: Question,
    /// What should be answered, in the form of [`differences`].
    pub expect: Option<Value>,
}

/// What can be asked of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// May this happen?
    Policy {
        /// What somebody wants done.
        control: Box<Control>,
        /// What is known.
        context: Context,
    },
    /// What exactly would be run?
    Provider {
        /// Who is to be started.
        request: SpawnRequest,
        /// Where.
        site: LaunchSite,
    },
}

impl Case {
    /// Reads a case for a plugin of this kind with these grants.
    ///
    /// # Errors
    /// When it is no JSON object, or says something that a question does not have; each names the key.
    pub fn parse(kind: PluginKind, grants: &Grants, text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut case) = value else { return Err("must be a JSON object".into()) };
        let known: &[&str] = match kind {
            PluginKind::Policy => &["settings", "control", "context", "expect"],
            PluginKind::Provider => &["settings", "request", "site", "expect"],
        };
        only("", &case, known)?;
        let settings = match case.remove("settings") {
            None => Map::new(),
            Some(Value::Object(settings)) => settings,
            Some(_) => return Err("settings: must be an object".into()),
        };
        let question = match kind {
            PluginKind::Policy => Question::Policy {
                control: Box::new(control(case.remove("control"))?),
                context: context(case.remove("context"))?,
            },
            PluginKind::Provider => {
                let request = samples::request(Default::default(), false);
                Question::Provider {
                    request: over("request", &request, case.remove("request"))?,
                    site: over("site", &samples::site(grants), case.remove("site"))?,
                }
            }
        };
        let expect = case.remove("expect");
        if let Some(expect) = &expect {
            check_expect(kind, expect)?;
        }
        Ok(Self { settings, question, expect })
    }
}

fn control(given: Option<Value>) -> Result<Control, String> {
    let wrong = || "control: must be an object with one of `spawn`, `restart` and `shutdown`".to_owned();
    let Some(Value::Object(given)) = given else { return Err(wrong()) };
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

fn context(given: Option<Value>) -> Result<Context, String> {
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

/// The sample, with what is given laid over it at every depth.
fn over<T: DeserializeOwned>(what: &str, sample: &impl Serialize, given: Option<Value>) -> Result<T, String> {
    let mut whole = serde_json::to_value(sample).map_err(|error| format!("{what}: {error}"))?;
    if let Some(given) = given {
        if !given.is_object() {
            return Err(format!("{what}: must be an object"));
        }
        lay_over(&mut whole, given);
    }
    serde_json::from_value(whole).map_err(|error| format!("{what}: {error}"))
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

fn check_expect(kind: PluginKind, expect: &Value) -> Result<(), String> {
    let wrong = || {
        Err(match kind {
            PluginKind::Policy => "expect: must be \"allow\", or an object with one of `deny`, `amend` and `error`",
            PluginKind::Provider => "expect: must be an object with one of `plan` and `error`",
        }
        .to_owned())
    };
    if kind == PluginKind::Policy && expect == "allow" {
        return Ok(());
    }
    let Value::Object(parts) = expect else { return wrong() };
    let mut parts = parts.iter();
    let (Some((answer, body)), None) = (parts.next(), parts.next()) else { return wrong() };
    let fields: &[&str] = match (kind, answer.as_str()) {
        (_, "error") if body.is_string() => return Ok(()),
        (_, "error") => return Err("expect.error: must be text that the error contains".into()),
        (PluginKind::Policy, "deny") => &["code", "reason"],
        (PluginKind::Policy, "amend") => &["cwd", "approvalMode", "reason"],
        (PluginKind::Provider, "plan") => &["program", "args", "env", "cwd", "files", "prompt", "ready"],
        _ => return wrong(),
    };
    match body {
        Value::Object(body) => only(&format!("expect.{answer}"), body, fields),
        _ => Err(format!("expect.{answer}: must be an object")),
    }
}

fn only(place: &str, map: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let dot = if place.is_empty() { "" } else { "." };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key `{place}{dot}{key}`; known are {}", known.join(", "))),
        None => Ok(()),
    }
}

/// One place in which an answer is not what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where, from the answer's top; empty for the answer as a whole.
    pub at: String,
    /// What should be there.
    pub expected: Value,
    /// What is there; null where nothing is.
    pub answered: Value,
}

/// How an answer differs from what was expected, which is `"allow"`, `{"deny": ...}`, `{"amend": ...}`,
/// `{"plan": ...}`, or `{"error": "a text that the error contains"}`. An object lists what must be
/// equal and nothing else; lists are compared whole.
pub fn differences(expected: &Value, answer: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    match (expected.get("error").and_then(Value::as_str), answer.get("error").and_then(Value::as_str)) {
        (Some(text), Some(error)) if error.contains(text) => {}
        (Some(_), _) => {
            found.push(Difference { at: String::new(), expected: expected.clone(), answered: answer.clone() });
        }
        (None, _) => compare("", expected, answer, &mut found),
    }
    found
}

fn compare(at: &str, expected: &Value, answered: &Value, found: &mut Vec<Difference>) {
    if let (Value::Object(expected), Value::Object(answered)) = (expected, answered)
        // Another kind of answer is told as a whole.
        && (!at.is_empty() || expected.keys().all(|key| answered.contains_key(key)))
    {
        for (key, expected) in expected {
            let dot = if at.is_empty() { "" } else { "." };
            compare(&format!("{at}{dot}{key}"), expected, answered.get(key).unwrap_or(&Value::Null), found);
        }
    } else if expected != answered && found.len() < DIFFERENCES_MAX {
        found.push(Difference { at: at.to_owned(), expected: expected.clone(), answered: answered.clone() });
    }
}

#[cfg(test)]
mod tests;
