//! Policy `control-guard`: who may control agents, and how much the started ones may do.
//!
//! `plugin.toml` describes every setting. [`settings`] reads and checks them, [`rules`] decides.

mod rules;
mod settings;

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy-plugin",
        additional_derives: [PartialEq],
    });
}

use bindings::agent_relay::plugin::host;
use bindings::exports::agent_relay::plugin::policy::{Context, Control, ControlKind, Description, Guest, Verdict};
use settings::Settings;

struct ControlGuard;

impl Guest for ControlGuard {
    fn describe() -> Description {
        Description {
            id: "control-guard".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kinds: vec![ControlKind::Spawn, ControlKind::Restart, ControlKind::Shutdown],
            extensions: Vec::new(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        Settings::read(&settings).map(|_| ())
    }

    fn decide(control: Control, context: Context) -> Result<Verdict, String> {
        let settings = Settings::read(&host::settings())?;
        Ok(rules::decide(&settings, &control, &context))
    }
}

bindings::export!(ControlGuard with_types_in bindings);
