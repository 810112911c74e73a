//! Policies: may this control action happen?

#[cfg(feature = "settings")]
pub mod facts;

pub use crate::bindings::policy_world::exports::agent_relay::plugin::policy::{
    AgentFacts, Amendment, Context, Control, ControlKind, Denial, Description, Guest, RunningAgent, Spawn, Target,
    Verdict,
};
use crate::settings::Settings;

/// Decides whether control actions may happen. [`export_policy!`](crate::export_policy) makes a component of it.
pub trait Policy {
    /// What the operator may set.
    type Settings: Settings;

    /// The controls this policy is asked about: all of them, unless said otherwise.
    const KINDS: &'static [ControlKind] = &[ControlKind::Spawn, ControlKind::Restart, ControlKind::Shutdown];

    /// Decides, from nothing but its arguments.
    ///
    /// # Errors
    /// "Cannot tell", which counts as a refusal; the text is shown to the caller.
    fn decide(settings: &Self::Settings, control: &Control, context: &Context) -> Result<Verdict, String>;
}

/// A refusal: a stable `snake_case` word for programs, and a sentence that says what would be allowed.
pub fn deny(code: &str, reason: impl Into<String>) -> Verdict {
    Verdict::Deny(Denial { code: code.to_owned(), reason: reason.into() })
}

/// Exports a [`Policy`]. The plugin's id and version are those of the crate.
#[macro_export]
macro_rules! export_policy {
    ($policy:ident) => {
        #[doc(hidden)]
        struct ExportedPolicy;

        impl $crate::policy::Guest for ExportedPolicy {
            fn describe() -> $crate::policy::Description {
                $crate::begin();
                $crate::policy::Description {
                    id: env!("CARGO_PKG_NAME").to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    kinds: <$policy as $crate::policy::Policy>::KINDS.to_vec(),
                    extensions: Vec::new(),
                }
            }

            fn check_settings(settings: String) -> Result<(), String> {
                $crate::begin();
                <<$policy as $crate::policy::Policy>::Settings as $crate::Settings>::read(&settings).map(drop)
            }

            fn decide(
                control: $crate::policy::Control,
                context: $crate::policy::Context,
            ) -> Result<$crate::policy::Verdict, String> {
                $crate::begin();
                let settings = $crate::bindings::host::settings();
                let settings = <<$policy as $crate::policy::Policy>::Settings as $crate::Settings>::read(&settings)?;
                <$policy as $crate::policy::Policy>::decide(&settings, &control, &context)
            }
        }

        $crate::bindings::policy_world::export_policy_world!(
            ExportedPolicy with_types_in $crate::bindings::policy_world
        );
    };
}
