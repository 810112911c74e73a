//! The Rust side of the interfaces in `wit/` that every world shares, generated. The worlds themselves
//! belong to the kinds of plugins.

wasmtime::component::bindgen!({
    inline: "
        package agent-relay:shared;

        world shared {
            import agent-relay:plugin/types@0.1.0;
            import agent-relay:plugin/host@0.1.0;
        }
    ",
    path: "wit",
    world: "agent-relay:shared/shared",
});

pub(crate) use self::agent_relay::plugin::{host, types};

/// The package of every interface of a plugin, without the version.
pub(crate) const PACKAGE: &str = "agent-relay:plugin/";
/// The track this relay speaks: the version of the interfaces.
pub(crate) const TRACK: &str = "0.1.0";
