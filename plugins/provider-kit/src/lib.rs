//! What the providers for interactive coding agents have in common. No component itself.
//!
//! - `bindings`: the world `provider-plugin`, generated from `wit/`
//! - [`settings`]: reading an operator's settings and saying what is wrong with them
//! - [`environment`]: which variables a session is given
//! - [`words`]: what an agent is told at its start, and how a message is put to it

pub mod environment;
pub mod settings;
pub mod words;

pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "provider-plugin",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        default_bindings_module: "provider_kit::bindings",
    });
}

pub use bindings::agent_relay::plugin::host;
pub use bindings::agent_relay::plugin::types::ApprovalMode;
pub use bindings::exports::agent_relay::plugin::provider::*;
