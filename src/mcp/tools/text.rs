//! How messages and lists are told: as text that is useful alone and has an end.
//!
//! A message begins with a line of the relay's own; whatever others wrote follows behind `> ` on every line, with what
//! would not show written out. So nothing in a body can be taken for the relay's word.

use std::fmt::Write as _;

use crate::domain::id::AgentId;
use crate::domain::message::{Message, Sender};
use crate::domain::text::visible;
use crate::domain::time::Timestamp;

/// The most bytes of an answer. A token has at least one byte, so it has at most 20,000 tokens.
pub const ANSWER_BYTES_MAX: usize = 20_000;
/// Of these, so many are for what is said after the entries.
const TAIL_BYTES: usize = 400;
/// Of a body in a list so many bytes are shown.
pub(super) const EXCERPT_BYTES: usize = 1_000;

/// A name in quotation marks. It is somebody's own choice.
pub(super) fn name(name: &str) -> String {
    visible::quoted(name)
}

/// What somebody calls something, on one line.
pub(super) fn said(text: &str) -> String {
    visible::quoted(text)
}

/// How long ago.
pub(super) fn ago(now: Timestamp, at: Timestamp) -> String {
    match now - at {
        ms if ms < 5_000 => "just now".to_owned(),
        ms => format!("{} ago", lasting(ms)),
    }
}

/// A span of time, in its largest unit.
pub(super) fn lasting(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The relay's line about a message: who sent it, and how that is known.
fn head(message: &Message, machine: Option<&str>, now: Timestamp) -> String {
    let Sender { r#as, verified, .. } = &message.sender;
    let verified = if *verified { "verified" } else { "not verified" };
    let place = machine.map(|machine| format!(" on host {}", visible::line(machine))).unwrap_or_default();
    format!(
        "message {} from {} ({}, {verified}){place}, {}",
        message.id,
        name(&message.from),
        r#as.as_str(),
        ago(now, message.created_at)
    )
}

/// What else there is to know about a message, in the relay's words.
fn about(message: &Message, me: &AgentId, now: Timestamp) -> String {
    let mut line = String::new();
    if message.to != **me {
        let _ = write!(line, "to {}; ", name(&message.to));
    }
    if let Some(answered) = message.reply_to {
        let _ = write!(line, "answers message {answered}; ");
    }
    if message.claimable {
        line.push_str(&match (&message.claimed_by, message.completed_at, message.claim_expires_at) {
            (Some(by), Some(_), _) => format!("work, done by {}; ", who(by, me)),
            (Some(by), None, Some(until)) if until > now => {
                format!("work, held by {} for another {}; ", who(by, me), lasting(until - now))
            }
            _ => format!("work that nobody holds: claim {{\"id\": {}}}; ", message.id),
        });
    }
    line.truncate(line.len().saturating_sub(2));
    line
}

/// What stands before a body: the relay's line about the message, what it is to the caller, and its subject.
pub(super) fn opening(message: &Message, machine: Option<&str>, me: Option<&AgentId>, now: Timestamp) -> String {
    let mut text = head(message, machine, now);
    text.push('\n');
    if let Some(about) = me.map(|me| about(message, me, now)).filter(|about| !about.is_empty()) {
        let _ = writeln!(text, "{about}");
    }
    if let Some(subject) = &message.subject {
        let _ = writeln!(text, "> {}", said(subject));
    }
    text
}

fn who(agent: &AgentId, me: &AgentId) -> String {
    if agent == me { "you".to_owned() } else { name(agent) }
}

/// A body from this character on, marked line by line, and the character at which it was cut.
pub(super) fn marked(body: &str, offset: usize, bytes_max: usize) -> (String, Option<usize>) {
    let rest: String = body.chars().skip(offset).collect();
    let mut shown = String::new();
    let mut taken = 0;
    for line in rest.split_inclusive('\n') {
        let text = line.strip_suffix('\n').unwrap_or(line);
        let room = bytes_max.saturating_sub(shown.len() + 3);
        let clear = visible::block(text.strip_suffix('\r').unwrap_or(text));
        if clear.len() <= room {
            let _ = writeln!(shown, "> {clear}");
            taken += line.chars().count();
            continue;
        }
        // The start of a line, by as many characters as find room once they are written out.
        let (mut start, mut count) = (String::new(), 0);
        for c in text.chars() {
            let mut four = [0; 4];
            let clear = visible::block(c.encode_utf8(&mut four));
            if start.len() + clear.len() > room {
                break;
            }
            start.push_str(&clear);
            count += 1;
        }
        if count > 0 {
            let _ = writeln!(shown, "> {start}");
        }
        return (shown, Some(offset + taken + count));
    }
    (shown, None)
}

/// An answer that is being written, within its bound.
pub(super) struct Writing {
    text: String,
}

impl Writing {
    pub(super) fn new(first: impl Into<String>) -> Self {
        Self { text: first.into() }
    }

    /// Takes an entry, if there is room for it. The first always finds it: entries are bounded.
    pub(super) fn take(&mut self, entry: &str) -> bool {
        let fits = self.text.len() + entry.len() + TAIL_BYTES <= ANSWER_BYTES_MAX;
        if fits {
            self.text.push_str(entry);
        }
        fits
    }

    /// How many bytes there are for another entry.
    pub(super) fn room(&self) -> usize {
        (ANSWER_BYTES_MAX - TAIL_BYTES).saturating_sub(self.text.len())
    }

    /// The answer, with what is said at its end.
    pub(super) fn finish(mut self, last: &str) -> String {
        self.text.push_str(last);
        self.text.truncate(self.text.trim_end().len());
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_is_marked_on_every_line() {
        assert_eq!(marked("a\r\nb\n\nc", 0, 100), ("> a\n> b\n> \n> c\n".to_owned(), None));
        assert_eq!(marked("abcdef", 0, 6), ("> abc\n".to_owned(), Some(3)));
        assert_eq!(marked("abcdef", 3, 100), ("> def\n".to_owned(), None));
        assert_eq!(marked("a", 9, 100), (String::new(), None));
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now = Timestamp::from_ms(1_000_000_000);
        for (ms, told) in [
            (-5, "just now"),
            (4_999, "just now"),
            (90_000, "90 s ago"),
            (150_000, "2 min ago"),
            (10_800_000, "3 h ago"),
            (432_000_000, "5 d ago"),
        ] {
            assert_eq!(ago(now, now - ms), told);
        }
    }

    proptest! {
        /// Whatever the body, every line is marked, it keeps to its bound, and the parts are the whole.
        #[test]
        fn parts_are_bounded_and_make_the_whole(body in "(\\PC|[\\n\\r\\t\u{1b}\u{202e}])*", most in 20_usize..200) {
            let (mut offset, mut parts) = (0, 0);
            loop {
                let (part, next) = marked(&body, offset, most);
                prop_assert!(part.len() <= most, "{} of {most}", part.len());
                prop_assert!(part.lines().all(|line| line.starts_with("> ")));
                parts += 1;
                let Some(next) = next else { break };
                prop_assert!(next > offset, "it gets on");
                offset = next;
                prop_assert!(parts <= body.len() + 1);
            }
        }
    }
}
