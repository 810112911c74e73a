//! Policy `control-guard`: who may control agents, and how much the started ones may do.
//!
//! `plugin.toml` describes every setting. [`settings`] reads and checks them, [`rules`] decides.

mod rules;
mod settings;

use agent_relay_plugin::policy::{Context, Control, Policy, Verdict};
use settings::Settings;

struct ControlGuard;

impl Policy for ControlGuard {
    type Settings = Settings;

    fn decide(settings: &Settings, control: &Control, context: &Context) -> Result<Verdict, String> {
        Ok(rules::decide(settings, control, context))
    }
}

agent_relay_plugin::export_policy!(ControlGuard);
