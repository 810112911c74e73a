//! Cases: a question in JSON, as far as it matters, and the answer it should have.
//!
//! What a case leaves out is taken from a sample: the administrator, over loopback, has the relay's own
//! host start `claude` in guarded mode in `/code/a`, below the base directory `/code`; a restart or
//! shutdown is aimed at the agent `a1`, which runs there. Nothing else is running. Where a path says no
//! `normalised`, it is made of `given`; where it says no `resolved`, it is the normalised path on the
//! relay's own host, and not known on an orchestrator's. A message is a short one from `alice` that
//! disturbs nobody.

mod control;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::control::{Context, Control};
use crate::domain::plan::{IncomingMessage, LaunchSite, SpawnRequest, StopReason};

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

/// What can be asked of a plugin: one variant for each function of its interface.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Of a policy: may this happen?
    Decide {
        /// What somebody wants done.
        control: Box<Control>,
        /// What is known.
        context: Context,
    },
    /// Of a provider: what exactly would be run?
    Plan {
        /// Who is to be started.
        request: SpawnRequest,
        /// Where.
        site: LaunchSite,
    },
    /// Of a provider: how is this message typed into a running session?
    Present(IncomingMessage),
    /// Of a provider: how is a running session asked to end?
    Stop(StopReason),
}

impl Case {
    /// Reads a case for a plugin of this kind with these grants.
    ///
    /// # Errors
    /// When it is no JSON object, or says something that a question does not have; each names the key.
    pub fn parse(kind: PluginKind, grants: &Grants, text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut case) = value else { return Err("must be a JSON object".into()) };
        let function = Function::asked_by(&case, kind)?;
        let settings = match case.remove("settings") {
            None => Map::new(),
            Some(Value::Object(settings)) => settings,
            Some(_) => return Err("settings: must be an object".into()),
        };
        let question = match function {
            Function::Decide => Question::Decide {
                control: Box::new(control::control(case.remove("control"))?),
                context: control::context(case.remove("context"))?,
            },
            Function::Plan => {
                let request = samples::request(Default::default(), false);
                Question::Plan {
                    request: over("request", &request, case.remove("request"))?,
                    site: over("site", &samples::site(grants), case.remove("site"))?,
                }
            }
            Function::Present => Question::Present(over("message", &samples::message(), case.remove("message"))?),
            Function::Stop => Question::Stop(reason(case.remove("reason"))?),
        };
        let expect = case.remove("expect");
        if let Some(expect) = &expect {
            function.check_expect(expect)?;
        }
        Ok(Self { settings, question, expect })
    }
}

/// A function of a plugin's interface that a case can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Decide,
    Plan,
    Present,
    Stop,
}

impl Function {
    const ALL: [Self; 4] = [Self::Decide, Self::Plan, Self::Present, Self::Stop];

    fn kind(self) -> PluginKind {
        if self == Self::Decide { PluginKind::Policy } else { PluginKind::Provider }
    }

    /// The keys of a case that hold what it is asked with.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Decide => &["control", "context"],
            Self::Plan => &["request", "site"],
            Self::Present => &["message"],
            Self::Stop => &["reason"],
        }
    }

    /// What can be expected of it beside an error and `"allow"`, with the fields of each.
    fn answers(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Decide => &[("deny", &["code", "reason"]), ("amend", &["cwd", "approvalMode", "reason"])],
            Self::Plan => &[("plan", &["program", "args", "env", "cwd", "files", "prompt", "ready"])],
            Self::Present => &[("presentation", &["keysBefore", "text", "submit"])],
            Self::Stop => &[("stopPlan", &["keys", "graceMs"])],
        }
    }

    /// The one function that a case asks of a plugin of this kind: the first of that kind, unless
    /// the case holds the arguments of another.
    fn asked_by(case: &Map<String, Value>, kind: PluginKind) -> Result<Self, String> {
        let of = |key: &str| Self::ALL.into_iter().find(|function| function.arguments().contains(&key));
        let mut asked: Option<(Self, &str)> = None;
        for key in case.keys() {
            match (of(key), asked) {
                (Some(function), _) if function.kind() != kind => {
                    return Err(format!(
                        "`{key}` asks a {}, and this plugin is a {}; {}",
                        function.kind().as_str(),
                        kind.as_str(),
                        known_to(kind)
                    ));
                }
                (Some(function), Some((other, first))) if function != other => {
                    return Err(format!("`{first}` and `{key}` are two questions; a case asks one"));
                }
                (Some(function), _) => asked = Some((function, key)),
                (None, _) if key == "settings" || key == "expect" => {}
                (None, _) => return Err(format!("unknown key `{key}`; {}", known_to(kind))),
            }
        }
        let plain = if kind == PluginKind::Policy { Self::Decide } else { Self::Plan };
        Ok(asked.map_or(plain, |(function, _)| function))
    }

    fn check_expect(self, expect: &Value) -> Result<(), String> {
        let wrong = || {
            let allow = if self == Self::Decide { "\"allow\", or " } else { "" };
            let names: Vec<String> = self.answers().iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(format!("expect: must be {allow}an object with one of {} and `error`", names.join(", ")))
        };
        if self == Self::Decide && expect == "allow" {
            return Ok(());
        }
        let Value::Object(parts) = expect else { return wrong() };
        let mut parts = parts.iter();
        let (Some((answer, body)), None) = (parts.next(), parts.next()) else { return wrong() };
        if answer == "error" {
            return if body.is_string() {
                Ok(())
            } else {
                Err("expect.error: must be text that the error contains".into())
            };
        }
        let Some((_, fields)) = self.answers().iter().find(|(name, _)| name == answer) else { return wrong() };
        match body {
            Value::Object(body) => only(&format!("expect.{answer}"), body, fields),
            _ => Err(format!("expect.{answer}: must be an object")),
        }
    }
}

/// The keys that a case for a plugin of this kind may have, in words.
fn known_to(kind: PluginKind) -> String {
    let of_kind = Function::ALL.into_iter().filter(|function| function.kind() == kind);
    let arguments: Vec<&str> = of_kind.flat_map(Function::arguments).copied().collect();
    format!("known are settings, {}, expect", arguments.join(", "))
}

fn reason(given: Option<Value>) -> Result<StopReason, String> {
    match given.as_ref().and_then(Value::as_str) {
        Some("shutdown") => Ok(StopReason::Shutdown),
        Some("restart") => Ok(StopReason::Restart),
        Some("failed") => Ok(StopReason::Failed),
        _ => Err("reason: must be one of \"shutdown\", \"restart\" and \"failed\"".into()),
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
/// `{"plan": ...}`, `{"presentation": ...}`, `{"stopPlan": ...}`, or `{"error": "a text that the error contains"}`. An object lists what must be
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
