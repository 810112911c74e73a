//! Any sequence of events keeps what a slot promises.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::super::package::{Origin, RequestedGrants, Source};
use super::super::remembered::Content;
use super::*;

/// A plugin, as a slot sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fake {
    generation: u64,
    fingerprint: Fingerprint,
}

impl Generation for Fake {
    fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    fn status(&self) -> PluginStatus {
        PluginStatus { generation: Some(self.generation), ..status(PluginState::Active) }
    }
}

fn status(state: PluginState) -> PluginStatus {
    PluginStatus::unknown("guard", Origin::Directory, state)
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint { wasm: format!("{number}"), manifest: String::new(), minisig: None }
}

fn rejection(stage: Stage, number: u8) -> Rejection {
    Rejection::new(stage, format!("reason {number}"))
}

fn activation() -> Box<Activation> {
    let source = Source {
        origin: Origin::Directory,
        name: "guard".into(),
        manifest: String::new(),
        wasm: Bytes::new(),
        minisig: None,
    };
    let content = Content::of(&fingerprint(0));
    Box::new(Activation { source, content, required: false, requested: RequestedGrants::default() })
}

/// What the world does to a slot. Tickets and generations are given as the registry would.
#[derive(Clone, Debug)]
enum Step {
    Find {
        files: u8,
        insisted: bool,
        required: bool,
    },
    FindRefused(u8),
    FindDisabled(u8),
    FindAside {
        files: u8,
        required: bool,
    },
    Unreadable,
    Load,
    Fail(u8),
    /// A load that was overtaken ends after all.
    LoadStale,
    FailStale,
    Disable,
    /// Only where nothing is active or being loaded, as the registry does.
    Restore {
        files: u8,
        required: bool,
    },
    RollBack {
        files: Option<u8>,
        required: bool,
    },
    PutBack {
        has_earlier: bool,
    },
    Gone,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let files = 0..3u8;
    let step = prop_oneof![
        4 => (files.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(files, insisted, required)| Step::Find { files, insisted, required }),
        1 => files.clone().prop_map(Step::FindRefused),
        1 => files.clone().prop_map(Step::FindDisabled),
        1 => (files.clone(), any::<bool>()).prop_map(|(files, required)| Step::FindAside { files, required }),
        1 => Just(Step::Unreadable),
        4 => Just(Step::Load),
        2 => files.clone().prop_map(Step::Fail),
        1 => Just(Step::LoadStale),
        1 => Just(Step::FailStale),
        1 => Just(Step::Disable),
        1 => (files.clone(), any::<bool>()).prop_map(|(files, required)| Step::Restore { files, required }),
        1 => (proptest::option::of(files), any::<bool>())
            .prop_map(|(files, required)| Step::RollBack { files, required }),
        1 => any::<bool>().prop_map(|has_earlier| Step::PutBack { has_earlier }),
        1 => Just(Step::Gone),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A slot and what is known of it from outside.
struct World {
    slot: Slot<Fake>,
    tickets: Ticket,
    generations: u64,
    /// The loads that were begun and neither ended nor abandoned.
    open: Vec<Ticket>,
    /// What the latest manifest that was understood says.
    required: bool,
}

impl World {
    fn new() -> Self {
        Self { slot: Slot::new(false), tickets: 0, generations: 0, open: Vec::new(), required: false }
    }

    fn fake(&mut self, number: u8) -> Fake {
        self.generations += 1;
        Fake { generation: self.generations, fingerprint: fingerprint(number) }
    }

    fn found(number: u8, insisted: bool, finding: Finding) -> Event<Fake> {
        Event::Found { fingerprint: fingerprint(number), insisted, rolled_back: false, finding }
    }

    /// The event that this step is now; nothing where the registry would not let it happen.
    fn event(&mut self, step: &Step) -> Option<Event<Fake>> {
        let because = RolledBack { aside: None, to: None, because: None };
        Some(match *step {
            Step::Find { files, insisted, required } => {
                self.tickets += 1;
                Self::found(files, insisted, Finding::Loadable { ticket: self.tickets, required })
            }
            Step::FindRefused(files) => {
                let (status, rejection) = (status(PluginState::Rejected), rejection(Stage::Manifest, files));
                Self::found(files, false, Finding::Refused { status, rejection })
            }
            Step::FindDisabled(files) => {
                let (status, reason) = (status(PluginState::Rejected), "off".to_owned());
                Self::found(files, false, Finding::Disabled { status, reason })
            }
            Step::FindAside { files, required } => {
                let (status, rejection) = (status(PluginState::Rejected), rejection(Stage::Rollback, files));
                Self::found(files, false, Finding::Aside { status, rejection, required })
            }
            Step::Unreadable => {
                Event::Unreadable { status: status(PluginState::Rejected), rejection: rejection(Stage::Read, 0) }
            }
            Step::Load => {
                let Contender::Loading { ticket, fingerprint, .. } = self.slot.contender()?.clone() else {
                    return None;
                };
                self.generations += 1;
                let plugin = Fake { generation: self.generations, fingerprint };
                Event::Loaded { ticket, plugin, remember: Some(activation()) }
            }
            Step::Fail(number) => Event::Failed {
                ticket: self.slot.loading()?,
                status: status(PluginState::Rejected),
                rejection: rejection(Stage::Probe, number),
            },
            Step::LoadStale => Event::Loaded { ticket: 0, plugin: self.fake(9), remember: Some(activation()) },
            Step::FailStale => Event::Failed {
                ticket: 0,
                status: status(PluginState::Rejected),
                rejection: rejection(Stage::Probe, 9),
            },
            Step::Disable => {
                Event::Disabled { status: status(PluginState::Rejected), reason: "off".into(), is_seen: true }
            }
            Step::Restore { .. } if self.slot.takes_its_id() || self.slot.loading().is_some() => return None,
            Step::Restore { files, required } => Event::Restored { plugin: self.fake(files), required },
            Step::RollBack { .. } if self.slot.is_disabled() => return None,
            Step::RollBack { files, required } => {
                let to = match files {
                    Some(files) => Return::Generation { plugin: self.fake(files), required },
                    None => Return::BuiltIn(Box::new(status(PluginState::Active))),
                };
                let rejection = rejection(Stage::Rollback, 0);
                Event::RolledBack { to, because, unknown: status(PluginState::Rejected), rejection }
            }
            Step::PutBack { .. } if self.slot.incumbent().is_none() => return None,
            Step::PutBack { has_earlier } => {
                let to = self.slot.previous().cloned().or_else(|| has_earlier.then(|| self.fake(8)));
                Event::PutBack { to, because, rejection: rejection(Stage::Quarantine, 0) }
            }
            Step::Gone => Event::Gone { unknown: status(PluginState::Disabled) },
        })
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let (before, known) = (self.slot.clone(), self.slot.idle().and_then(|idle| idle.error.clone()));
        let Some(event) = self.event(step) else {
            return Ok(());
        };
        let effects = self.slot.apply(event.clone());
        self.follow_loads(&effects)?;
        self.follow_required(&before, &event, &effects);

        // What is to be on disk is there first, and what is written into the history says why.
        let is_kept = |effect: &Effect| matches!(effect, Effect::Decide(_) | Effect::Remember(_));
        prop_assert!(!effects.iter().skip_while(|effect| is_kept(effect)).any(is_kept), "{:?}", effects);
        for effect in &effects {
            if let Effect::Note(status) = effect {
                prop_assert!(matches!(status.state, PluginState::Rejected | PluginState::Disabled), "{:?}", status);
                prop_assert!(status.error.is_some() && status.since.is_some(), "{:?}", status);
            }
        }
        let (was, is) = (before.incumbent(), self.slot.incumbent());
        // What is asked changes by a load, an operator, a failure and a removal: never by a candidate.
        let may_change = matches!(
            event,
            Event::Loaded { .. }
                | Event::Restored { .. }
                | Event::RolledBack { .. }
                | Event::PutBack { .. }
                | Event::Gone { .. }
                | Event::Disabled { .. }
                | Event::Found { finding: Finding::Disabled { .. }, .. }
        );
        prop_assert!(was == is || may_change, "{:?} made {:?} of {:?}", event, is, was);
        if was != is {
            let is_told = |effect: &Effect| matches!(effect, Effect::Announce { .. } | Effect::Publish);
            prop_assert!(effects.iter().any(is_told), "nobody was told of {:?}", event);
        }
        // A new generation is a later one, but for what is gone back to.
        if let (Some(was), Some(is), Event::Loaded { .. }) = (was, is, &event) {
            prop_assert!(is.generation >= was.generation);
            prop_assert!(was == is || self.slot.previous() == Some(was), "the one before it is kept");
        }
        if before.is_disabled() && !self.slot.is_disabled() {
            // Only files that were found again end it, and nothing is asked before they are loaded.
            let is_found = matches!(event, Event::Found { .. } | Event::Unreadable { .. } | Event::Gone { .. });
            prop_assert!(is_found && is.is_none(), "{:?} ended that it is disabled", event);
        }
        if matches!(event, Event::Loaded { ticket: 0, .. } | Event::Failed { ticket: 0, .. }) {
            prop_assert!(effects.is_empty(), "what was overtaken has no effect: {:?}", effects);
        }
        // The same is not said twice.
        let repeats = effects.iter().filter_map(|effect| match effect {
            Effect::Announce { kind: ChangeKind::Rejected, plugin } => plugin.error.as_ref(),
            _ => None,
        });
        let is_return = matches!(event, Event::RolledBack { .. } | Event::PutBack { .. });
        for error in repeats {
            prop_assert!(is_return || !known.as_ref().is_some_and(|known| known.says_the_same_as(error)));
        }
        self.holds()
    }

    /// Every load ends by its own event or is abandoned, and only one is awaited.
    fn follow_loads(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Begin { ticket, .. } => self.open.push(*ticket),
                Effect::Abandon { ticket, .. } => {
                    prop_assert!(self.open.contains(ticket), "{} was not begun", ticket);
                    self.open.retain(|open| open != ticket);
                }
                _ => {}
            }
        }
        let awaited = self.slot.loading();
        prop_assert!(self.open.len() <= 1 + usize::from(awaited.is_none()), "{:?} at once", self.open);
        self.open.retain(|open| Some(*open) == awaited);
        prop_assert_eq!(self.open.first().copied(), awaited);
        Ok(())
    }

    fn follow_required(&mut self, before: &Slot<Fake>, event: &Event<Fake>, effects: &[Effect]) {
        let is_begun = effects.iter().any(|effect| matches!(effect, Effect::Begin { .. }));
        match event {
            Event::Found { finding: Finding::Loadable { required, .. }, .. } if is_begun => self.required = *required,
            Event::Found { finding: Finding::Aside { required, .. }, fingerprint, .. }
                if before.tried() != Some(fingerprint)
                    && before.incumbent().is_none_or(|incumbent| incumbent.fingerprint != *fingerprint) =>
            {
                self.required = *required;
            }
            Event::Restored { required, .. } => self.required |= *required,
            Event::RolledBack { to: Return::Generation { required, .. }, .. } => self.required = *required,
            Event::Gone { .. } => self.required = false,
            // Whoever disables it says that it need not be there.
            _ if self.slot.is_disabled() => self.required = false,
            _ => {}
        }
    }

    /// What always holds.
    fn holds(&self) -> Result<(), TestCaseError> {
        let slot = &self.slot;
        prop_assert!(!(slot.is_disabled() && (slot.incumbent().is_some() || slot.loading().is_some())));
        // What is required and lost is missing, until somebody says that it need not be there.
        prop_assert!(slot.is_disabled() || slot.is_required() || !self.required, "forgot that it is required");
        prop_assert!(slot.previous().is_none() || slot.incumbent().is_some());
        prop_assert!(slot.previous().is_none_or(|previous| Some(previous) != slot.incumbent()));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_events_keeps_what_a_slot_promises(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However the folder and the binary come to what they are.
    #[test]
    fn an_id_never_has_two_active_generations(folder in steps(), built_in in steps()) {
        let (mut one, mut other) = (World::new(), World::new());
        for number in 0..folder.len().max(built_in.len()) {
            for (world, steps) in [(&mut one, &folder), (&mut other, &built_in)] {
                steps.get(number).map_or(Ok(()), |step| world.take(step))?;
            }
            let active = counting(Some(&one.slot), Some(&other.slot)).filter_map(Slot::incumbent).count();
            let disabled = one.slot.is_disabled() && active > 0;
            prop_assert!(active <= 1 && !disabled, "{} active", active);
        }
    }
}

fn loaded(slot: &mut Slot<Fake>, generation: u64, number: u8) -> Vec<Effect> {
    let finding = Finding::Loadable { ticket: generation, required: false };
    slot.apply(World::found(number, false, finding));
    let plugin = Fake { generation, fingerprint: fingerprint(number) };
    slot.apply(Event::Loaded { ticket: generation, plugin, remember: Some(activation()) })
}

#[test]
fn a_generation_is_on_disk_before_anybody_is_told() {
    let mut slot = Slot::new(false);
    let effects = loaded(&mut slot, 1, 1);
    assert!(
        matches!(
            &effects[..],
            [
                Effect::Remember(StateChange::Activated(_)),
                Effect::Count { stage: "active", .. },
                Effect::Announce { kind: ChangeKind::Activated, .. }
            ]
        ),
        "{effects:?}"
    );
    assert_eq!(slot.incumbent().map(|incumbent| incumbent.generation), Some(1));
}

#[test]
fn a_failing_generation_gives_way_to_the_one_before_it_and_a_load_goes_on() {
    let mut slot = Slot::new(false);
    loaded(&mut slot, 1, 1);
    loaded(&mut slot, 2, 2);
    slot.apply(World::found(3, false, Finding::Loadable { ticket: 3, required: false }));
    let because = RolledBack { aside: None, to: None, because: Some("failed".into()) };
    let (to, rejection) = (slot.previous().cloned(), rejection(Stage::Quarantine, 0));
    slot.apply(Event::PutBack { to, because, rejection });
    assert_eq!((slot.incumbent().map(|plugin| plugin.generation), slot.loading()), (Some(1), Some(3)));
    assert!(slot.previous().is_none() && slot.idle().is_some());
}

#[test]
fn the_same_files_again_change_nothing() {
    let mut slot = Slot::new(false);
    loaded(&mut slot, 1, 1);
    for insisted in [false, true] {
        let finding = Finding::Loadable { ticket: 9, required: true };
        let effects = slot.apply(World::found(1, insisted, finding));
        assert!(effects.is_empty() && !slot.is_required(), "{effects:?}");
    }
}
