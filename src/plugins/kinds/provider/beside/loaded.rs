//! The optional interfaces of a loaded provider.

use wasmtime::component::InstancePre;

use super::super::super::super::runtime::bindings::{PACKAGE, TRACK};
use super::super::super::super::runtime::{CallError, Host, Inquiry, Sandbox};
use super::bindings::delivers::DeliversPre;
use super::bindings::observes::ObservesPre;
use super::recess::Recess;

/// The optional interfaces of one loaded provider.
#[derive(Default)]
pub(in super::super) struct Beside {
    pub(super) observes: Option<Optional<ObservesPre<Host>>>,
    pub(super) delivers: Option<Optional<DeliversPre<Host>>>,
}

/// One interface that need not be there.
pub(super) struct Optional<Pre> {
    pub(super) pre: Pre,
    pub(super) recess: Recess,
}

impl Beside {
    /// Those of a component that exports these interfaces.
    pub(in super::super) fn of(pre: &InstancePre<Host>, exports: &[String]) -> wasmtime::Result<Self> {
        let has = |name: &str| exports.iter().any(|export| *export == format!("{PACKAGE}{name}@{TRACK}"));
        let observes = has("observer").then(|| ObservesPre::new(pre.clone())).transpose()?;
        let delivers = has("courier").then(|| DeliversPre::new(pre.clone())).transpose()?;
        Ok(Self { observes: observes.map(Optional::new), delivers: delivers.map(Optional::new) })
    }

    /// Whether it says what it sees.
    pub(in super::super) fn observes(&self) -> bool {
        self.observes.is_some()
    }

    /// Whether it names ways into a session.
    pub(in super::super) fn delivers(&self) -> bool {
        self.delivers.is_some()
    }

    /// Makes an instance for each, which shows that its types are the relay's.
    pub(in super::super) async fn instantiate(&self, sandbox: &Sandbox) -> Result<(), CallError> {
        let nothing = Inquiry::of_nothing();
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
