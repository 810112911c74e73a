//! A plugin as files: its folder, its manifest, and what both say before any of its code has run.
//!
//! - `folder` reads a plugin's folder without trusting it; `stamp` tells whether it may have changed, `mount` what
//!   it lies on.
//! - `manifest` is `plugin.toml`, `terms` is what holds once the operator has been heard, `grants` is
//!   what plans may use, `limits` what a call may use, `kind` what a plugin does, `names` which names each
//!   of them takes, `pattern` which paths.
//! - `source` is everything that a plugin is made from, with its fingerprint. `embedded` is the source of
//!   the plugins in the binary.
//! - `requested_grants` compares what a new plugin wants with what its predecessor was allowed.
//! - `signature` checks minisign signatures. `private` reads and writes files that only the relay may touch.
//!
//! Knows nothing of WebAssembly.

mod embedded;
mod folder;
mod grants;
mod kind;
mod limits;
mod manifest;
mod mount;
mod names;
mod pattern;
mod private;
mod requested_grants;
mod signature;
mod source;
mod stamp;
mod terms;

pub use embedded::{EMBEDDED, Embedded};
pub use grants::{AllowedGrants, Grants};
pub use kind::PluginKind;
pub use limits::{
    CALLS_MAX, DEADLINE_MS_MAX, INPUT_KB_MAX, LOG_LINES_MAX, Limits, LimitsWanted, MEMORY_MB_MAX, OUTPUT_KB_MAX,
};
pub use mount::network_file_system;
pub use pattern::Glob;
pub use signature::check_public_key;
pub use source::Origin;
pub use terms::PluginConfig;

pub(crate) use folder::{FOLDERS_MAX, MANIFEST_BYTES_MAX, WASM_BYTES_MAX, list, read};
pub(crate) use manifest::Manifest;
pub(crate) use names::{
    check_env_name, check_executable, check_file_name, check_id, check_version, file_name_of_absolute,
};
pub(crate) use private::{make_directory, open_private, write_durably, write_private, write_whole};
pub(crate) use requested_grants::RequestedGrants;
pub(crate) use signature::{MINISIG_BYTES_MAX, verify};
pub(crate) use source::{Fingerprint, Source, sha256_hex};
pub(crate) use stamp::{Stamp, stamp};
pub(crate) use terms::Terms;
