//! Any sequence of changes to a folder, operators' actions and restarts comes out as a small model of
//! it says.

use std::fs;
use std::path::PathBuf;

use agent_relay::domain::control::Outcome;
use agent_relay::plugins::{Action, Options, PluginState, Plugins};
use proptest::prelude::*;

use crate::plugins::{Home, decide, denial, guest, open, policy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Good(u8),
    /// A manifest like any other, and a component that is none.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(Content),
    Remove,
    Reload,
    RollBack,
    Enable,
    Disable,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4u8).prop_map(|number| Step::Put(Content::Good(number))),
        1 => Just(Step::Put(Content::Broken)),
        1 => Just(Step::Remove),
        1 => Just(Step::Reload),
        4 => Just(Step::RollBack),
        2 => Just(Step::Enable),
        1 => Just(Step::Disable),
        2 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..24)
}

/// What there should be.
#[derive(Debug, Default)]
struct Model {
    folder: Option<Content>,
    active: Option<u8>,
    /// In the order of their last activation from the folder.
    kept: Vec<u8>,
    /// What is set aside, and what is active instead.
    rolled_back: Option<(Content, u8)>,
    disabled: bool,
    /// Whether the folder went away since something of it was active.
    gone: bool,
}

impl Model {
    /// Takes a step, and answers whether the relay should have.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Put(content) => self.folder = Some(content),
            Step::Remove => {
                self.gone |= self.folder.is_some();
                (self.folder, self.rolled_back) = (None, None);
            }
            Step::Reload => {}
            Step::Restart => self.active = None,
            Step::Enable | Step::Disable | Step::RollBack if self.folder.is_none() => return false,
            Step::Enable if self.disabled => self.disabled = false,
            Step::Enable => self.rolled_back = None,
            Step::Disable => self.disabled = true,
            Step::RollBack if self.disabled => return false,
            Step::RollBack => {
                let place = self.kept.iter().position(|kept| Some(*kept) == self.active);
                let earlier = &self.kept[..place.unwrap_or(self.kept.len())];
                let (Some(&to), Some(aside)) = (earlier.last(), self.folder) else { return false };
                (self.rolled_back, self.active, self.gone) = (Some((aside, to)), Some(to), false);
            }
        }
        self.look();
        true
    }

    fn look(&mut self) {
        let Some(content) = self.folder.filter(|_| !self.disabled) else {
            self.active = None;
            return;
        };
        match (content, self.rolled_back) {
            (Content::Good(number), _) if self.active == Some(number) => self.rolled_back = None,
            (_, Some((aside, to))) if aside == content => self.active = Some(to),
            (Content::Good(number), _) => {
                self.kept.retain(|kept| *kept != number);
                self.kept.push(number);
                (self.active, self.rolled_back, self.gone) = (Some(number), None, false);
            }
            (Content::Broken, _) => {
                let earlier = self.rolled_back.map(|(_, to)| to).or(self.kept.last().copied());
                self.active = self.active.or(earlier.filter(|_| !self.gone));
            }
        }
    }
}

/// The relay's side.
struct Relay {
    home: Home,
    options: Options,
    plugins: Plugins,
    wasm: Vec<u8>,
}

impl Relay {
    async fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Put(Content::Good(number)) => self.put(number, &self.wasm),
            Step::Put(Content::Broken) => self.put(9, b"garbage"),
            Step::Remove => drop(fs::remove_dir_all(self.home.folder("guard"))),
            Step::Reload => {}
            Step::Restart => self.plugins = open(self.options.clone()).await,
            Step::RollBack => return self.act(Action::RollBack).await,
            Step::Enable => return self.act(Action::Enable).await,
            Step::Disable => return self.act(Action::Disable).await,
        }
        self.plugins.reload(None).await;
        true
    }

    fn put(&self, number: u8, wasm: &[u8]) {
        self.home.put("guard", &policy("guard", &format!("marker = '{number}'")), wasm);
    }

    async fn act(&self, action: Action) -> bool {
        self.plugins.act("guard", action, None).await.is_ok()
    }

    /// Which good content is asked, if any is.
    async fn active(&self) -> Option<u8> {
        let decision = decide(&self.plugins, "deny").await;
        match decision.outcome {
            Outcome::Allowed(_) => None,
            _ => denial(&decision).1.parse().ok(),
        }
    }
}

async fn run(steps: &[Step], cache: PathBuf) -> Result<(), TestCaseError> {
    let home = Home::new();
    let options = Options { cache_directory: cache, ..home.options() };
    let plugins = open(options.clone()).await;
    let mut relay = Relay { home, options, plugins, wasm: guest("misbehave") };
    let mut model = Model::default();
    for (number, &step) in steps.iter().enumerate() {
        let (did, should) = (relay.take(step).await, model.take(step));
        prop_assert_eq!(did, should, "step {}, {:?}: {:?}", number, step, model);
        let listed = relay.plugins.list();
        prop_assert_eq!(relay.active().await, model.active, "step {}, {:?}: {:?} {:#?}", number, step, model, listed);
        let disabled = listed.iter().any(|status| status.state == PluginState::Disabled);
        prop_assert_eq!(disabled, model.disabled && model.folder.is_some(), "step {}, {:?}", number, step);
    }
    Ok(())
}

#[test]
fn any_sequence_ends_as_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let cache = tempfile::tempdir().expect("a temporary directory");
    let config = ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(24) };
    proptest!(config, |(steps in steps())| {
        runtime.block_on(run(&steps, cache.path().to_owned()))?;
    });
}
