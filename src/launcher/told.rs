//! How what happens to a session is put for people and for other agents, whoever reports it.

use serde_json::{Map, Value, json};

use super::{Host, Waiting};
use crate::domain::agent::ConditionKind;
use crate::domain::control::spawn::SpawnSpec;
use crate::domain::text::json::Object;

/// What a command's result says while its program is not up, and not any more when it is.
pub const WAITING_MEMBERS: [&str; 3] = ["seen", "screen", "next"];

impl Waiting {
    /// What is seen, in words.
    fn what(&self) -> &'static str {
        if self.in_dialog { "a dialog waits on its screen" } else { "nothing on its screen says that it is up" }
    }

    /// The members of the command's result. `attach` is what a person types to look at it.
    pub fn members(&self, attach: Option<&str>) -> Map<String, Value> {
        let what = self.what();
        let next = match attach {
            Some(attach) => format!("{what}; look at it, and answer what it asks: {attach}"),
            None => format!("{what}; it has no terminal, and its output is in its log"),
        };
        let seen = if self.in_dialog { "dialog" } else { "unknown" };
        let members = json!({"seen": seen, "screen": self.screen, "next": next});
        members.as_object().cloned().unwrap_or_default()
    }

    /// The condition that its agent is in meanwhile, with the detail.
    pub fn condition(&self) -> (ConditionKind, &str) {
        if self.in_dialog { (ConditionKind::Dialog, &self.screen) } else { (ConditionKind::Starting, self.what()) }
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
