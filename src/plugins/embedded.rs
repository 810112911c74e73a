//! The plugins that ship with the relay, in its binary: the binary alone works.

use super::Embedded;

/// Every shipped plugin. Each gives way to a folder of its id.
pub const EMBEDDED: [Embedded; 1] = [
    Embedded {
        manifest: include_str!("../../plugins/containment/plugin.toml"),
        wasm: include_bytes!("../../plugins/containment/plugin.wasm"),
    },
];
