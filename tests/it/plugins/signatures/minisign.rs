//! Signing as `minisign -S` does it, with keys that live as long as a test.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2b_simd::blake2b;
use ed25519_compact::{KeyPair, Seed};

/// A key, and the name of it that its signatures carry.
pub(super) struct Signer {
    pair: KeyPair,
    id: [u8; 8],
}

impl Signer {
    /// A key that nobody had before.
    pub(super) fn new() -> Self {
        let (mut seed, mut id) = ([0; 32], [0; 8]);
        getrandom::fill(&mut seed).expect("randomness");
        getrandom::fill(&mut id).expect("randomness");
        Self { pair: KeyPair::from_seed(Seed::new(seed)), id }
    }

    /// The second line of its `minisign.pub`.
    pub(super) fn public_key(&self) -> String {
        STANDARD.encode([&b"Ed"[..], &self.id[..], &self.pair.pk[..]].concat())
    }

    /// The text of `plugin.wasm.minisig` for this component.
    pub(super) fn sign(&self, component: &[u8], comment: &str) -> String {
        self.sign_as(self, component, comment)
    }

    /// The same under the name of somebody else's key.
    pub(super) fn sign_as(&self, other: &Self, component: &[u8], comment: &str) -> String {
        let signature = self.pair.sk.sign(blake2b(component).as_bytes(), None);
        let global = self.pair.sk.sign([&signature[..], comment.as_bytes()].concat(), None);
        let line = STANDARD.encode([&b"ED"[..], &other.id[..], &signature[..]].concat());
        let global = STANDARD.encode(&global[..]);
        format!("untrusted comment: signature of a test\n{line}\ntrusted comment: {comment}\n{global}\n")
    }
}
