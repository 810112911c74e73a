//! Policy `conformance` in Rust. What it answers is in ../../README.md.

mod line;

use agent_relay_plugin::policy::{Amendment, Context, Control, Policy, Spawn, Verdict, deny};
use agent_relay_plugin::settings::from_json;
use agent_relay_plugin::{ApprovalMode, Level, Settings, log};

#[derive(Default)]
struct Raw(String);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default, rename = "note")]
    _note: String,
    refuse: Option<String>,
}

impl Settings for Raw {
    fn read(json: &str) -> Result<Self, String> {
        match from_json::<Known>(json)?.refuse {
            Some(text) => Err(format!("settings.refuse: {text}")),
            None => Ok(Self(json.to_owned())),
        }
    }
}

struct Conformance;

impl Policy for Conformance {
    type Settings = Raw;

    fn decide(Raw(settings): &Raw, control: &Control, context: &Context) -> Result<Verdict, String> {
        let wish = match control {
            Control::Spawn(spawn) => spawn.label.as_deref().map(|label| (label, spawn)),
            Control::Restart(_) | Control::Shutdown(_) => None,
        };
        Ok(match wish {
            Some(("allow", _)) => Verdict::Allow,
            Some(("deny", _)) => deny("conformance", "denied as asked"),
            Some(("amend-cwd", spawn)) => amend(Some(spawn), None),
            Some(("amend-mode", _)) => amend(None, Some(ApprovalMode::ReadOnly)),
            Some(("amend-both", spawn)) => amend(Some(spawn), Some(ApprovalMode::ReadOnly)),
            Some(("error", _)) => return Err("nothing is known, as asked".to_owned()),
            Some(("log", _)) => {
                log(Level::Trace, "a line at trace");
                log(Level::Debug, "a line at debug");
                log(Level::Info, "a line at info");
                log(Level::Warn, "a line at warn");
                log(Level::Error, "a line at error");
                Verdict::Allow
            }
            // This language alone: the SDK says in the log what it was.
            Some(("panic", _)) => panic!("as asked"),
            Some(("settings", _)) => deny("settings", settings.as_str()),
            _ => deny("echo", line::of(control, context)),
        })
    }
}

fn amend(spawn: Option<&Spawn>, approval_mode: Option<ApprovalMode>) -> Verdict {
    let cwd = spawn.map(|spawn| format!("{}/narrower", spawn.cwd.normalised));
    Verdict::Amend(Amendment { cwd, approval_mode, reason: "amended as asked".to_owned() })
}

agent_relay_plugin::export_policy!(Conformance);
