//! Errors in one line.

use std::error::Error;

/// An error with its causes, in one line. What an error says in the words of its cause is said once.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Said {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn every_cause_is_said_once() {
        let because = |text, source: Option<Said>| Said { text, source: source.map(Box::new) };
        let refused = because("connection refused", None);
        let error = because("failed to ask", Some(because("no connection: connection refused", Some(refused))));
        assert_eq!(causes(&error), "failed to ask: no connection: connection refused");
        assert_eq!(causes(&because("alone", None)), "alone");
    }
}
