//! Running sessions: what is seen in one, and which ways lead into it.
//!
//! Both are optional for a provider. What it says here decides whether a key is pressed and what people are told, so it
//! is made of evidence alone: what is not recognised is [`Seen::Unknown`], and a way that is not known to work is none.

pub use crate::bindings::courier_world::exports::agent_relay::plugin::courier::{
    Attempt, Carrier, Command, FileText, Guest as CourierGuest, Notice, Sign, SocketLines, Typing, Way,
};
pub use crate::bindings::observer_world::agent_relay::plugin::session::{
    Cursor, GrantedFile, Observation, RunningSession, Screen, Seen, UsageLimit,
};
pub use crate::bindings::observer_world::exports::agent_relay::plugin::observer::Guest as ObserverGuest;

use crate::provider::{Presentation, Provider};

/// A provider that knows what the screen and the files of its program say.
/// [`export_observing_provider!`](crate::export_observing_provider) makes a component of it.
pub trait Observer: Provider {
    /// Looks at a session. The same session and screen give the same observation.
    fn observe(settings: &Self::Settings, session: &RunningSession, screen: &Screen) -> Observation;
}

/// A provider that knows the ways into a running session as well.
/// [`export_delivering_provider!`](crate::export_delivering_provider) makes a component of it.
pub trait Courier: Observer {
    /// The ways to show this notice in this session now, best first; none when there is no way as things are.
    fn deliver(
        settings: &Self::Settings,
        notice: &Notice,
        session: &RunningSession,
        seen: &Observation,
    ) -> Vec<Attempt>;
}

impl Observation {
    /// This, with an empty input, and without a word about conversation and version.
    pub fn of(state: Seen) -> Self {
        Self { state, has_draft: false, conversation: None, version: None, extensions: Vec::new() }
    }
}

impl RunningSession {
    /// The newest of its files whose path ends like this.
    pub fn file(&self, path_end: &str) -> Option<&GrantedFile> {
        let ending = self.files.iter().filter(|file| file.path.ends_with(path_end));
        ending.max_by_key(|file| file.modified_ms)
    }
}

impl Notice {
    /// The beginning of its text, which has the message's id: what a screen shows of it that cuts what is long, or spreads
    /// it over rows.
    pub fn beginning(&self) -> String {
        self.text.chars().take(40).collect()
    }

    /// Whether it would break into a turn that runs.
    pub fn breaks_into(&self, seen: &Observation) -> bool {
        self.interrupt && matches!(seen.state, Seen::Busy)
    }

    /// Its text, typed and submitted, after these keys where there is a turn to break into.
    pub fn typing(&self, seen: &Observation, keys_before_interrupt: &[&str]) -> Typing {
        let keys = if self.breaks_into(seen) { keys_before_interrupt } else { &[] };
        let keys_before = keys.iter().map(|key| (*key).to_owned()).collect();
        Typing { keys_before, text: self.text.clone(), submit: true }
    }
}

impl Attempt {
    /// The last rung of most ladders: typed into the terminal, with the turn that begins, and with the text once it is
    /// on the screen, as evidence.
    pub fn typed(typing: impl Into<Typing>, evidence: Vec<Sign>) -> Self {
        Self {
            rung: "typed".to_owned(),
            carrier: Carrier::Typed,
            way: Way::Typing(typing.into()),
            evidence,
            confirm_ms: 10_000,
        }
    }
}

impl From<Presentation> for Typing {
    fn from(presentation: Presentation) -> Self {
        Self { keys_before: presentation.keys_before, text: presentation.text, submit: presentation.submit }
    }
}

/// Exports an [`Observer`] with its [`Provider`]. The plugin's id and version are those of the crate.
#[macro_export]
macro_rules! export_observing_provider {
    ($provider:ident) => {
        $crate::export_provider!($provider);

        impl $crate::session::ObserverGuest for ExportedProvider {
            fn observe(
                session: $crate::session::RunningSession,
                screen: $crate::session::Screen,
            ) -> $crate::session::Observation {
                $crate::begin();
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings());
                <$provider as $crate::session::Observer>::observe(&settings.unwrap_or_default(), &session, &screen)
            }
        }

        $crate::bindings::observer_world::export_observer_world!(
            ExportedProvider with_types_in $crate::bindings::observer_world
        );
    };
}

/// Exports a [`Courier`] with its [`Observer`] and its [`Provider`]. The plugin's id and version are those of the crate.
#[macro_export]
macro_rules! export_delivering_provider {
    ($provider:ident) => {
        $crate::export_observing_provider!($provider);

        impl $crate::session::CourierGuest for ExportedProvider {
            fn deliver(
                notice: $crate::session::Notice,
                session: $crate::session::RunningSession,
                seen: $crate::session::Observation,
            ) -> Vec<$crate::session::Attempt> {
                $crate::begin();
                let settings = <ExportedSettings as $crate::Settings>::read(&$crate::bindings::host::settings());
                let settings = settings.unwrap_or_default();
                <$provider as $crate::session::Courier>::deliver(&settings, &notice, &session, &seen)
            }
        }

        $crate::bindings::courier_world::export_courier_world!(
            ExportedProvider with_types_in $crate::bindings::courier_world
        );
    };
}
