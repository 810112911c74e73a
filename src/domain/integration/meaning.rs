//! Meanings: what an event comes to, and the generic JSON that says so.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::Delivery;
use crate::domain::refusal::Refusal;
use crate::domain::task::{NewTask, Severity, TaskDraft};
use crate::domain::text;
use crate::domain::text::json;

/// What an event comes to. Whatever reads bodies answers this and nothing else, and the store does what it says.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// Something is to be done. A task of the same key that is not finished is asked for once more instead. The task's
    /// source and sender are the delivery's, whatever it says here.
    Task(Box<NewTask>),
    /// There is nothing to do any more about the task of this key, if one is not finished.
    Resolved {
        /// The key under which it was asked for.
        dedupe_key: String,
        /// More about how it ended.
        note: Option<String>,
    },
    /// Nothing, for this reason: a ping, an event that nobody asked for.
    Ignored(String),
    /// Nobody can tell, for this reason. The delivery is kept.
    Unreadable(String),
}

/// An event, where no adapter reads the bodies of its integration. Members that are not listed are ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventDraft {
    /// What happened, such as `build.failed`. It is `type` in the task's `metadata`, unless that says otherwise.
    #[schema(value_type = String, max_length = 120, pattern = r"\S")]
    pub r#type: Option<String>,
    /// The title of the task: one line, at most 200 characters.
    #[schema(value_type = String, max_length = 200, pattern = r"\S")]
    pub title: Option<String>,
    /// At most 256 KiB; kept as it is.
    #[schema(max_length = 262144)]
    pub body: Option<String>,
    /// `info` (default), `warning` or `critical`.
    #[schema(value_type = Option<Severity>)]
    pub severity: Option<String>,
    /// Whom the task is for, as in a message. Without one it is for anybody and no message is sent.
    #[schema(max_length = 300)]
    pub target: Option<String>,
    /// While a task of this integration with the same key is not finished, this one only raises its `occurrences`.
    #[schema(max_length = 200)]
    pub dedupe_key: Option<String>,
    /// Where changes of the task are sent: `http` or `https`, without a user name or password.
    #[schema(max_length = 2000)]
    pub callback_url: Option<String>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<json::Object>,
}

/// What a delivery says, by the generic JSON: in its body, or in the field `payload` of a form.
pub fn read(delivery: &Delivery) -> Meaning {
    let text = if delivery.is_form() { payload(&delivery.body) } else { Ok(Cow::Borrowed(delivery.body.as_slice())) };
    let task = text.and_then(|text| task(&text));
    match task {
        Ok(task) => Meaning::Task(Box::new(task)),
        Err(words) => Meaning::Unreadable(words),
    }
}

/// The field in which services put JSON that they send as a form.
fn payload(form: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut payloads = form_urlencoded::parse(form).filter(|(name, _)| name == "payload");
    let Some((_, payload)) = payloads.next() else { return Err("the form has no field payload".to_owned()) };
    if payloads.next().is_some() {
        return Err("the form has the field payload twice".to_owned());
    }
    Ok(match payload {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

fn task(json: &[u8]) -> Result<NewTask, String> {
    if json.trim_ascii().is_empty() {
        return Err("the body is empty".to_owned());
    }
    // A list would be read as the members in their order.
    if json.trim_ascii_start().starts_with(b"[") {
        return Err("the body is a list, not an object".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let draft: EventDraft = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    draft.parse().map_err(|refusal| refusal.to_string())
}

impl EventDraft {
    /// The task that it asks for.
    pub fn parse(self) -> Result<NewTask, Refusal> {
        let kind = text::required("type", self.r#type, text::WORD_MAX)?;
        let draft = TaskDraft {
            title: self.title,
            body: self.body,
            severity: self.severity,
            target: self.target,
            dedupe_key: self.dedupe_key,
            callback_url: self.callback_url,
            metadata: self.metadata,
            ..TaskDraft::default()
        };
        let mut task = draft.parse(None)?;
        if !task.metadata.contains("type") {
            task.metadata.insert("type", kind);
        }
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::integration::IntegrationName;
    use crate::domain::message::Sender;

    fn delivery(content_type: &str, body: impl Into<Vec<u8>>) -> Delivery {
        Delivery {
            integration: IntegrationName::parse("ci").unwrap(),
            id: None,
            sender: Sender::default(),
            headers: [("content-type".to_owned(), content_type.to_owned())].into(),
            body: body.into(),
        }
    }

    fn words(content_type: &str, body: &str) -> String {
        match read(&delivery(content_type, body)) {
            Meaning::Unreadable(words) => words,
            other => panic!("{other:?}"),
        }
    }

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn task(content_type: &str, body: impl Into<Vec<u8>>) -> NewTask {
        match read(&delivery(content_type, body)) {
            Meaning::Task(task) => *task,
            other => panic!("{other:?}"),
        }
    }

    fn form(fields: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }

    #[test]
    fn json_and_a_form_with_json_in_it_say_the_same() {
        let event = json!({
            "type": "build.failed", "title": " red ", "body": " as it is\n", "severity": "critical", "target": "cap:ci",
            "dedupeKey": "k", "callbackUrl": "https://h/", "metadata": {"run": 7}, "what": "else",
        });
        let text = event.to_string();
        for task in [task(JSON, text.clone()), task(FORM, form(&[("a", "b"), ("payload", &text)]))] {
            assert_eq!((task.title.as_str(), task.body.as_deref()), ("red", Some(" as it is\n")));
            assert_eq!((task.severity, task.target.as_deref()), (Severity::Critical, Some("cap:ci")));
            assert_eq!((task.dedupe_key.as_deref(), task.callback_url.as_deref()), (Some("k"), Some("https://h/")));
            assert_eq!(task.metadata.value(), json!({"run": 7, "type": "build.failed"}));
        }
        let own = task(JSON, r#"{"type": "a", "title": "t", "metadata": {"type": "b"}}"#);
        assert_eq!(own.metadata.get("type"), Some(json!("b")));
    }

    #[test]
    fn what_cannot_be_read_is_told_in_words() {
        for (content_type, body, problem) in [
            (JSON, "", "the body is empty"),
            (JSON, "no", "expected ident"),
            (JSON, " [\"t\", \"t\"]", "the body is a list, not an object"),
            (JSON, r#"{"type": "t"}"#, "title required"),
            (JSON, r#"{"title": "t"}"#, "type required"),
            (JSON, r#"{"type": "t", "title": 7}"#, "title: invalid type: integer `7`"),
            (JSON, r#"{"type": "t", "title": "t"} x"#, "trailing characters"),
            (JSON, r#"{"type": "t", "title": "t", "severity": "loud"}"#, "severity must be one of"),
            (JSON, r#"{"type": "t", "title": "t", "callbackUrl": "x"}"#, "callbackUrl is no address"),
            (FORM, "", "the form has no field payload"),
            (FORM, "payload=1&payload=2", "the form has the field payload twice"),
            (FORM, "payload=", "the body is empty"),
        ] {
            let said = words(content_type, body);
            assert!(said.contains(problem), "{body}: {said}");
        }
    }

    /// Bytes that are nearly such a form: pieces of one, cut and put together anew.
    fn nearly_a_form() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "payload",
            "=",
            "&",
            "%",
            "%7B",
            "%22type%22",
            "%3A",
            "\"t\"",
            "{",
            "}",
            "+",
            ";",
            "%zz",
            "%f",
            "\u{fffd}",
            "title",
            ",",
            "[",
            "null",
            "1e999",
            "\\ud800",
            "payload=%7B%22type%22%3A%22t%22%2C%22title%22%3A%22t%22%7D",
        ]);
        let raw = prop::collection::vec(any::<u8>(), 0..8);
        prop::collection::vec(prop_oneof![4 => pieces.prop_map(|text| text.as_bytes().to_vec()), 1 => raw], 0..24)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Nobody's bytes make the reader fail, and what it takes for a task has what a task must have.
        #[test]
        fn any_bytes_are_a_task_within_its_bounds_or_unreadable(body in nearly_a_form(), is_form: bool) {
            match read(&delivery(if is_form { FORM } else { JSON }, body)) {
                Meaning::Task(task) => prop_assert!((1..=200).contains(&task.title.chars().count())),
                Meaning::Unreadable(words) => prop_assert!(!words.is_empty()),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn a_form_holds_any_title(title in "\\PC{1,40}") {
            let event = json!({"type": "t", "title": title}).to_string();
            let read = read(&delivery(FORM, form(&[("payload", &event)])));
            let wanted: Value = json!(title.trim());
            match read {
                Meaning::Task(task) => prop_assert_eq!(wanted, task.title),
                Meaning::Unreadable(words) => prop_assert!(title.trim().is_empty(), "{}", words),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
