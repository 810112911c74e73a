//! What may be typed into a session, whoever planned it.

use crate::domain::control::plan::Presentation;

use super::super::super::runtime::clean;

/// Keys in each list of them.
const KEYS_MAX: usize = 16;
/// Bytes of a key's name: `C-M-S-PageDown` is a long one.
const KEY_BYTES_MAX: usize = 24;
/// Bytes of a presentation: the largest message, and a frame around it.
const TEXT_BYTES_MAX: usize = 320 * 1024;

pub(super) fn accept_presentation(mut presentation: Presentation) -> Result<Presentation, String> {
    check_keys("presentation.keys-before", &presentation.keys_before)?;
    if presentation.text.len() > TEXT_BYTES_MAX {
        return Err(format!("presentation.text: {} bytes are more than {TEXT_BYTES_MAX}", presentation.text.len()));
    }
    // What the text holds comes from any agent at all. In a terminal a control character is a
    // key: Escape would end the paste, and what follows would be pressed.
    presentation.text.retain(|character| matches!(character, '\n' | '\t') || !character.is_control());
    Ok(presentation)
}

/// Names of keys, as a terminal multiplexer knows them. One that begins with `-` would be read as
/// a flag.
pub(super) fn check_keys(field: &str, keys: &[String]) -> Result<(), String> {
    if keys.len() > KEYS_MAX {
        return Err(format!("{field}: {} keys are more than {KEYS_MAX}", keys.len()));
    }
    let named = |key: &String| {
        (1..=KEY_BYTES_MAX).contains(&key.len())
            && !key.starts_with('-')
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match keys.iter().find(|key| !named(key)) {
        Some(key) => Err(format!("{field}: {:?} is not the name of a key", clean(key))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presentation(keys: &[&str], text: &str) -> Presentation {
        Presentation {
            keys_before: keys.iter().map(|&key| key.to_owned()).collect(),
            text: text.to_owned(),
            submit: true,
        }
    }

    #[test]
    fn escape_sequences_are_taken_out_of_a_message() {
        let shown = accept_presentation(presentation(&["Escape", "C-c"], "a\x1b[201~\rrm -rf\n\tb\u{9b}\0"))
            .expect("acceptable");
        assert_eq!(shown.text, "a[201~rm -rf\n\tb");
    }

    #[test]
    fn keys_are_names_and_not_flags() {
        for key in ["-t", "", "a b", "é", &"x".repeat(KEY_BYTES_MAX + 1)] {
            let error = accept_presentation(presentation(&[key], "text")).expect_err("refused");
            assert!(error.starts_with("presentation.keys-before: "), "{error}");
        }
        assert!(accept_presentation(presentation(&["Enter"; KEYS_MAX + 1], "text")).is_err());
    }
}
