//! What a plugin can be loaded from - a folder, or the binary - as a state machine: what is active of it, what is
//! being loaded, why the latest candidate is not active.
//!
//! Nothing here waits or touches anything: [`Slot::apply`] takes an event and answers what follows from it as
//! [`Effect`]s, which `state` and `handle` carry out.

use super::super::kinds::{Rejection, Stage};
use super::super::package::Fingerprint;
use super::lifecycle::{ChangeKind, PluginState, PluginStatus};
use super::remembered::{Activation, RolledBack, StateChange};

/// A loaded plugin, as far as a slot needs to know it.
pub(crate) trait Generation: Clone {
    /// What it was loaded from.
    fn fingerprint(&self) -> &Fingerprint;

    /// As operators are shown it.
    fn status(&self) -> PluginStatus;
}

/// Which load it is. No two loads have the same.
pub(crate) type Ticket = u64;

/// The folder of an id, or the plugin of an id in the relay's binary.
#[derive(Clone, Debug)]
pub(crate) struct Slot<P> {
    state: State<P>,
    /// The latest candidate, to tell whether something else is there now.
    tried: Option<Fingerprint>,
    /// Whether the latest manifest said that nothing may happen without this plugin.
    required: bool,
}

#[derive(Clone, Debug)]
enum State<P> {
    /// Nothing of it is asked.
    Vacant(Contender),
    /// A generation is asked.
    Active {
        incumbent: P,
        /// What was active before, for when the incumbent fails.
        previous: Option<P>,
        contender: Contender,
    },
    /// Somebody said that it is not to be loaded.
    Disabled(Box<PluginStatus>),
}

/// The latest candidate, where it is not what is active.
#[derive(Clone, Debug)]
enum Contender {
    Absent,
    Loading {
        ticket: Ticket,
        fingerprint: Fingerprint,
        /// The rejection of the candidate before it.
        earlier: Option<Box<PluginStatus>>,
    },
    Rejected(Box<PluginStatus>),
}

/// What happens to a slot.
#[derive(Clone, Debug)]
pub(crate) enum Event<P> {
    /// These files were found.
    Found {
        fingerprint: Fingerprint,
        /// Whether somebody asked for it, so that what was rejected is tried again.
        insisted: bool,
        /// Whether the operator state says that an earlier generation was gone back to.
        rolled_back: bool,
        finding: Finding,
    },
    /// The files cannot be read.
    Unreadable { status: PluginStatus, rejection: Rejection },
    /// The candidate of this ticket went through every stage.
    Loaded {
        ticket: Ticket,
        plugin: P,
        /// What to remember of it, if it is from the directory.
        remember: Option<Box<Activation>>,
    },
    /// The candidate of this ticket was rejected.
    Failed { ticket: Ticket, status: PluginStatus, rejection: Rejection },
    /// What was active when the relay last ran is there again.
    Restored { plugin: P, required: bool },
    /// It is not to be loaded. `is_seen` unless something of the same id hides it.
    Disabled { status: PluginStatus, reason: String, is_seen: bool },
    /// An operator went back: to this generation and whether it is required, or to the built-in plugin that is
    /// shown like this.
    RolledBack { to: Return<P>, because: RolledBack, unknown: PluginStatus, rejection: Rejection },
    /// The incumbent failed too often: what was before it is asked again, if it is not a built-in plugin.
    PutBack { to: Option<P>, because: RolledBack, rejection: Rejection },
    /// The folder is gone.
    Gone { unknown: PluginStatus },
}

/// What is to be made of files.
#[derive(Clone, Debug)]
pub(crate) enum Finding {
    /// The manifest is not acceptable.
    Refused { status: PluginStatus, rejection: Rejection },
    /// Somebody said that it is not to be loaded.
    Disabled { status: PluginStatus, reason: String },
    /// An operator or the relay went back from these very files.
    Aside { status: PluginStatus, rejection: Rejection, required: bool },
    /// It can be loaded, under this ticket.
    Loadable { ticket: Ticket, required: bool },
}

/// What an operator goes back to.
#[derive(Clone, Debug)]
pub(crate) enum Return<P> {
    Generation { plugin: P, required: bool },
    BuiltIn(Box<PluginStatus>),
}

/// What follows from a transition, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Is written to disk before the transition takes place. If it cannot be, the transition does not.
    Decide(StateChange),
    /// Is written to disk before the transition takes place, which does so in any case.
    Remember(StateChange),
    /// The candidate of this ticket is not wanted any more.
    Abandon { ticket: Ticket, why: &'static str },
    /// The candidate of this ticket is to be loaded. `is_silent` when it is tried again by itself until it works,
    /// which nobody wants to read of each time.
    Begin { ticket: Ticket, is_silent: bool },
    /// Goes into the history and the log.
    Note(PluginStatus),
    /// Goes into the metrics.
    Count { kind: ChangeKind, stage: &'static str },
    /// Everybody is told.
    Announce { kind: ChangeKind, plugin: PluginStatus },
    /// What is asked, or what is shown beside it, is not what it was.
    Publish,
}

/// The slots of one id that count: that of its folder, and that of the binary unless it has to give way. At most
/// one of them has an incumbent.
pub(crate) fn counting<'a, P>(
    folder: Option<&'a Slot<P>>,
    built_in: Option<&'a Slot<P>>,
) -> impl Iterator<Item = &'a Slot<P>> {
    let gives_way = folder.is_some_and(Slot::takes_its_id);
    folder.into_iter().chain(built_in.filter(|_| !gives_way))
}

impl<P> Slot<P> {
    /// Of a plugin of which nothing is known yet but whether it was required when the relay last ran.
    pub(crate) fn new(required: bool) -> Self {
        Self { state: State::Vacant(Contender::Absent), tried: None, required }
    }

    /// What is asked.
    pub(crate) fn incumbent(&self) -> Option<&P> {
        match &self.state {
            State::Active { incumbent, .. } => Some(incumbent),
            State::Vacant(_) | State::Disabled(_) => None,
        }
    }

    /// What was asked before the incumbent, and is still loaded.
    pub(crate) fn previous(&self) -> Option<&P> {
        match &self.state {
            State::Active { previous, .. } => previous.as_ref(),
            State::Vacant(_) | State::Disabled(_) => None,
        }
    }

    /// The latest candidate.
    pub(crate) fn tried(&self) -> Option<&Fingerprint> {
        self.tried.as_ref()
    }

    /// Whether nothing may happen without an active policy here.
    pub(crate) fn is_required(&self) -> bool {
        self.required
    }

    /// Whether somebody said that it is not to be loaded.
    pub(crate) fn is_disabled(&self) -> bool {
        matches!(self.state, State::Disabled(_))
    }

    /// Whether a built-in plugin of the same id has to give way.
    fn takes_its_id(&self) -> bool {
        self.incumbent().is_some() || self.is_disabled()
    }

    /// The candidate that is being loaded.
    pub(crate) fn loading(&self) -> Option<Ticket> {
        match self.contender()? {
            Contender::Loading { ticket, .. } => Some(*ticket),
            Contender::Absent | Contender::Rejected(_) => None,
        }
    }

    /// Why the latest candidate that was decided about is not active: rejected or disabled.
    pub(crate) fn idle(&self) -> Option<&PluginStatus> {
        match &self.state {
            State::Disabled(status) => Some(status),
            State::Vacant(contender) | State::Active { contender, .. } => contender.rejected(),
        }
    }

    /// Whether the latest rejection may pass by itself.
    pub(crate) fn is_passing(&self) -> bool {
        self.idle().and_then(|idle| idle.error.as_ref()).is_some_and(|error| error.passing)
    }

    fn contender(&self) -> Option<&Contender> {
        match &self.state {
            State::Vacant(contender) | State::Active { contender, .. } => Some(contender),
            State::Disabled(_) => None,
        }
    }

    /// Has another candidate take over from the one there. A slot that was disabled is vacant then.
    fn set_contender(&mut self, new: Contender) {
        match &mut self.state {
            State::Vacant(contender) | State::Active { contender, .. } => *contender = new,
            State::Disabled(_) => self.state = State::Vacant(new),
        }
    }

    /// Stops loading, if anything is being loaded.
    fn abandon(&mut self, why: &'static str, effects: &mut Vec<Effect>) {
        let Some(ticket) = self.loading() else {
            return;
        };
        let earlier = self.idle().cloned().map(Box::new);
        self.set_contender(earlier.map_or(Contender::Absent, Contender::Rejected));
        effects.extend([Effect::Abandon { ticket, why }, Effect::Publish]);
    }

    /// Lists a candidate as rejected, unless that has been said.
    fn reject(&mut self, mut status: PluginStatus, mut rejection: Rejection, effects: &mut Vec<Effect>) {
        rejection.digest = rejection.digest.or_else(|| status.digest.clone());
        let known = self.idle().and_then(|idle| idle.error.as_ref());
        if known.is_some_and(|known| known.says_the_same_as(&rejection)) {
            return;
        }
        effects.push(Effect::Count { kind: ChangeKind::Rejected, stage: rejection.stage.as_str() });
        status.since = Some(rejection.at);
        status.error = Some(rejection);
        effects.push(Effect::Note(status.clone()));
        effects.push(Effect::Announce { kind: ChangeKind::Rejected, plugin: status.clone() });
        let rejected = Some(Box::new(status));
        match &mut self.state {
            State::Vacant(contender) | State::Active { contender, .. } => contender.set_rejected(rejected),
            State::Disabled(_) => self.state = State::Vacant(rejected.map_or(Contender::Absent, Contender::Rejected)),
        }
    }
}

impl Contender {
    fn rejected(&self) -> Option<&PluginStatus> {
        match self {
            Self::Absent => None,
            Self::Loading { earlier, .. } => earlier.as_deref(),
            Self::Rejected(status) => Some(status),
        }
    }

    /// Says of which candidate the latest rejection is. One that is being loaded goes on.
    fn set_rejected(&mut self, rejected: Option<Box<PluginStatus>>) {
        match self {
            Self::Loading { earlier, .. } => *earlier = rejected,
            Self::Absent | Self::Rejected(_) => *self = rejected.map_or(Self::Absent, Self::Rejected),
        }
    }
}

impl<P: Generation> Slot<P> {
    /// Takes an event, and answers what follows from it: nothing when it changes nothing.
    pub(crate) fn apply(&mut self, event: Event<P>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Found { fingerprint, insisted, rolled_back, finding } => {
                self.found(fingerprint, insisted, rolled_back, finding, &mut effects);
            }
            Event::Unreadable { status, rejection } => {
                self.abandon("its folder cannot be read any more", &mut effects);
                self.tried = None;
                self.reject(status, rejection, &mut effects);
            }
            Event::Loaded { ticket, plugin, remember } => {
                if self.loading() == Some(ticket) {
                    effects.extend(remember.map(|activation| Effect::Remember(StateChange::Activated(activation))));
                    self.activate(plugin, ChangeKind::Activated, &mut effects);
                }
            }
            Event::Failed { ticket, status, rejection } => {
                if self.loading() == Some(ticket) {
                    let earlier = self.idle().cloned().map(Box::new);
                    self.set_contender(earlier.map_or(Contender::Absent, Contender::Rejected));
                    self.reject(status, rejection, &mut effects);
                    effects.push(Effect::Publish);
                }
            }
            Event::Restored { plugin, required } => {
                if let State::Vacant(contender) = &self.state {
                    let contender = contender.clone();
                    self.required |= required;
                    self.activate(plugin, ChangeKind::Activated, &mut effects);
                    self.set_contender(contender);
                }
            }
            Event::Disabled { status, reason, is_seen } => self.disable(status, reason, is_seen, &mut effects),
            Event::RolledBack { to, because, unknown, rejection } => {
                effects.push(Effect::Decide(StateChange::RolledBack(Some(because))));
                self.go_back(to, unknown, rejection, &mut effects);
            }
            Event::PutBack { to, because, rejection } => {
                if let State::Active { incumbent, contender, .. } = &self.state {
                    effects.push(Effect::Remember(StateChange::RolledBack(Some(because))));
                    let status = PluginStatus { state: PluginState::Rejected, ..incumbent.status() };
                    let mut contender = contender.clone();
                    contender.set_rejected(None);
                    self.state = match to {
                        Some(incumbent) => State::Active { incumbent, previous: None, contender },
                        None => State::Vacant(contender),
                    };
                    self.reject(status, rejection, &mut effects);
                }
            }
            Event::Gone { unknown } => {
                effects.push(Effect::Remember(StateChange::Gone));
                self.abandon("its folder is gone", &mut effects);
                let status = self.incumbent().map(P::status).or_else(|| self.idle().cloned());
                effects.push(Effect::Announce { kind: ChangeKind::Removed, plugin: status.unwrap_or(unknown) });
                *self = Self::new(false);
            }
        }
        effects
    }

    fn found(
        &mut self,
        fingerprint: Fingerprint,
        insisted: bool,
        rolled_back: bool,
        finding: Finding,
        effects: &mut Vec<Effect>,
    ) {
        let is_loading = |contender: &Contender| matches!(contender, Contender::Loading { fingerprint: of, .. } if *of == fingerprint);
        if self.contender().is_some_and(is_loading) {
            return;
        }
        if self.incumbent().is_some_and(|incumbent| *incumbent.fingerprint() == fingerprint) {
            if rolled_back {
                // Somebody put into the folder what had been gone back to.
                effects.push(Effect::Remember(StateChange::RolledBack(None)));
            }
            self.abandon("its folder is again what is active", effects);
            if self.idle().is_some() {
                effects.push(Effect::Publish);
            }
            self.set_contender(Contender::Absent);
            self.tried = Some(fingerprint);
            return;
        }
        let is_known = self.tried.as_ref() == Some(&fingerprint);
        if is_known && !insisted && !self.is_passing() {
            return;
        }
        self.abandon("its folder changed again", effects);
        self.tried = Some(fingerprint.clone());
        match finding {
            Finding::Refused { status, rejection } => self.reject(status, rejection, effects),
            Finding::Disabled { status, reason } => self.disable(status, reason, true, effects),
            // Even if it is not loaded: then nothing may happen until something is.
            Finding::Aside { status, rejection, required } => {
                self.required = required;
                self.reject(status, rejection, effects);
            }
            Finding::Loadable { ticket, required } => {
                self.required = required;
                let earlier = self.idle().filter(|_| !self.is_disabled()).cloned().map(Box::new);
                self.set_contender(Contender::Loading { ticket, fingerprint, earlier });
                effects.extend([Effect::Begin { ticket, is_silent: is_known && !insisted }, Effect::Publish]);
            }
        }
    }

    fn activate(&mut self, plugin: P, kind: ChangeKind, effects: &mut Vec<Effect>) {
        effects.push(Effect::Count { kind, stage: "active" });
        effects.push(Effect::Announce { kind, plugin: plugin.status() });
        let previous = self.incumbent().cloned();
        self.state = State::Active { incumbent: plugin, previous, contender: Contender::Absent };
    }

    fn disable(&mut self, status: PluginStatus, reason: String, is_seen: bool, effects: &mut Vec<Effect>) {
        let is_new = !self.is_disabled();
        self.abandon("it is disabled", effects);
        let rejection = Rejection { digest: status.digest.clone(), ..Rejection::new(Stage::Disabled, reason) };
        let since = Some(rejection.at);
        let status = PluginStatus { state: PluginState::Disabled, since, error: Some(rejection), ..status };
        if is_new {
            effects.push(Effect::Count { kind: ChangeKind::Disabled, stage: Stage::Disabled.as_str() });
            effects.push(Effect::Note(status.clone()));
            if is_seen {
                effects.push(Effect::Announce { kind: ChangeKind::Disabled, plugin: status.clone() });
            }
        }
        effects.push(Effect::Publish);
        self.state = State::Disabled(Box::new(status));
        self.required = false;
    }

    fn go_back(&mut self, to: Return<P>, unknown: PluginStatus, rejection: Rejection, effects: &mut Vec<Effect>) {
        self.abandon("an operator went back to an earlier generation", effects);
        let from = self.incumbent().filter(|from| Some(from.fingerprint()) == self.tried.as_ref());
        let status = from.map(P::status).or_else(|| self.idle().cloned()).unwrap_or(unknown);
        // What an operator went back from is nothing to be put back to.
        self.state = State::Vacant(Contender::Absent);
        match to {
            Return::Generation { plugin, required } => {
                self.required = required;
                self.activate(plugin, ChangeKind::RolledBack, effects);
            }
            Return::BuiltIn(plugin) => {
                effects.push(Effect::Count { kind: ChangeKind::RolledBack, stage: Stage::Rollback.as_str() });
                effects.push(Effect::Announce { kind: ChangeKind::RolledBack, plugin: *plugin });
            }
        }
        self.reject(PluginStatus { state: PluginState::Rejected, error: None, ..status }, rejection, effects);
    }
}

#[cfg(test)]
mod tests;
