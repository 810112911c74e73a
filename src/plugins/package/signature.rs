//! Signatures of components, as `minisign -S` makes them. An operator who names a public key for a plugin
//! has it loaded only with a signature by that key, whoever can write the folder.

use minisign_verify::{PublicKey, Signature};

/// Bytes of a signature's file: four lines, two of them comments.
pub(crate) const MINISIG_BYTES_MAX: u64 = 2 << 10;

/// Checks a public key, as minisign prints it: 56 characters that begin with `RW`.
///
/// # Errors
/// When it is none.
pub fn check_public_key(text: &str) -> Result<(), String> {
    PublicKey::from_base64(text).map(drop).map_err(|_| {
        "is not a public key of minisign; it is the second line of minisign.pub, and begins with RW".into()
    })
}

/// Checks a component against its signature. Blocks for as long as hashing the component takes.
pub(crate) fn verify(public_key: &str, wasm: &[u8], minisig: Option<&str>) -> Result<(), String> {
    check_public_key(public_key).map_err(|problem| format!("`public_key` {problem}"))?;
    let Some(minisig) = minisig else {
        return Err("there is no plugin.wasm.minisig, and the relay's configuration names a `public_key`; \
                    sign the component with: minisign -Sm plugin.wasm"
            .into());
    };
    let signature = Signature::decode(minisig)
        .map_err(|_| "plugin.wasm.minisig is not a signature of minisign; make it with: minisign -Sm plugin.wasm")?;
    let key = PublicKey::from_base64(public_key).map_err(|error| error.to_string())?;
    // Signatures of the old form, without a hash, are not made any more.
    key.verify(wasm, &signature, false).map_err(|error| {
        format!("plugin.wasm.minisig is not by the configured `public_key` for this plugin.wasm: {error}")
    })
}
