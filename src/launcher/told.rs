//! How what happens to a session is put for people and for other agents, whoever reports it.

use serde_json::{Map, Value, json};

use super::{Host, Undelivered, Waiting};
use crate::domain::agent::{ConditionKind, NewCondition};
use crate::domain::control::observation::Doing;
use crate::domain::control::spawn::SpawnSpec;
use crate::domain::text::json::Object;
use crate::domain::time::Timestamp;

/// What a command's result says while its program is not up, and not any more when it is.
pub const WAITING_MEMBERS: [&str; 3] = ["seen", "screen", "next"];

impl Waiting {
    /// What is seen, in a word for programs and in words for people.
    fn what(&self) -> (&'static str, &'static str) {
        match self.doing {
            Doing::Dialog(_) => ("dialog", "a dialog waits on its screen"),
            Doing::Approval(_) => ("approval", "it asks for a permission"),
            Doing::Input(_) => ("input", "it asks its user something"),
            Doing::Limit { .. } => ("limit", "it is at a usage limit"),
            Doing::Starting | Doing::Idle | Doing::Busy | Doing::Unknown => {
                ("unknown", "nothing on its screen says that it is up")
            }
        }
    }

    /// The members of the command's result. `attach` is what a person types to look at it.
    pub fn members(&self, attach: Option<&str>) -> Map<String, Value> {
        let (seen, what) = self.what();
        let next = match attach {
            Some(attach) => format!("{what}; look at it, and answer what it asks: {attach}"),
            None => format!("{what}; it has no terminal, and its output is in its log"),
        };
        let members = json!({"seen": seen, "screen": self.screen, "next": next});
        members.as_object().cloned().unwrap_or_default()
    }

    /// The condition that its agent is in meanwhile.
    pub fn condition(&self) -> NewCondition {
        held_up(&self.doing).unwrap_or_else(|| NewCondition::seen(ConditionKind::Starting, self.what().1))
    }
}

/// What keeps an agent from working while its program does this, where that is to be seen at once.
pub(super) fn held_up(doing: &Doing) -> Option<NewCondition> {
    Some(match doing {
        Doing::Dialog(text) => NewCondition::seen(ConditionKind::Dialog, text),
        Doing::Approval(text) => NewCondition::seen(ConditionKind::Approval, text),
        Doing::Input(text) => NewCondition::seen(ConditionKind::Input, text),
        Doing::Limit { text, until_ms } => {
            let until = until_ms.and_then(|ms| i64::try_from(ms).ok()).map(Timestamp::from_ms);
            NewCondition { until, ..NewCondition::seen(ConditionKind::Limit, text) }
        }
        Doing::Starting | Doing::Idle | Doing::Busy | Doing::Unknown => return None,
    })
}

impl Undelivered {
    /// What is wrong, in words.
    pub fn problem(&self) -> String {
        format!("the program is up, but its prompt did not reach it: {self}")
    }
}

/// The tags of an agent that was started.
pub fn tags_of(spec: &SpawnSpec) -> Vec<String> {
    vec![spec.provider.clone(), "spawned".to_owned()]
}

impl Host {
    /// What the card of an agent says about its session here.
    pub fn meta_of(&self, spec: &SpawnSpec, session: &str, attach: Option<&str>) -> Object {
        let mut meta = json!({
            "provider": spec.provider, "approvalMode": spec.approval_mode, "cwd": spec.cwd, "session": session,
            "attach": attach,
        });
        if let Some(orchestrator) = &self.orchestrator {
            meta["orchestrator"] = Value::from(orchestrator.as_str());
        }
        meta.into()
    }
}
