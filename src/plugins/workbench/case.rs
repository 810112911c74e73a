//! Cases: a question in JSON, as far as it matters, and the answer it should have.
//!
//! What a case leaves out is taken from a sample: the administrator, over loopback, has the relay's own
//! host start `claude` in guarded mode in `/code/a`, below the base directory `/code`; a restart or
//! shutdown is aimed at the agent `a1`, which runs there. Nothing else is running. Where a path says no
//! `normalised`, it is made of `given`; where it says no `resolved`, it is the normalised path on the
//! relay's own host, and not known on an orchestrator's. A message is a short one from `alice` that
//! disturbs nobody. A session runs in `/srv/code/project` with process 4711 and no file; its screen is empty and has
//! stood still for ten seconds; a notice tells of message 17, and what was seen before it is an idle input.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::kinds::{self, Function, Question, only};
use super::super::package::{Grants, PluginKind};

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

impl Case {
    /// Reads a case for a plugin of this kind with these grants.
    ///
    /// # Errors
    /// When it is no JSON object, or says something that a question does not have; each names the key.
    pub fn parse(kind: PluginKind, grants: &Grants, text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut case) = value else { return Err("must be a JSON object".into()) };
        let function = asked_by(&case, kind)?;
        let settings = match case.remove("settings") {
            None => Map::new(),
            Some(Value::Object(settings)) => settings,
            Some(_) => return Err("settings: must be an object".into()),
        };
        let question = kinds::of(kind).question(function, &mut case, grants)?;
        let expect = case.remove("expect");
        if let Some(expect) = &expect {
            check_expect(function, expect)?;
        }
        Ok(Self { settings, question, expect })
    }
}

/// The one function that a case asks of a plugin of this kind: the first of that kind, unless the case holds
/// the arguments of another.
fn asked_by(case: &Map<String, Value>, kind: PluginKind) -> Result<&'static Function, String> {
    let of = |key: &str| {
        let functions = |kind: PluginKind| kinds::of(kind).functions().iter().map(move |function| (kind, function));
        PluginKind::ALL.into_iter().flat_map(functions).find(|(_, function)| function.arguments.contains(&key))
    };
    let mut asked: Option<(&'static Function, &str)> = None;
    for key in case.keys() {
        match (of(key), asked) {
            (Some((other, _)), _) if other != kind => {
                return Err(format!(
                    "`{key}` asks a {}, and this plugin is a {}; {}",
                    other.as_str(),
                    kind.as_str(),
                    known_to(kind)
                ));
            }
            (Some((_, function)), Some((other, first))) if function.name != other.name => {
                return Err(format!("`{first}` and `{key}` are two questions; a case asks one"));
            }
            (Some((_, function)), _) => asked = Some((function, key)),
            (None, _) if key == "settings" || key == "expect" => {}
            (None, _) => return Err(format!("unknown key `{key}`; {}", known_to(kind))),
        }
    }
    Ok(asked.map_or(&kinds::of(kind).functions()[0], |(function, _)| function))
}

fn check_expect(function: &Function, expect: &Value) -> Result<(), String> {
    let wrong = || {
        let word = function.word.map(|word| format!("\"{word}\", or ")).unwrap_or_default();
        let names: Vec<String> = function.answers.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(format!("expect: must be {word}an object with one of {} and `error`", names.join(", ")))
    };
    if function.word.is_some_and(|word| expect == word) {
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
    let Some((_, fields)) = function.answers.iter().find(|(name, _)| name == answer) else { return wrong() };
    match body {
        Value::Array(_) if fields.is_empty() => Ok(()),
        _ if fields.is_empty() => Err(format!("expect.{answer}: must be a list")),
        Value::Object(body) => only(&format!("expect.{answer}"), body, fields),
        _ => Err(format!("expect.{answer}: must be an object")),
    }
}

/// The keys that a case for a plugin of this kind may have, in words.
fn known_to(kind: PluginKind) -> String {
    let functions = kinds::of(kind).functions().iter();
    let arguments: Vec<&str> = functions.flat_map(|function| function.arguments).copied().collect();
    format!("known are settings, {}, expect", arguments.join(", "))
}

/// One part of an answer that is not what it should be.
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
/// `{"plan": ...}`, `{"presentation": ...}`, `{"stopPlan": ...}`, `{"observation": ...}`, `{"attempts": [...]}`, or `{"error": "a text that the error contains"}`. An object lists what must be
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
