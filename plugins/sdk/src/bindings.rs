//! The two worlds, generated from the WIT package, sharing its types.

/// A component that decides.
pub mod policy_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy-plugin",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_policy_world",
        default_bindings_module: "agent_relay_plugin::bindings::policy_world",
    });
}

/// A component that plans.
pub mod provider_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "provider-plugin",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_provider_world",
        default_bindings_module: "agent_relay_plugin::bindings::provider_world",
        with: {
            "agent-relay:plugin/types@0.1.0": super::policy_world::agent_relay::plugin::types,
            "agent-relay:plugin/host@0.1.0": super::policy_world::agent_relay::plugin::host,
        },
    });
}

pub use policy_world::agent_relay::plugin::{host, types};
