//! The Rust side of `wit/`, generated, and the way to and from the relay's own values.
//!
//! There is one pair of generated worlds for each published track. Nothing outside `plugins` sees
//! these types: a second track gets its own conversions here and its own arm in `track`, and nothing
//! else changes.

mod answers;
mod questions;

/// World `policy-plugin`, and the interfaces both worlds share.
pub(super) mod policy {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "policy-plugin",
        exports: { default: async },
    });
}

/// World `provider-plugin`.
pub(super) mod provider {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "provider-plugin",
        exports: { default: async },
        with: {
            "agent-relay:plugin/types": super::policy::agent_relay::plugin::types,
            "agent-relay:plugin/host": super::policy::agent_relay::plugin::host,
        },
    });
}

pub(super) use policy::agent_relay::plugin::{host as host_wit, types as types_wit};
pub(super) use policy::exports::agent_relay::plugin::policy as policy_wit;
pub(super) use provider::exports::agent_relay::plugin::provider as provider_wit;

/// The package of every interface here, without the version.
pub(super) const PACKAGE: &str = "agent-relay:plugin/";
/// The track this relay speaks.
pub(super) const TRACK: &str = "0.1.0";

/// A second track, to prove that two can be active side by side. Outside of tests there is none.
#[cfg(test)]
pub(super) mod next {
    wasmtime::component::bindgen!({
        path: "tests/plugins/next/wit",
        world: "policy-plugin",
        exports: { default: async },
    });
}
