//! Signatures, as Standard Webhooks has them: over id, time and body, once for each secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::integration::signature::{STANDARD_BYTES, STANDARD_PREFIX, standard_secret};

/// How many bytes one has that is made here.
const BYTES_MADE: usize = 32;

/// What is signed with. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl SigningSecret {
    /// Reads `whsec_` and base64, padded or not.
    ///
    /// # Errors
    ///
    /// Says what a secret looks like, never what was read.
    pub fn parse(text: &str) -> Result<Self, String> {
        standard_secret(text.trim()).map(Self).ok_or_else(|| {
            let (least, most) = (STANDARD_BYTES.start(), STANDARD_BYTES.end());
            format!(
                "a signing secret is \"{STANDARD_PREFIX}\" and the base64 of {least} to {most} random bytes, such as \
                 \"{STANDARD_PREFIX}$(openssl rand -base64 {BYTES_MADE})\" makes"
            )
        })
    }

    /// A new one.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; BYTES_MADE];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// As it is handed to receivers and read again.
    pub(super) fn written(&self) -> String {
        format!("{STANDARD_PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length is a key");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The signatures of all secrets, for the header. `timestamp` is in seconds.
pub(super) fn signatures(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &str) -> String {
    let each: Vec<_> = secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    each.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_says_so_without_showing_what_was_read() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(32), of(64), of(32).trim_end_matches('=').to_owned(), format!(" {}\n", of(25))] {
            let secret = SigningSecret::parse(&good).unwrap();
            assert_eq!(SigningSecret::parse(&secret.written()).unwrap(), secret);
            assert_eq!(format!("{secret:?}"), "[secret]");
        }
        let of_24 = of(24);
        for bad in ["", "whsec_", &of(23), &of(65), &of_24["whsec_".len()..], "whsec_???", &of_24.replace("sec", "sk")]
        {
            let error = SigningSecret::parse(bad).unwrap_err();
            assert!(error.contains("24 to 64") && !error.contains("BwcH"), "{error}");
        }
    }

    #[test]
    fn the_example_of_the_standard() {
        // From the specification's own tests.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
