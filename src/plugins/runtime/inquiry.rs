//! What a call of a plugin is about, as far as running it depends on that.

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256 of a question, or of a part of one.
pub(crate) type QuestionDigest = [u8; 32];

/// What a call is about.
#[derive(Clone, Debug)]
pub(crate) struct Inquiry {
    question: Measured,
    /// Milliseconds since the epoch.
    at: i64,
    asker: Option<Asker>,
    /// Whether whoever asks goes on without an answer.
    can_be_done_without: bool,
}

/// Whose question it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) name: String,
    /// Of what they chose of the question: the same for two that differ by the time, or by what was made up for them.
    pub(crate) about: QuestionDigest,
}

impl Inquiry {
    /// A question of the relay's own. One that holds no time is asked at the beginning of the epoch, so that it is
    /// the same whenever it is asked.
    pub(crate) fn of(question: Measured) -> Self {
        Self { question, at: 0, asker: None, can_be_done_without: false }
    }

    /// A question that holds nothing.
    pub(crate) fn of_nothing() -> Self {
        Self::of(Measured { bytes: 0, digest: [0; 32] })
    }

    /// Asked at this time, in milliseconds since the epoch.
    pub(crate) fn at_ms(self, at: i64) -> Self {
        Self { at, ..self }
    }

    /// Asked by somebody, who chose this much of it.
    pub(crate) fn by(self, name: &str, about: QuestionDigest) -> Self {
        Self { asker: Some(Asker { name: name.to_owned(), about }), ..self }
    }

    /// Whoever asks goes on without an answer: a failure is counted, and does not put the plugin back.
    pub(crate) fn can_be_done_without(self) -> Self {
        Self { can_be_done_without: true, ..self }
    }

    /// Whether a failure puts the plugin back, with others like it.
    pub(super) fn puts_back(&self) -> bool {
        !self.can_be_done_without
    }

    /// How large the question is, as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.question.bytes
    }

    /// Since the epoch.
    pub(super) fn at(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.at).unwrap_or(0))
    }

    pub(super) fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// A seed that follows from the question, another for each name.
    pub(super) fn seed(&self, of: &str) -> QuestionDigest {
        Sha256::new().chain_update(self.question.digest).chain_update(of).finalize().into()
    }
}

/// A question, or a part of one, as the bytes of its JSON, which nobody keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) bytes: usize,
    pub(crate) digest: QuestionDigest,
}

impl Measured {
    pub(crate) fn of(question: &impl Serialize) -> Self {
        struct Meter(usize, Sha256);
        impl std::io::Write for Meter {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                self.1.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // serde_json writes every brace by itself, and a hash is taken of 64 bytes at once.
        let mut meter = std::io::BufWriter::with_capacity(512, Meter(0, Sha256::new()));
        let written = serde_json::to_writer(&mut meter, question);
        match (written, meter.into_inner()) {
            (Ok(()), Ok(Meter(bytes, hash))) => Self { bytes, digest: hash.finalize().into() },
            // What cannot be written as JSON is asked nobody.
            _ => Self { bytes: usize::MAX, digest: [0; 32] },
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        let digest = Sha256::new().chain_update(self.digest).chain_update(other.digest).finalize().into();
        Self { bytes: self.bytes.saturating_add(other.bytes), digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_measured_as_its_json() {
        let question = serde_json::json!({"label": "trap", "many": vec![1; 1000]});
        let text = question.to_string();
        let measured = Measured::of(&question);
        assert_eq!(measured.bytes, text.len());
        assert_eq!(measured.digest, <[u8; 32]>::from(Sha256::digest(text)));
        assert_ne!(measured.and(measured).digest, measured.digest);
    }

    #[test]
    fn seeds_follow_from_the_question_and_the_name_alone() {
        let of = |text: &str| Inquiry::of(Measured::of(&text));
        assert_eq!(of("a").seed("x"), of("a").at_ms(7).by("somebody", [1; 32]).seed("x"));
        assert_ne!(of("a").seed("x"), of("a").seed("y"));
        assert_ne!(of("a").seed("x"), of("b").seed("x"));
        assert_eq!(of("a").at(), Duration::ZERO);
        assert_eq!(of("a").at_ms(-5).at(), Duration::ZERO);
    }
}
