//! A case whose file is made to expect what was answered, without touching anything else of it.

use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What a call that failed is called by its code: nobody wants that of a plugin.
const FAILURES: [&str; 4] = ["trap", "deadline", "memory", "overloaded"];

/// The text of a case that expects this answer: as much of it as the case expected before, or all of it. What it
/// asks, and how that is written, stays.
///
/// # Errors
/// When the call failed where the case expected an answer.
pub fn blessed(case: &str, answer: &Value) -> Result<String, String> {
    let expected: Option<Value> = parts(case)?
        .expect
        .map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|error| error.to_string())?;
    let fails = expected.as_ref().is_some_and(|expected| expected.get("error").is_some());
    if !fails && answer["code"].as_str().is_some_and(|code| FAILURES.contains(&code)) {
        let error = answer["error"].as_str().unwrap_or_default();
        return Err(format!("not blessed: it {error}; a case that means that says `error` in `expect`"));
    }
    let text = written(&told_of(expected.as_ref(), answer))?;
    Ok(match place(case)? {
        Some(place) => format!("{}{text}{}", &case[..place.start], &case[place.end..]),
        None => {
            let end = case.rfind('}').ok_or("the case is no object")?;
            let before = case[..end].trim_end();
            let comma = if before.ends_with('{') { "" } else { "," };
            format!("{before}{comma}\n  \"expect\": {text}\n{}", &case[end..])
        }
    })
}

/// What of an answer a case tells, which told this before.
fn told_of(expected: Option<&Value>, answer: &Value) -> Value {
    if let Some(error) = answer.get("error") {
        return Value::Object(Map::from_iter([("error".to_owned(), error.clone())]));
    }
    match (expected, answer) {
        (Some(Value::Object(expected)), Value::Object(answered))
            if expected.keys().all(|key| answered.contains_key(key)) =>
        {
            let kept = expected.iter().map(|(key, part)| (key.clone(), part_of(part, &answered[key])));
            Value::Object(kept.collect())
        }
        _ => answer.clone(),
    }
}

fn part_of(expected: &Value, answered: &Value) -> Value {
    match (expected, answered) {
        (Value::Object(expected), Value::Object(answered)) => {
            let null = Value::Null;
            let part =
                |(key, part): (&String, &Value)| (key.clone(), part_of(part, answered.get(key).unwrap_or(&null)));
            Value::Object(expected.iter().map(part).collect())
        }
        _ => answered.clone(),
    }
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    expect: Option<&'a RawValue>,
}

fn parts(case: &str) -> Result<Parts<'_>, String> {
    serde_json::from_str(case).map_err(|error| format!("not a JSON object: {error}"))
}

/// Where the expectation stands in the text.
fn place(case: &str) -> Result<Option<Range<usize>>, String> {
    let Some(raw) = parts(case)?.expect else { return Ok(None) };
    // It is borrowed from the text, so its address says where.
    let start = raw.get().as_ptr().addr() - case.as_ptr().addr();
    Ok(Some(start..start + raw.get().len()))
}

/// On one line, with a space after each comma and colon, as people write it.
fn written(value: &Value) -> Result<String, String> {
    struct Spaced;
    impl Formatter for Spaced {
        fn begin_array_value<W: ?Sized + io::Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_key<W: ?Sized + io::Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
            to.write_all(if first { b"" } else { b", " })
        }
        fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
            to.write_all(b": ")
        }
    }
    let mut text = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced))
        .map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_much_as_was_expected_is_expected_anew() {
        let case = "{\n  \"control\": {\"spawn\": {}},\n  \"expect\": {\"deny\": {\"code\": \"old\"}}\n}\n";
        let denied = json!({"deny": {"code": "new", "reason": "because"}});
        let expected = "{\n  \"control\": {\"spawn\": {}},\n  \"expect\": {\"deny\": {\"code\": \"new\"}}\n}\n";
        assert_eq!(blessed(case, &denied).as_deref(), Ok(expected));
        let allowed = blessed(case, &json!("allow")).expect("blessed");
        assert!(allowed.contains("\"expect\": \"allow\"\n}"), "{allowed}");
        let twice = blessed(&allowed, &denied).expect("blessed");
        assert!(twice.contains(r#""expect": {"deny": {"code": "new", "reason": "because"}}"#), "{twice}");
    }

    #[test]
    fn a_case_that_expects_nothing_gets_the_whole_answer() {
        let asks = "{\"request\": {\"prompt\": null}}\n";
        let answer = json!({"plan": {"program": "x", "args": ["a", "b"]}});
        let text = blessed(asks, &answer).expect("blessed");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["expect"], answer);
        assert!(text.starts_with("{\"request\": {\"prompt\": null},\n"), "{text}");
        assert_eq!(blessed("{}", &json!("allow")).as_deref(), Ok("{\n  \"expect\": \"allow\"\n}"));
    }

    #[test]
    fn a_failure_is_blessed_only_where_one_is_expected() {
        let trapped = json!({"error": "trapped: unreachable", "code": "trap"});
        assert!(blessed(r#"{"expect": "allow"}"#, &trapped).is_err_and(|problem| problem.contains("not blessed")));
        assert!(blessed("{}", &trapped).is_err());
        let told = blessed(r#"{"expect": {"error": "memory"}}"#, &trapped);
        assert_eq!(told.as_deref(), Ok(r#"{"expect": {"error": "trapped: unreachable"}}"#));
    }
}
