//! What a plugin is made from.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::domain::text::hex::hex;

/// Where a plugin comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Embedded in the relay's binary.
    BuiltIn,
    /// A folder of the plugin directory.
    Directory,
}

/// The files of one plugin.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    /// The name of its folder, which its manifest must repeat.
    pub(crate) name: String,
    pub(crate) manifest: String,
    pub(crate) wasm: Bytes,
    /// The text of its signature, if it has to have one and has.
    pub(crate) minisig: Option<String>,
}

impl Source {
    /// Blocks for as long as hashing the component takes.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { wasm: sha256_hex(&self.wasm), manifest: self.manifest.clone(), minisig: self.minisig.clone() }
    }
}

/// What a plugin was loaded from. Equal means that loading it again would change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// SHA-256 of the component, in hexadecimal.
    pub(crate) wasm: String,
    /// The manifest's text.
    pub(crate) manifest: String,
    /// The signature, of a plugin that has to be signed.
    pub(crate) minisig: Option<String>,
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
