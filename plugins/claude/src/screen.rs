//! What stands on the screen of Claude Code: its input between two rules, or a question of its own instead.

use agent_relay_plugin::session::Screen;

/// The most characters of a question that are passed on.
const QUESTION_MAX: usize = 500;

/// What the empty input says, beside an example that begins with `Try "`.
const PLACEHOLDERS: [&str; 2] = ["Press up to edit queued messages", "Once fixed, resend your message"];

/// The input, between two rules.
pub(crate) struct Input<'a> {
    /// What was said before.
    pub(crate) above: &'a [String],
    /// The hints below.
    below: &'a [String],
    /// Whether it holds text that nobody has submitted, or waits for a command of the shell.
    pub(crate) draft: bool,
}

/// A question with answers to choose from, which stands in the place of the input.
pub(crate) struct Question<'a> {
    /// What was said before.
    pub(crate) above: &'a [String],
    /// Its lines above the answers, as one text.
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The model asks its user.
    FromModel,
    /// Something that the model is about to do needs consent.
    Permission,
    /// The program's own.
    Other,
}

impl<'a> Input<'a> {
    /// The input that the cursor is in.
    pub(crate) fn find(screen: &'a Screen) -> Option<Self> {
        let rows = &screen.rows;
        let cursor = screen.cursor.as_ref()?;
        let cursor_row = usize::try_from(cursor.row).ok()?;
        let top = (0..=cursor_row.min(rows.len().checked_sub(1)?)).rev().find(|row| is_rule(&rows[*row]))?;
        let first = rows.get(top + 1)?;
        let shell = first.strip_prefix('!').is_some();
        let text = first.strip_prefix(['❯', '!'])?;
        let bottom = (top + 2..rows.len()).find(|row| is_rule(&rows[*row]))?;
        if cursor_row <= top || cursor_row >= bottom {
            return None;
        }
        let lines = bottom - top - 1;
        let at_start = lines == 1 && cursor.column <= 2;
        let text = text.trim();
        let placeholder = at_start && (text.starts_with("Try \"") || PLACEHOLDERS.contains(&text));
        let empty = lines == 1 && (text.is_empty() || placeholder);
        Some(Self { above: &rows[..top], below: &rows[bottom + 1..], draft: shell || !empty })
    }

    /// The hint that a usage limit holds.
    pub(crate) fn limit_hint(&self) -> Option<&'a str> {
        self.below.iter().map(|row| row.trim()).find(|row| row.contains("Usage limit reached · "))
    }

    /// Whether a turn can be seen to run: by the hint how to end it, or by the line that tells how long it has taken.
    pub(crate) fn busy(&self) -> bool {
        let hinted = self.below.iter().any(|row| row.contains("esc to interrupt"));
        hinted || self.above.iter().rev().filter(|row| !row.is_empty()).take(6).any(|row| is_spinner(row))
    }
}

impl<'a> Question<'a> {
    /// The question whose answers are on the screen.
    pub(crate) fn find(screen: &'a Screen) -> Option<Self> {
        let rows = &screen.rows;
        let chosen = rows.iter().rposition(|row| row.trim_start().starts_with('❯'))?;
        let hints = &rows[chosen..];
        let hinted = |hint: &str| hints.iter().any(|row| row.contains(hint));
        let numbered =
            rows[chosen].trim_start().trim_start_matches(['❯', ' ']).starts_with(|c: char| c.is_ascii_digit());
        // What was said before begins like that too, but ends in no such hint.
        if !(hinted("Enter to confirm")
            || hinted("Esc to cancel")
            || hinted("Esc to reject")
            || numbered && indented(rows, chosen))
        {
            return None;
        }
        let is_above = |row: &String| row.trim().is_empty() || row.trim_end().ends_with('?');
        let answers = rows[..chosen].iter().rposition(is_above).map_or(0, |row| row + 1);
        let top = rows[..answers].iter().rposition(|row| is_rule(row.trim_start())).map_or(0, |row| row + 1);
        let said = rows[top..answers].iter().map(|row| row.trim());
        // A tip is no part of it, and the end of a key is nobody's business.
        let is_said = |row: &&str| {
            !row.is_empty()
                && !row.starts_with(['╌', '☐'])
                && !["Tip:", "ANTHROPIC_"].iter().any(|word| row.starts_with(word))
        };
        let said: Vec<&str> = said.filter(is_said).collect();
        if said.is_empty() {
            return None;
        }
        let asks_consent = said.iter().any(|row| row.starts_with("Do you want to ") || *row == "Exit plan mode?");
        let kind = match () {
            () if hinted("Enter to select") => Kind::FromModel,
            () if asks_consent && !said[0].starts_with("Detected a custom API key") => Kind::Permission,
            () => Kind::Other,
        };
        Some(Self { above: &rows[..top], text: cut(&said.join(" ")), kind })
    }
}

/// What the program said instead of an answer, where nothing came after it.
pub(crate) fn last_error(above: &[String]) -> Option<String> {
    const REMARKS: [&str; 3] = ["❯ /rate-limit-options", "● Usage limit reached", "● Automatic continue"];
    let row = above.iter().rposition(|row| row.starts_with("  ⎿"))?;
    let came_after =
        |row: &String| row.starts_with(['❯', '›', '●']) && !REMARKS.iter().any(|remark| row.starts_with(remark));
    if above[row..].iter().any(came_after) {
        return None;
    }
    let rest = above[row + 1..].iter().take_while(|row| row.starts_with("     "));
    let lines = std::iter::once(&above[row]).chain(rest).map(|row| row.trim_start_matches([' ', '⎿']).trim());
    Some(cut(&lines.collect::<Vec<_>>().join(" ")))
}

/// Which version the screen names.
pub(crate) fn version(screen: &Screen) -> Option<String> {
    let (_, after) = screen.rows.iter().find_map(|row| row.split_once("Claude Code v"))?;
    let end = after.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(after.len());
    (end > 0).then(|| after[..end].to_owned())
}

/// A line across the screen, with a name in it or without.
fn is_rule(row: &str) -> bool {
    row.starts_with("────") || row.starts_with("▔▔▔▔")
}

/// `✽ Sprouting… (3s · ↓ 16 tokens)`, `✻ API error · Retrying in 4s · attempt 4/10`, `✻ Waiting for API response · will
/// retry in 4m 0s · check your network`.
fn is_spinner(row: &str) -> bool {
    row.starts_with(['·', '✢', '✳', '✶', '✻', '✽', '*'])
        && (row.contains('…') || row.contains("etrying in ") || row.contains("retry in "))
}

fn is_answer(row: &str) -> bool {
    let row = row.trim_start_matches(['❯', ' ']);
    row.starts_with(|letter: char| letter.is_ascii_digit()) && row.contains(". ")
}

/// Whether an answer is chosen in a list: the next row is another one.
fn indented(rows: &[String], chosen: usize) -> bool {
    rows.get(chosen + 1).is_some_and(|row| row.starts_with(' ') && is_answer(row))
}

fn cut(text: &str) -> String {
    text.chars().take(QUESTION_MAX).collect()
}
