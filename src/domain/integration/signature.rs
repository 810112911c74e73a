//! Signatures over raw bodies: who sends an event is proven before anybody reads it.
//!
//! A scheme says where the signature stands and over what it is. All compare in constant time, and none says which
//! part of a request was wrong.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha512};
use utoipa::ToSchema;

use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// The most secrets of an integration at once: one, and others while it is replaced.
pub const SECRETS_MAX: usize = 8;
/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 1_024;
/// How far the time of a signature may lie from the relay's, either way, in seconds.
pub const TOLERANCE_SECONDS: i64 = 5 * 60;
/// The longest name of a header.
pub const HEADER_MAX: usize = 64;
/// The longest text before a signature.
pub const PREFIX_MAX: usize = 64;
/// Of the signatures in one header, so many are looked at.
const SIGNATURES_MAX: usize = 16;
/// What secrets of Standard Webhooks begin with, whether they prove what comes in or sign what goes out.
pub const STANDARD_PREFIX: &str = "whsec_";
/// How many bytes follow, in base64: enough that nobody guesses them.
pub const STANDARD_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Base64 as services write it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

words! {
    /// By which rules events are signed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum SchemeKind {
        /// Those of Standard Webhooks: id, time and body.
        StandardWebhooks = "standard-webhooks",
        /// GitHub's: the body, in `X-Hub-Signature-256`.
        Github = "github",
        /// The body, in a header of its own.
        Hmac = "hmac",
    }
}

words! {
    /// The hash below an HMAC.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Algorithm {
        /// SHA-256.
        #[default]
        Sha256 = "sha256",
        /// SHA-512.
        Sha512 = "sha512",
    }
}

words! {
    /// How a signature is written.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Encoding {
        /// Two digits a byte, of either case.
        #[default]
        Hex = "hex",
        /// With padding or without.
        Base64 = "base64",
    }
}

/// Where the signature of a body stands, and how it is written.
#[derive(Clone, Debug)]
pub struct Form {
    /// The header, in lower case.
    pub header: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands before it in the header; often nothing.
    pub prefix: String,
}

/// How the events of an integration are proven, with its secrets. It does not print them.
#[derive(Clone)]
pub struct Scheme {
    kind: SchemeKind,
    form: Form,
    keys: Keys,
}

/// The hash with each secret already in it: any of them proves.
#[derive(Clone)]
enum Keys {
    Sha256(Vec<Hmac<Sha256>>),
    Sha512(Vec<Hmac<Sha512>>),
}

/// The bytes of a secret of Standard Webhooks: [`STANDARD_PREFIX`] and the base64 of so many as [`STANDARD_BYTES`] has.
pub fn standard_secret(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.strip_prefix(STANDARD_PREFIX)?).ok()?;
    STANDARD_BYTES.contains(&bytes.len()).then_some(bytes)
}

impl Scheme {
    /// Standard Webhooks, with secrets `whsec_` and the base64 of 24 to 64 bytes. What is wrong with them otherwise
    /// is answered as a text that goes on after the name of the setting, and does not quote them.
    pub fn standard_webhooks(secrets: &[&str]) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let bytes = standard_secret(secret).ok_or_else(|| {
                let (least, most) = (STANDARD_BYTES.start(), STANDARD_BYTES.end());
                format!(
                    "is not a secret of Standard Webhooks: {STANDARD_PREFIX} and the base64 of {least} to {most} bytes"
                )
            })?;
            keys.push(bytes);
        }
        let form = Form {
            header: "webhook-signature".to_owned(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Base64,
            prefix: String::new(),
        };
        Self::of(SchemeKind::StandardWebhooks, form, &keys)
    }

    /// GitHub's, with secrets as they were typed there.
    pub fn github(secrets: &[&str]) -> Result<Self, String> {
        let form = Form {
            header: "x-hub-signature-256".to_owned(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: "sha256=".to_owned(),
        };
        Self::of(SchemeKind::Github, form, secrets)
    }

    /// The body in a header of this form, with secrets as they are.
    pub fn hmac(form: Form, secrets: &[&str]) -> Result<Self, String> {
        Self::of(SchemeKind::Hmac, form, secrets)
    }

    fn of(kind: SchemeKind, form: Form, secrets: &[impl AsRef<[u8]>]) -> Result<Self, String> {
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            return Err(format!("must be one secret, or a list of 1 to {SECRETS_MAX}"));
        }
        let secrets: Vec<&[u8]> = secrets.iter().map(AsRef::as_ref).collect();
        if secrets.iter().any(|secret| secret.trim_ascii().is_empty() || secret.len() > SECRET_BYTES_MAX) {
            return Err(format!("has a secret that is blank or longer than {SECRET_BYTES_MAX} bytes"));
        }
        let keys = match form.algorithm {
            Algorithm::Sha256 => Keys::Sha256(secrets.into_iter().map(key).collect()),
            Algorithm::Sha512 => Keys::Sha512(secrets.into_iter().map(key).collect()),
        };
        Ok(Self { kind, form, keys })
    }

    /// By which rules.
    pub fn kind(&self) -> SchemeKind {
        self.kind
    }

    /// The header in which the signature stands, in lower case.
    pub fn header(&self) -> &str {
        &self.form.header
    }

    /// Whether somebody who knows a secret signed this body, and where the scheme has a time, within
    /// [`TOLERANCE_SECONDS`] of `now`.
    pub fn verify<'h>(&self, header: impl Fn(&str) -> Option<&'h str>, body: &[u8], now: Timestamp) -> bool {
        let Some(signed) = header(&self.form.header) else { return false };
        if self.kind != SchemeKind::StandardWebhooks {
            let signature = signed.strip_prefix(self.form.prefix.as_str()).and_then(|text| self.form.decode(text));
            return signature.is_some_and(|signature| self.keys.prove(&[body], &[signature]));
        }
        let (Some(id), Some(at)) = (header("webhook-id"), header("webhook-timestamp")) else { return false };
        let is_number = !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = at.parse::<i64>().ok().filter(|_| is_number);
        let is_near = seconds.is_some_and(|at| (now.as_ms().div_euclid(1_000) - at).abs() <= TOLERANCE_SECONDS);
        if id.is_empty() || !is_near {
            return false;
        }
        // Several are how a secret is replaced; those of other versions are for others.
        let ours = signed.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let signatures: Vec<_> = ours.take(SIGNATURES_MAX).filter_map(|text| STANDARD.decode(text).ok()).collect();
        self.keys.prove(&[id.as_bytes(), b".", at.as_bytes(), b".", body], &signatures)
    }
}

impl Form {
    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        match self.encoding {
            Encoding::Hex => from_hex(text),
            Encoding::Base64 => BASE64.decode(text).ok(),
        }
    }
}

impl Keys {
    /// Whether one of these is the signature of these parts under one of the secrets.
    fn prove(&self, parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        match self {
            Self::Sha256(keys) => keys.iter().any(|key| is_one_of(key, parts, signatures)),
            Self::Sha512(keys) => keys.iter().any(|key| is_one_of(key, parts, signatures)),
        }
    }
}

fn is_one_of(key: &(impl Mac + Clone), parts: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
    let mut mac = key.clone();
    parts.iter().for_each(|part| mac.update(part));
    signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
}

fn key<M: KeyInit + Mac>(secret: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(secret).expect("a key of HMAC has any length")
}

/// Takes as long as a signature over this body, and proves nothing.
pub(super) fn decoy(body: &[u8]) {
    let mut mac: Hmac<Sha256> = key(b"nobody");
    mac.update(body);
    std::hint::black_box(mac.finalize());
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
    pairs.collect()
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheme").field("kind", &self.kind).field("form", &self.form).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
