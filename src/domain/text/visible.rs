//! What came from others, for a terminal or a model: every character can be seen, and none does anything.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A text of several lines with what is not text made visible: a control character, one that changes the direction of
/// what stands beside it, or one that shows nothing is written as `\u{1b}`. Line feeds and tabs stay, and a carriage
/// return before a line feed is left out. What joins letters and emoji stays too.
pub fn visible(text: &str) -> Cow<'_, str> {
    replaced(text, |c, next| match c {
        '\n' | '\t' => Shown::AsItIs,
        '\r' if next == Some('\n') => Shown::Not,
        c if is_hidden(c) => Shown::Escaped,
        _ => Shown::AsItIs,
    })
}

/// The same on one line: line feeds and tabs are spaces.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    replaced(text, |c, next| match c {
        '\n' | '\t' => Shown::AsSpace,
        '\r' if next == Some('\n') => Shown::Not,
        c if is_hidden(c) => Shown::Escaped,
        _ => Shown::AsItIs,
    })
}

enum Shown {
    AsItIs,
    AsSpace,
    Escaped,
    Not,
}

fn replaced(text: &str, shown: impl Fn(char, Option<char>) -> Shown) -> Cow<'_, str> {
    let next = |at: usize, c: char| text[at + c.len_utf8()..].chars().next();
    let Some((first, _)) = text.char_indices().find(|(at, c)| !matches!(shown(*c, next(*at, *c)), Shown::AsItIs))
    else {
        return Cow::Borrowed(text);
    };
    let mut made = text[..first].to_owned();
    for (at, c) in text[first..].char_indices() {
        match shown(c, next(first + at, c)) {
            Shown::AsItIs => made.push(c),
            Shown::AsSpace => made.push(' '),
            Shown::Not => {}
            Shown::Escaped => _ = write!(made, "{}", c.escape_unicode()),
        }
    }
    Cow::Owned(made)
}

/// Whether a character does something, or hides. Joiners and the variation selectors of emoji are parts of words.
fn is_hidden(c: char) -> bool {
    let joins = matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    (c.is_control() || super::is_invisible(c)) && !joins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_hidden_and_nothing_is_done() {
        for (text, shown) in [
            ("plain ünï 日本 👩\u{200d}🚀 ❤\u{fe0f}", "plain ünï 日本 👩\u{200d}🚀 ❤\u{fe0f}"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            ("\u{2066}x\u{2069}\u{61c}", "\\u{2066}x\\u{2069}\\u{61c}"),
            ("re\u{2060}viewer\u{200b}\u{feff}", "re\\u{2060}viewer\\u{200b}\\u{feff}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("over\rwritten\u{8}", "over\\u{d}written\\u{8}"),
            ("one\r\ntwo\n\tthree", "one\ntwo\n\tthree"),
            ("", ""),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_line("one\r\ntwo\tthree\u{7}"), "one two three\\u{7}");
        assert!(matches!(visible("as it is\n"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_text(text in any::<String>()) {
            prop_assert!(!visible(&text).chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t')));
            let line = visible_line(&text);
            prop_assert!(!line.chars().any(is_hidden));
            prop_assert_eq!(visible_line(&line), line.clone(), "shown again it is the same");
        }
    }
}
