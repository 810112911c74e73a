//! PLUGIN_ID: nobody starts an agent that asks for nothing.

use agent_relay_plugin::policy::{Context, Control, ControlKind, Policy, Verdict, deny};
use agent_relay_plugin::{ApprovalMode, NoSettings};

struct Plugin;

impl Policy for Plugin {
    type Settings = NoSettings;

    const KINDS: &'static [ControlKind] = &[ControlKind::Spawn];

    fn decide(_: &NoSettings, control: &Control, _: &Context) -> Result<Verdict, String> {
        Ok(match control {
            Control::Spawn(spawn) if spawn.approval_mode == ApprovalMode::Open => {
                deny("open_mode", "ask for approval mode guarded or read-only")
            }
            _ => Verdict::Allow,
        })
    }
}

agent_relay_plugin::export_policy!(Plugin);
