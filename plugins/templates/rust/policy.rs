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

#[cfg(test)]
mod tests {
    use super::*;
    use agent_relay_plugin::policy::Spawn;
    use agent_relay_plugin::testing;

    #[test]
    fn only_what_asks_for_nothing_is_denied() {
        let ask = |mode| testing::decide::<Plugin>("{}", Spawn::sample().in_mode(mode), &Context::sample());
        assert_eq!(ask(ApprovalMode::Guarded), Ok(Verdict::Allow));
        assert!(matches!(ask(ApprovalMode::Open), Ok(Verdict::Deny(denial)) if denial.code == "open_mode"));
    }
}
