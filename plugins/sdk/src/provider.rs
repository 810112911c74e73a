//! Providers: what exactly would be run?

pub use crate::bindings::provider_world::exports::agent_relay::plugin::provider::{
    Description, EnvValue, EnvVar, Guest, LaunchPlan, LaunchSite, Message, PlanError, Presentation, PromptDelivery,
    Readiness, SessionFile, SpawnRequest, StopPlan, StopReason,
};
mod environment;
mod words;

pub use environment::{NETWORK, variables};
pub use words::{introduction, notice};

use crate::ApprovalMode;
use crate::settings::Settings;

/// What a provider says of itself before it goes live.
#[derive(Clone, Debug, PartialEq)]
pub struct Abilities {
    /// The programs its plans may name. Each must be granted in the manifest as well.
    pub executables: Vec<String>,
    /// The approval modes it can plan for.
    pub approval_modes: Vec<ApprovalMode>,
    /// Whether a prompt can be given at the start.
    pub takes_prompt: bool,
}

/// Knows how one kind of agent program is started and stopped.
/// [`export_provider!`](crate::export_provider) makes a component of it.
pub trait Provider {
    /// What the operator may set.
    type Settings: Settings;

    /// What it can do, with these settings.
    fn abilities(settings: &Self::Settings) -> Abilities;

    /// What would be run. The host checks the plan against what the plugin was granted.
    ///
    /// # Errors
    /// Why this request cannot be planned.
    fn plan(settings: &Self::Settings, request: &SpawnRequest, site: &LaunchSite) -> Result<LaunchPlan, PlanError>;

    /// How its program is asked to end: an interrupt and five seconds, unless said otherwise.
    fn stop(_settings: &Self::Settings, _reason: StopReason) -> StopPlan {
        StopPlan { keys: vec!["C-c".to_owned()], grace_ms: 5_000 }
    }

    /// How a message is put to a running session: as [`notice`] does, unless said otherwise.
    fn present(_settings: &Self::Settings, message: &Message) -> Presentation {
        notice(message, &[])
    }
}

/// Exports a [`Provider`] that neither observes nor delivers. The plugin's id and version are those of the crate.
#[macro_export]
macro_rules! export_provider {
    ($provider:ident) => {
        #[doc(hidden)]
        struct ExportedProvider;

        type ExportedSettings = <$provider as $crate::provider::Provider>::Settings;

        impl $crate::provider::Guest for ExportedProvider {
            fn describe() -> $crate::provider::Description {
                $crate::begin();
                // Settings that cannot be read are the business of `check_settings`.
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings());
                let abilities = <$provider as $crate::provider::Provider>::abilities(&settings.unwrap_or_default());
                $crate::provider::Description {
                    id: env!("CARGO_PKG_NAME").to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    executables: abilities.executables,
                    approval_modes: abilities.approval_modes,
                    takes_prompt: abilities.takes_prompt,
                    extensions: Vec::new(),
                }
            }

            fn check_settings(settings: String) -> Result<(), String> {
                $crate::begin();
                <ExportedSettings as $crate::Settings>::read(&settings).map(drop)
            }

            fn plan(
                request: $crate::provider::SpawnRequest,
                site: $crate::provider::LaunchSite,
            ) -> Result<$crate::provider::LaunchPlan, $crate::provider::PlanError> {
                $crate::begin();
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings())
                    .map_err($crate::provider::PlanError::Invalid)?;
                <$provider as $crate::provider::Provider>::plan(&settings, &request, &site)
            }

            fn present(message: $crate::provider::Message) -> $crate::provider::Presentation {
                $crate::begin();
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings());
                <$provider as $crate::provider::Provider>::present(&settings.unwrap_or_default(), &message)
            }

            fn stop(reason: $crate::provider::StopReason) -> $crate::provider::StopPlan {
                $crate::begin();
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings());
                <$provider as $crate::provider::Provider>::stop(&settings.unwrap_or_default(), reason)
            }
        }

        $crate::bindings::provider_world::export_provider_world!(
            ExportedProvider with_types_in $crate::bindings::provider_world
        );
    };
}
