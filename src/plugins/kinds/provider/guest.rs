//! A loaded provider.

use wasmtime::Store;

use crate::domain::control::ApprovalMode;

use super::super::super::runtime::Host;
use super::beside::Beside;
use super::bindings::{ProviderPlugin, ProviderPluginPre};

/// The part of a plugin that only providers have.
pub(crate) struct Provider {
    pub(super) pre: ProviderPluginPre<Host>,
    /// What it exports beside its own interface.
    pub(super) beside: Beside,
    /// The programs it says its plans name.
    pub(super) executables: Vec<String>,
    pub(super) approval_modes: Vec<ApprovalMode>,
    pub(super) takes_prompt: bool,
}

impl Provider {
    /// A fresh instance, whose making is measured.
    pub(super) async fn instance(&self, store: &mut Store<Host>) -> wasmtime::Result<ProviderPlugin> {
        let guest = self.pre.instantiate_async(&mut *store).await?;
        store.data_mut().has_instance();
        Ok(guest)
    }
}
