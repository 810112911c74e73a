//! Ids that only look like the human's or the relay's own: whoever reads a sender must not be fooled by one.

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

use super::{SYSTEM, USER};
use crate::domain::refusal::Refusal;
use crate::domain::text::is_invisible;

/// Whatever has more characters than this, as they are seen, looks like none of the words that are asked for. The longest
/// skeleton of them has as many.
const SEEN_MAX: usize = 8;

/// Refuses an id that looks like `user` or `system` and is neither: in another case or another script, or with
/// characters that show nothing. Takes it as it came in, before any other check of its form.
pub(crate) fn refuse_imitation(id: Option<&str>) -> Result<(), Refusal> {
    match id.map(str::trim) {
        Some(id) if imitates(id) => Err(Refusal::ReservedId(id.to_owned())),
        _ => Ok(()),
    }
}

fn imitates(id: &str) -> bool {
    id != USER && id != SYSTEM && !is_plainly_another(id) && imitates_one_of(id, &[USER, SYSTEM])
}

/// Whether a text is one of these words, or looks like one. Each has at most [`SEEN_MAX`] characters, as its skeleton is
/// written.
pub(in crate::domain) fn imitates_one_of(text: &str, words: &[&str]) -> bool {
    let mut seen = text.chars().filter(|c| !is_invisible(*c) && !c.is_control() && !c.is_whitespace());
    let head: String = seen.by_ref().take(SEEN_MAX).collect();
    if seen.next().is_some() {
        return false;
    }
    let plain: String = head.nfkc().collect();
    // What looks alike in capitals need not in small letters, and the other way round.
    let looks = [fold(&plain), fold(&skeleton(&plain).collect::<String>())].map(|text| look(&text));
    words.iter().map(|word| look(word)).any(|reserved| looks.contains(&reserved))
}

/// Whether nobody has to look closely, which is so for almost every id: it is plain and begins otherwise.
fn is_plainly_another(id: &str) -> bool {
    let first = id.bytes().find(u8::is_ascii_graphic).map(|byte| byte.to_ascii_lowercase());
    id.is_ascii() && first.is_none_or(|first| [USER, SYSTEM].iter().all(|reserved| reserved.as_bytes()[0] != first))
}

fn look(text: &str) -> String {
    skeleton(text).collect()
}

fn fold(text: &str) -> String {
    text.to_lowercase().nfkc().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_the_human_or_the_relay_is_an_imitation() {
        for id in [
            "User",
            "USER",
            "SYSTEM",
            "sYstem",
            "\u{ff55}\u{ff53}\u{ff45}\u{ff52}",     // full width
            "u\u{455}er",                           // Cyrillic
            "\u{405}YSTEM",                         // a Cyrillic capital
            "S\u{3a5}S\u{3a4}\u{395}\u{39c}",       // Greek capitals
            "us\u{200b}er",                         // nothing between
            "\u{2066}user\u{2069}",                 // directions
            "user\u{fe0f}",                         // a variation
            "u\u{ad}ser",                           // a soft hyphen
            "us er",                                // a space
            "user\u{0}",                            // a control
            "systern",                              // m
            "\u{1d42e}\u{1d42c}\u{1d41e}\u{1d42b}", // mathematical
            "\u{24e4}\u{24e2}\u{24d4}\u{24e1}",     // circled
            "u\u{17f}er",                           // a long s
        ] {
            assert_eq!(refuse_imitation(Some(id)), Err(Refusal::ReservedId(id.to_owned())), "{id:?}");
        }
    }

    #[test]
    fn everybody_else_has_their_name() {
        for id in [
            "user",
            " user ",
            "system",
            "users",
            "user-1",
            "superuser",
            "systems",
            "uSer1",
            "sys",
            "\u{fc}ser",
            "alice",
            "\u{43f}\u{43e}\u{43b}\u{44c}",
            "",
            "rust",
        ] {
            assert_eq!(refuse_imitation(Some(id)), Ok(()), "{id:?}");
        }
        assert_eq!(refuse_imitation(None), Ok(()));
    }

    proptest! {
        /// In whatever case, with whatever shows nothing in between.
        #[test]
        fn cases_and_what_shows_nothing_make_no_other_id(
            id in prop_oneof![Just(USER), Just(SYSTEM)],
            upper in prop::collection::vec(any::<bool>(), 6),
            hidden in prop::collection::vec(prop::option::of(0x200b_u32..0x200f), 6),
        ) {
            let mut made = String::new();
            for (index, c) in id.chars().enumerate() {
                made.push(if upper[index] { c.to_ascii_uppercase() } else { c });
                made.extend(hidden[index].and_then(char::from_u32));
            }
            prop_assert_eq!(refuse_imitation(Some(&made)).is_err(), made != id);
        }

        /// Nobody gets through by it.
        #[test]
        fn what_is_plainly_another_does_not_look_reserved(
            first in "[ -~]",
            rest in prop_oneof![Just("ser".to_owned()), Just("ystem".to_owned()), Just("ystern".to_owned()), "[ -~]{0,6}"],
        ) {
            let id = first + &rest;
            prop_assert!(!is_plainly_another(&id) || !imitates_one_of(&id, &[USER, SYSTEM]), "{id:?}");
        }

        #[test]
        fn no_text_makes_it_fail(id in "\\PC{0,12}") {
            let _ = refuse_imitation(Some(&id));
        }
    }
}
