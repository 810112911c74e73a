//! A sample with what a case says laid over it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The sample, with what is given laid over it at every depth. Errors begin with `what`.
pub(crate) fn over<T: DeserializeOwned>(
    what: &str,
    sample: &impl Serialize,
    given: Option<Value>,
) -> Result<T, String> {
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

/// Checks that an object at this place has no other keys than these.
pub(crate) fn only(place: &str, map: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    let dot = if place.is_empty() { "" } else { "." };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key `{place}{dot}{key}`; known are {}", known.join(", "))),
        None => Ok(()),
    }
}
