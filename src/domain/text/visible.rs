//! Text that others wrote, as people and models may be shown it: what shows nothing, or moves what stands beside it,
//! is written out. A terminal would obey it, and a reader would be told something else than there is.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::is_invisible;

/// Whether a character is written out: controls, what changes the direction of text, and what shows nothing. What
/// joins and varies visible characters (emoji, Arabic, Indic scripts) is left.
pub fn is_hidden(c: char) -> bool {
    let joins = matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    c.is_control() || (is_invisible(c) && !joins) || matches!(c, '\u{fff9}'..='\u{fffb}')
}

/// A text of several lines: line feeds and tabs stay, and a carriage return before a line feed goes.
pub fn block(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' | '\t' => shown.push(c),
            c => push(&mut shown, c),
        }
    }
    Cow::Owned(shown)
}

/// A text on one line: line feeds and tabs are written out too.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut shown, c));
    Cow::Owned(shown)
}

/// A name between quotation marks, on one line, so that nothing in it can end it.
pub fn quoted(name: &str) -> String {
    let mut shown = String::with_capacity(name.len() + 2);
    shown.push('"');
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            shown.push('\\');
        }
        push(&mut shown, c);
    }
    shown.push('"');
    shown
}

fn push(shown: &mut String, c: char) {
    if is_hidden(c) {
        // Writing to a string cannot fail.
        let _ = write!(shown, "{}", c.escape_unicode());
    } else {
        shown.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(line("\u{1b}[2Jx\ny"), "\\u{1b}[2Jx\\u{a}y");
        assert_eq!(block("a\r\nb\tc\rd"), "a\nb\tc\\u{d}d");
        assert_eq!(line("abc\u{202e}fed\u{200b}\u{e0041}"), "abc\\u{202e}fed\\u{200b}\\u{e0041}");
        assert_eq!(quoted("bob\" (user, verified) \\"), "\"bob\\\" (user, verified) \\\\\"");
        for plain in ["", "plain\ttext\n", "čeština, 日本語, ❤\u{fe0f} 👩\u{200d}💻"] {
            assert!(matches!(block(plain), Cow::Borrowed(shown) if shown == plain), "{plain}");
        }
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in any::<String>()) {
            prop_assert!(!line(&text).chars().any(is_hidden));
            prop_assert!(!quoted(&text).chars().any(is_hidden));
            prop_assert!(!block(&text).chars().any(|c| is_hidden(c) && !matches!(c, '\n' | '\t')));
        }
    }
}
