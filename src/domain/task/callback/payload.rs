//! What a callback says: the task as it is after the step, and the step.

use serde::Serialize;

use crate::domain::task::{Task, TaskEvent};
use crate::domain::time::Timestamp;

/// The most bytes that are sent. What would be more is sent without its longest parts.
pub const PAYLOAD_BYTES_MAX: usize = 20_000;

#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    /// When it happened, in milliseconds since the epoch like every other time.
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    task: &'a Task,
    event: &'a TaskEvent,
    /// What was left out because it is too long.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    omitted: &'a [&'static str],
}

/// Leaves a part out, and answers whether there was one.
type LeaveOut = fn(&mut Task, &mut TaskEvent) -> bool;

/// What is left out, in this order, until the rest is short enough.
const PARTS: [(&str, LeaveOut); 5] = [
    ("task.body", |task, _| task.body.take().is_some()),
    ("task.result", |task, _| task.result.take().is_some()),
    ("task.metadata", |task, _| !std::mem::take(&mut task.metadata).is_empty()),
    ("event.body", |_, event| event.body.take().is_some()),
    ("task.options", |task, _| !std::mem::take(&mut task.options).is_empty()),
];

/// The JSON that tells this step of a task, in the shape of Standard Webhooks: at most [`PAYLOAD_BYTES_MAX`], with the
/// names in `omitted` of what was left out for that. Whoever wants the rest asks for the task.
pub fn payload(task: &Task, event: &TaskEvent) -> String {
    let whole = text(task, event, &[]);
    if whole.len() <= PAYLOAD_BYTES_MAX {
        return whole;
    }
    let (mut task, mut event) = (task.clone(), event.clone());
    let (mut left_out, mut shorter) = (Vec::new(), whole);
    for (name, leave_out) in PARTS {
        if !leave_out(&mut task, &mut event) {
            continue;
        }
        left_out.push(name);
        shorter = text(&task, &event, &left_out);
        if shorter.len() <= PAYLOAD_BYTES_MAX {
            break;
        }
    }
    shorter
}

fn text(task: &Task, event: &TaskEvent, omitted: &[&'static str]) -> String {
    let data = Data { task, event, omitted };
    let payload = Payload { r#type: "task.updated", timestamp: event.created_at, data };
    serde_json::to_string(&payload).expect("a domain value is JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::task::{NewTask, OPTION_MAX, OPTIONS_MAX, TaskEventKind};
    use crate::domain::text::json;

    fn said(new: NewTask, body: Option<String>) -> (usize, Value) {
        let task = new.stored(Vec::new(), false, Timestamp::from_ms(1_700_000_000_123));
        let event = TaskEvent {
            id: 7.into(),
            task_id: task.id,
            kind: TaskEventKind::Created,
            agent_id: None,
            body,
            metadata: None,
            created_at: task.created_at,
        };
        let text = payload(&task, &event);
        (text.len(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_step_is_told_with_the_task_as_it_is() {
        let (_, payload) = said(NewTask { title: "t".to_owned(), ..NewTask::default() }, None);
        assert_eq!((&payload["type"], &payload["timestamp"]), (&json!("task.updated"), &json!(1_700_000_000_123_i64)));
        assert_eq!(
            (&payload["data"]["task"]["title"], &payload["data"]["event"]["type"]),
            (&json!("t"), &json!("created"))
        );
        assert_eq!(payload["data"].get("omitted"), None);
    }

    #[test]
    fn what_is_too_long_is_left_out_and_named() {
        let long = |bytes| Some("x".repeat(bytes));
        let (_, payload) = said(NewTask { body: long(1_000), ..NewTask::default() }, long(16_384));
        assert_eq!(payload["data"].get("omitted"), None);
        let (bytes, payload) = said(NewTask { body: long(256 * 1024), ..NewTask::default() }, long(16_384));
        assert_eq!(payload["data"]["omitted"], json!(["task.body"]));
        assert!(bytes <= PAYLOAD_BYTES_MAX && payload["data"]["task"].get("body").is_none());
        let mut metadata = json::Object::default();
        metadata.insert("k", "m".repeat(16_000));
        let options = vec!["\u{10348}".repeat(OPTION_MAX); OPTIONS_MAX];
        let all = NewTask { body: long(256 * 1024), metadata, options, ..NewTask::default() };
        let (bytes, payload) = said(all, long(16_384));
        assert_eq!(payload["data"]["omitted"], json!(["task.body", "task.metadata", "event.body"]));
        assert!(bytes <= PAYLOAD_BYTES_MAX);
    }
}
