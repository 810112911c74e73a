//! Policy `containment`: an agent may only be started inside its site's base directory.
//!
//! Whether a path lies in another is decided by whole components, never by string prefix
//! (`/base-evil` is not in `/base`), on the path as the caller meant it and, where the host knows
//! it, on the path with every symlink followed.

mod rule;

use agent_relay_plugin::NoSettings;
use agent_relay_plugin::policy::{Context, Control, ControlKind, Policy, Verdict};

struct Containment;

impl Policy for Containment {
    /// There is nothing to set: a base directory belongs to its site, not to this plugin.
    type Settings = NoSettings;

    // Restart and shutdown start nothing in a directory that was not approved before.
    const KINDS: &'static [ControlKind] = &[ControlKind::Spawn];

    fn decide(_: &NoSettings, control: &Control, _: &Context) -> Result<Verdict, String> {
        match control {
            Control::Spawn(spawn) => Ok(rule::decide(&spawn.cwd, &spawn.site)),
            Control::Restart(_) | Control::Shutdown(_) => Ok(Verdict::Allow),
        }
    }
}

agent_relay_plugin::export_policy!(Containment);
