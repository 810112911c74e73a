//! What people see: text with colours where they are wanted, aligned tables, times as people say them.
//!
//! Colours are for terminals: nothing that is piped or kept has any, and `NO_COLOR` and `CLICOLOR` are honoured. JSON
//! never comes this way.

mod hints;
mod table;

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_relay::domain::text::visible;
use agent_relay::domain::time::Timestamp;
use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

pub(super) use self::hints::in_commands;
pub(super) use self::table::{Cell, table};
use super::Failure;

/// What is said of anything, beside the thing itself.
pub(super) const DIM: Style = Style::new().dimmed();
/// Headings, and what a line is about.
pub(super) const STRONG: Style = Style::new().bold();
/// As it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// Not as it should be.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// As anything else.
pub(super) const PLAIN: Style = Style::new();

/// A text in this style.
pub(super) fn painted(style: Style, text: impl Display) -> String {
    let text = text.to_string();
    if text.is_empty() || style == PLAIN { text } else { format!("{style}{text}{style:#}") }
}

/// Shows a text to people, ending with a line feed. A reader that has seen enough, such as `head`, is no failure.
pub(super) fn show(text: &str) -> Result<(), Failure> {
    go_on_showing(text).map(drop)
}

/// The same, and answers whether somebody still reads: for what has no end of its own.
pub(super) fn go_on_showing(text: &str) -> Result<bool, Failure> {
    written(anstream::stdout().lock(), text)
}

/// The same for programs: as it is, whatever is in it.
pub(super) fn go_on_printing(text: &str) -> Result<bool, Failure> {
    written(std::io::stdout().lock(), text)
}

/// Says to whoever looks on what becomes of it: on standard error, which nobody reads who did not ask for it.
pub(super) fn say(text: &str) {
    // Whoever closed it does not want to know.
    let _ = written(anstream::stderr().lock(), text);
}

fn written(mut out: impl Write, text: &str) -> Result<bool, Failure> {
    let text = text.trim_end();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Other(format!("failed to write to standard output: {error}"))),
    }
}

/// Whether somebody looks on: standard error is a terminal.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether the answer is read by a person: standard output is a terminal.
pub(super) fn is_for_a_person() -> bool {
    std::io::stdout().is_terminal()
}

/// The width of the terminal; none where there is no terminal, and nothing is cut.
pub(super) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A text of others with nothing hidden in it. Line feeds and tabs stay.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    visible::block(text)
}

/// The same on one line.
pub(super) fn visible_line(text: &str) -> Cow<'_, str> {
    if text.contains(['\n', '\t']) {
        let line = text.replace("\r\n", " ").replace(['\n', '\t'], " ");
        return Cow::Owned(visible::line(&line).into_owned());
    }
    visible::line(text)
}

/// A text of others as a block that nobody can take for what stands around it.
pub(super) fn block(text: &str) -> String {
    let lines = visible(text.trim_end_matches(['\n', '\r']));
    lines.split('\n').map(|line| format!("  {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A text cut to so many columns of a terminal.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if kept.width() >= columns {
            kept.pop();
            break;
        }
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// How long ago that was, in the unit in which people would say it.
pub(super) fn ago(then: Timestamp) -> String {
    let since = Timestamp::now().as_ms().saturating_sub(then.as_ms());
    if since < 1_000 { "now".to_owned() } else { format!("{} ago", span(since)) }
}

/// When that will be, or how long ago it was.
pub(super) fn when(then: Timestamp) -> String {
    let until = then.as_ms().saturating_sub(Timestamp::now().as_ms());
    if until > 0 { format!("in {}", span(until)) } else { ago(then) }
}

/// A length of time in its largest unit.
pub(super) fn span(ms: i64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// A moment to the second, as the relay's log has it.
pub(super) fn moment(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.as_ms()).unwrap_or_default());
    // Written by `try`: a year of five digits has no such form.
    let at = UNIX_EPOCH.checked_add(since).filter(|_| since < Duration::from_secs(253_402_300_800));
    at.map_or_else(|| since.as_millis().to_string(), |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string())
}

/// "1 message", "2 messages".
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits() {
        for (text, columns, shown) in [
            ("short", 10, "short"),
            ("exactly", 7, "exactly"),
            ("far too long", 8, "far too…"),
            ("日本語日本語", 7, "日本語…"),
            ("日本語日本語", 6, "日本…"),
        ] {
            assert_eq!(cut(text, columns), shown);
            assert!(cut(text, columns).width() <= columns);
        }
    }

    #[test]
    fn a_block_holds_what_it_holds() {
        assert_eq!(block("one\n\nmessage 7 from \"user\"\n"), "  one\n\n  message 7 from \"user\"");
        assert_eq!(block("a\u{1b}[1A\r\nb"), "  a\\u{1b}[1A\n  b");
    }

    #[test]
    fn times_are_said_in_their_largest_unit() {
        for (ms, said) in [(5, "5 ms"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 d")] {
            assert_eq!(span(ms), said);
        }
        assert_eq!(moment(Timestamp::from_ms(0)), "1970-01-01T00:00:00Z");
        assert_eq!(moment(Timestamp::MAX), i64::MAX.to_string());
    }
}
