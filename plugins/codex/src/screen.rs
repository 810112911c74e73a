//! What stands on the screen of Codex: its input above a line of status, or a question of its own instead.

use agent_relay_plugin::session::Screen;

/// The most characters of a question that are passed on.
const QUESTION_MAX: usize = 500;
/// The most rows that a question is looked for in, and a draft.
const ROWS_MAX: usize = 40;

/// What the empty input says.
const PLACEHOLDER: &str = "Ask Codex to do anything";

/// The input.
pub(crate) struct Input<'a> {
    /// What was said before.
    pub(crate) above: &'a [String],
    /// The line of status and the hints.
    below: &'a [String],
    /// Whether it holds text that nobody has submitted, or waits for a command of the shell.
    pub(crate) draft: bool,
}

/// A question with answers to choose from, which stands in the place of the input.
pub(crate) enum Question {
    /// The model asks its user.
    FromModel(String),
    /// Something that the model is about to do needs consent.
    Permission(String),
    /// The program's own.
    Other(String),
}

impl<'a> Input<'a> {
    /// The input that the cursor is in, where there is no question instead.
    pub(crate) fn find(screen: &'a Screen) -> Option<Self> {
        let rows = &screen.rows;
        let cursor = screen.cursor.as_ref()?;
        let at = usize::try_from(cursor.row).ok().filter(|row| *row < rows.len())?;
        let is_more = |row: &&usize| rows[**row].starts_with("  ") || rows[**row].trim().is_empty();
        let candidates: Vec<usize> = (0..=at).rev().take(ROWS_MAX).collect();
        let more = candidates.iter().take_while(is_more).count();
        let first = *candidates.get(more)?;
        let shell = rows[first].starts_with('!');
        let text = rows[first].strip_prefix(['›', '!'])?.trim();
        let empty = text.is_empty() || text == PLACEHOLDER && cursor.column <= 2;
        let draft = shell || more > 0 || !empty;
        let below = &rows[at + 1..];
        Some(Self { above: &rows[..first], below, draft })
    }

    /// Whether a turn can be seen to run.
    pub(crate) fn busy(&self) -> bool {
        let last = self.above.iter().rev().filter(|row| !row.is_empty()).take(12);
        let is_working = |row: &String| row.starts_with(['•', '◦']) && row.contains("esc to interrupt");
        last.into_iter().any(is_working)
    }

    /// What was said since the last prompt, where there was one.
    pub(crate) fn last_turn(&self) -> Option<&'a [String]> {
        let prompt = self.above.iter().rposition(|row| row.starts_with('›'))?;
        Some(&self.above[prompt + 1..])
    }

    /// The conversation's id, from the line of status.
    pub(crate) fn conversation(&self) -> Option<String> {
        self.words().find(|word| is_id(word)).map(str::to_owned)
    }

    /// The version, from the line of status.
    pub(crate) fn version(&self) -> Option<String> {
        self.words().find(|word| is_version(word)).map(str::to_owned)
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        self.below.iter().flat_map(|row| row.split([' ', '·']))
    }
}

impl Question {
    /// The question whose answers are on the screen.
    pub(crate) fn find(screen: &Screen) -> Option<Self> {
        let rows = &screen.rows;
        let held = |row: &String| row.contains("This conversation is open in another app");
        if let Some(row) = rows.iter().find(|row| held(row)) {
            return Some(Self::Other(cut(
                &row[row.find("This").unwrap_or(0)..row.find("app").map_or(row.len(), |at| at + 3)]
            )));
        }
        let end = rows.iter().rposition(|row| is_chosen(row))?;
        let last = rows[end..].iter().rev().filter(|row| !row.trim().is_empty()).take(3);
        if !last.into_iter().any(|row| is_hint(row)) {
            return None;
        }
        let said_before = |row: &String| row.starts_with(['›', '•', '■', '✗', '◦']);
        let head = rows[..end].iter().position(|row| row.contains(">_ OpenAI Codex")).map_or(0, |row| row + 2);
        let start = rows[..end].iter().rposition(said_before).map_or(0, |row| row + 1).max(head.min(end));
        // Answers before the chosen one are none of the question.
        let is_text = |row: &&str| !row.is_empty() && !row.starts_with(|letter: char| letter.is_ascii_digit());
        let lines: Vec<&str> = rows[start..end].iter().map(|row| row.trim()).filter(is_text).collect();
        let from = |marker: &str| lines.iter().position(|line| line.starts_with(marker));
        if let Some(row) = from("Question ") {
            return Some(Self::FromModel(cut(&lines[row + 1..].join(" "))));
        }
        if let Some(row) = from("Would you like to ") {
            return Some(Self::Permission(cut(&lines[row..].join(" "))));
        }
        Some(Self::Other(cut(&lines.join(" "))))
    }
}

/// Whether the program is still loading what it needs.
pub(crate) fn loading(screen: &Screen) -> bool {
    screen.rows.iter().all(|row| row.trim().is_empty()) || screen.rows.iter().take(8).any(|row| row.trim() == "loading")
}

/// What the program said instead of an answer: the last, to its end.
pub(crate) fn last_error(turn: &[String]) -> Option<String> {
    let row = turn.iter().rposition(|row| row.starts_with('■'))?;
    if turn[row..].iter().any(|row| row.starts_with(['•', '◦'])) {
        return None;
    }
    let lines = turn[row..].iter().take_while(|row| !row.trim().is_empty());
    let text: Vec<&str> = lines.map(|row| row.trim_start_matches('■').trim()).collect();
    Some(cut(&text.join(" ")))
}

/// Which version the head of the screen names.
pub(crate) fn version(screen: &Screen) -> Option<String> {
    let (_, after) = screen.rows.iter().find_map(|row| row.split_once("OpenAI Codex (v"))?;
    let version = after.split_once(')')?.0;
    is_version(version).then(|| version.to_owned())
}

/// Whether this is the id of a conversation, a UUID.
pub(crate) fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `› 1. Yes, proceed (y)`, `> 1. Sign in with ChatGPT`.
fn is_chosen(row: &str) -> bool {
    let row = row.trim_start();
    let answer = row.strip_prefix("› ").or_else(|| row.strip_prefix("> "));
    answer.and_then(|answer| answer.split_once(". ")).is_some_and(|(number, _)| number.parse::<u8>().is_ok())
}

/// What stands below answers.
fn is_hint(row: &str) -> bool {
    let row = row.trim().to_lowercase();
    ["press enter to ", "enter continue", "enter select", "enter to submit", "esc back", "esc to cancel"]
        .iter()
        .any(|hint| row.contains(hint))
}

fn cut(text: &str) -> String {
    text.chars().take(QUESTION_MAX).collect()
}
