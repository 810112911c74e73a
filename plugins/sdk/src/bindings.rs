//! The two worlds, generated from the WIT package, and what a provider may export beside its own; all share its types.
//!
//! For tests every value can be written as JSON and read from it, in the form that cases and recorded questions have.

/// A component that decides.
pub mod policy_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy-plugin",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_policy_world",
        default_bindings_module: "agent_relay_plugin::bindings::policy_world",
        additional_type_attributes: {
            "agent-relay:plugin/types@0.1.0/approval-mode": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]],
            "agent-relay:plugin/types@0.1.0/extension": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/types@0.1.0/path-facts": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/types@0.1.0/site": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/types@0.1.0/caller": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/control-kind": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/description": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/spawn": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/agent-facts": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/target": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/control": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/running-agent": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/context": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/denial": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/amendment": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/policy@0.1.0/verdict": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
        },
        additional_member_attributes: {
            "agent-relay:plugin/policy@0.1.0/description.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/policy@0.1.0/spawn.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/policy@0.1.0/context.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
        },
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
        additional_type_attributes: {
            "agent-relay:plugin/provider@0.1.0/description": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/spawn-request": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/launch-site": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/env-value": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/env-var": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/session-file": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/prompt-delivery": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/readiness": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/launch-plan": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/plan-error": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/message": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/presentation": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/stop-reason": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/provider@0.1.0/stop-plan": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
        },
        additional_member_attributes: {
            "agent-relay:plugin/provider@0.1.0/description.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/provider@0.1.0/spawn-request.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/provider@0.1.0/launch-site.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/provider@0.1.0/launch-plan.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
        },
        with: {
            "agent-relay:plugin/types@0.1.0": super::policy_world::agent_relay::plugin::types,
            "agent-relay:plugin/host@0.1.0": super::policy_world::agent_relay::plugin::host,
        },
    });
}

/// What a provider exports that also observes: this beside its own world.
pub mod observer_world {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package agent-relay:sdk;
            world observes {
                export agent-relay:plugin/observer@0.1.0;
            }
        ",
        world: "agent-relay:sdk/observes",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_observer_world",
        default_bindings_module: "agent_relay_plugin::bindings::observer_world",
        generate_all,
        additional_type_attributes: {
            "agent-relay:plugin/session@0.1.0/cursor": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/screen": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/granted-file": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/running-session": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/usage-limit": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/seen": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/session@0.1.0/observation": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
        },
        additional_member_attributes: {
            "agent-relay:plugin/session@0.1.0/running-session.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/session@0.1.0/observation.extensions": [#[cfg_attr(feature = "testing", serde(default, skip_serializing_if = "Vec::is_empty"))]],
            "agent-relay:plugin/session@0.1.0/running-session.files": [#[cfg_attr(feature = "testing", serde(default))]],
            "agent-relay:plugin/session@0.1.0/granted-file.cut": [#[cfg_attr(feature = "testing", serde(default))]],
            "agent-relay:plugin/session@0.1.0/granted-file.modified-ms": [#[cfg_attr(feature = "testing", serde(default))]],
        },
        with: {
            "agent-relay:plugin/types@0.1.0": super::policy_world::agent_relay::plugin::types,
        },
    });
}

/// What a provider exports that also delivers: this beside what it observes.
pub mod courier_world {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package agent-relay:sdk;
            world delivers {
                export agent-relay:plugin/courier@0.1.0;
            }
        ",
        world: "agent-relay:sdk/delivers",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_courier_world",
        default_bindings_module: "agent_relay_plugin::bindings::courier_world",
        additional_type_attributes: {
            "agent-relay:plugin/courier@0.1.0/notice": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/carrier": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/command": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/socket-lines": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/typing": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/way": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/file-text": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/sign": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
            "agent-relay:plugin/courier@0.1.0/attempt": [#[cfg_attr(feature = "testing", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "camelCase"))]],
        },
        with: {
            "agent-relay:plugin/types@0.1.0": super::policy_world::agent_relay::plugin::types,
            "agent-relay:plugin/session@0.1.0": super::observer_world::agent_relay::plugin::session,
        },
    });
}

pub use policy_world::agent_relay::plugin::{host, types};
