//! Policy `containment`: an agent may only be started inside its site's base directory.
//!
//! Whether a path lies in another is decided by whole components, never by string prefix
//! (`/base-evil` is not in `/base`), on the path as the caller meant it and, where the host knows
//! it, on the path with every symlink followed.

mod rule;

#[allow(missing_docs, reason = "generated from wit/, where the documentation is")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy-plugin",
        additional_derives: [PartialEq],
    });
}

use bindings::exports::agent_relay::plugin::policy::{Context, Control, ControlKind, Description, Guest, Verdict};

struct Containment;

impl Guest for Containment {
    fn describe() -> Description {
        Description {
            id: "containment".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Restart and shutdown start nothing in a directory that was not approved before.
            kinds: vec![ControlKind::Spawn],
            extensions: Vec::new(),
        }
    }

    fn check_settings(settings: String) -> Result<(), String> {
        rule::check_settings(&settings)
    }

    fn decide(control: Control, _context: Context) -> Result<Verdict, String> {
        match control {
            Control::Spawn(spawn) => Ok(rule::decide(&spawn.cwd, &spawn.site)),
            Control::Restart(_) | Control::Shutdown(_) => Ok(Verdict::Allow),
        }
    }
}

bindings::export!(Containment with_types_in bindings);
