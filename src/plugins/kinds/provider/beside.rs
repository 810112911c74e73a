//! What a provider may export beside its own interface: `observer`, what is seen in a running session, and `courier`,
//! the ways into one.
//!
//! Either is optional, so its failures are its own: they never put the provider back. One that fails too often is left
//! alone for a while, and whoever asked does without it.

mod bindings;
mod deliver;
mod observe;
mod recess;

use wasmtime::component::InstancePre;

use super::super::super::runtime::bindings::{PACKAGE, TRACK};
use super::super::super::runtime::{CallError, Host, Sandbox};
use bindings::delivers::DeliversPre;
use bindings::observes::ObservesPre;
use recess::Recess;

pub(crate) use deliver::deliver;
pub(crate) use observe::observe;

/// The optional interfaces of one loaded provider.
#[derive(Default)]
pub(super) struct Beside {
    observes: Option<Optional<ObservesPre<Host>>>,
    delivers: Option<Optional<DeliversPre<Host>>>,
}

/// One interface that need not be there.
struct Optional<Pre> {
    pre: Pre,
    recess: Recess,
}

impl Beside {
    /// Those of a component that exports these interfaces.
    pub(super) fn of(pre: &InstancePre<Host>, exports: &[String]) -> wasmtime::Result<Self> {
        let has = |name: &str| exports.iter().any(|export| *export == format!("{PACKAGE}{name}@{TRACK}"));
        let observes = has("observer").then(|| ObservesPre::new(pre.clone())).transpose()?;
        let delivers = has("courier").then(|| DeliversPre::new(pre.clone())).transpose()?;
        Ok(Self { observes: observes.map(Optional::new), delivers: delivers.map(Optional::new) })
    }

    /// Whether it says what it sees.
    pub(super) fn observes(&self) -> bool {
        self.observes.is_some()
    }

    /// Whether it names ways into a session.
    pub(super) fn delivers(&self) -> bool {
        self.delivers.is_some()
    }

    /// Makes an instance for each, which shows that its types are the relay's.
    pub(super) async fn instantiate(&self, sandbox: &Sandbox) -> Result<(), CallError> {
        let nothing = super::Inquiry::of_nothing();
        if let Some(Optional { pre, .. }) = &self.observes {
            let instantiate = async |store: &mut wasmtime::Store<Host>| pre.instantiate_async(store).await;
            sandbox.call("instantiate", &nothing, instantiate, |_| Ok(())).await?;
        }
        if let Some(Optional { pre, .. }) = &self.delivers {
            let instantiate = async |store: &mut wasmtime::Store<Host>| pre.instantiate_async(store).await;
            sandbox.call("instantiate", &nothing, instantiate, |_| Ok(())).await?;
        }
        Ok(())
    }
}

impl<Pre> Optional<Pre> {
    fn new(pre: Pre) -> Self {
        Self { pre, recess: Recess::default() }
    }
}
