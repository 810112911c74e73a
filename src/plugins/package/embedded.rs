//! The plugins that ship with the relay, in its binary: the binary alone works.

/// A plugin in the relay's binary. It runs in the same sandbox as any other, and gives way to a
/// folder of its id.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// Its `plugin.toml`.
    pub manifest: &'static str,
    /// Its `plugin.wasm`.
    pub wasm: &'static [u8],
}

macro_rules! embedded {
    ($id:literal) => {
        Embedded {
            manifest: include_str!(concat!("../../../plugins/", $id, "/plugin.toml")),
            wasm: include_bytes!(concat!("../../../plugins/", $id, "/plugin.wasm")),
        }
    };
}

/// Every shipped plugin. Each gives way to a folder of its id.
pub const EMBEDDED: [Embedded; 4] =
    [embedded!("claude"), embedded!("codex"), embedded!("containment"), embedded!("control-guard")];
