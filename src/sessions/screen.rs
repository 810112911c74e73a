//! Reading a screen: whether an input waits on it, or a dialog, as far as its text says.
//!
//! Pure, and the one place that knows how programs look. It asks for evidence, and without any it says
//! [`Seen::Unknown`]: on that nothing is called up, and no key is pressed.

use unicode_width::UnicodeWidthChar as _;

/// What a terminal shows, or, of a session without one, the end of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Its rows, top down, without control characters.
    rows: Vec<String>,
    /// The cursor, in cells from the left and rows from the top; none without a terminal.
    cursor: Option<(usize, usize)>,
}

/// What is seen on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An input that takes text.
    Input(Evidence),
    /// A question that waits for an answer: choices, yes or no, a key to go on.
    Dialog,
    /// Neither of them, so nobody can know.
    Unknown,
}

/// What an input was known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A text that the provider names for it.
    Known,
    /// It looks like one. A program that is still starting may show the same for a moment.
    Looks,
}

/// How far above the last text of a screen a dialog or an empty input may be, in rows with text: below them are
/// hints and footers.
const DIALOG_DEPTH: usize = 6;
const INPUT_DEPTH: usize = 3;
/// How much of the end of a text is looked for on the screen, in characters.
const END_CHARACTERS: usize = 12;

/// What stands before an input, and before a selected choice; the longest of a kind first.
const INPUT_POINTERS: [&str; 5] = [">>>", ">", "❯", "›", "»"];
const CHOICE_POINTERS: [&str; 8] = [">", "❯", "›", "»", "▶", "→", "➜", "●"];
/// What stands behind the words of a shell's prompt.
const SHELL_POINTERS: [char; 3] = ['$', '#', '❯'];
/// What only the foot of a dialog says, in lower case.
const DIALOG_HINTS: [&str; 14] = [
    "enter to confirm",
    "enter to select",
    "enter to continue",
    "enter to proceed",
    "enter continue",
    "esc to cancel",
    "esc back",
    "esc to go back",
    "press enter",
    "press return",
    "press any key",
    "to navigate",
    "arrow keys",
    "space to select",
];
/// How a question for yes or no ends, in lower case.
const YES_OR_NO: [&str; 5] = ["[y/n]", "(y/n)", "(yes/no)", "[yes/no]", "(y/n/a)"];
/// What is asked for with an echo that shows nothing, in lower case.
const SECRETS: [&str; 2] = ["password", "passphrase"];
/// How choices without a number begin, in lower case.
const CHOICES: [&str; 10] = ["yes", "no", "allow", "deny", "accept", "decline", "cancel", "continue", "exit", "trust"];

impl Screen {
    /// The screen of a terminal, from its rows.
    pub fn new(text: &str, cursor: Option<(usize, usize)>) -> Self {
        Self { rows: text.lines().map(|row| row.trim_end().to_owned()).collect(), cursor }
    }

    /// Its rows, top down, without the spaces at their ends.
    pub fn rows(&self) -> &[String] {
        &self.rows
    }

    /// Where the cursor stands, in cells from the left and rows from the top; nowhere without a terminal.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.cursor
    }

    /// Its text, without the empty rows at its end.
    pub fn text(&self) -> String {
        self.rows.join("\n").trim_end().to_owned()
    }

    /// What is seen on it. `known` are the texts by which its provider knows an input. Of a dialog and an input
    /// the lower one counts: what is above it has been dealt with.
    pub fn read(&self, known: &[String]) -> Seen {
        let input = self.input(known);
        match (input, self.dialog()) {
            (Some((input, evidence)), Some(dialog)) if input > dialog => Seen::Input(evidence),
            // What is known of a program tells more than what looks like something.
            (Some((input, Evidence::Known)), Some(dialog)) if input == dialog => Seen::Input(Evidence::Known),
            (_, Some(_)) => Seen::Dialog,
            (Some((_, evidence)), None) => Seen::Input(evidence),
            (None, None) => Seen::Unknown,
        }
    }

    /// Whether the cursor stands right behind this text, or behind what a program shows in its stead.
    pub fn has_at_cursor(&self, text: &str) -> bool {
        let before = self.before_cursor();
        let (end, is_pasted) = (end_of(text), before.ends_with(']') || before.ends_with(')'));
        let placeholder = before.rsplit(['[', '(']).next().filter(|_| is_pasted);
        let in_its_stead = placeholder.is_some_and(|words| words.to_lowercase().starts_with("pasted"));
        before.ends_with(&end) || in_its_stead
    }

    /// The last that stands before the cursor, to be compared: frames and spaces are left out.
    pub fn at_cursor(&self) -> String {
        end_of(&self.before_cursor())
    }

    /// Whether the cursor stands at an input that is empty.
    pub fn is_at_prompt(&self) -> bool {
        self.cursor.is_some_and(|(column, row)| {
            self.rows.get(row).is_some_and(|line| is_prompt(line, &first_cells(line, column)))
        })
    }

    /// Whether something stands before the cursor in its row that is no prompt: a text that nobody has submitted.
    pub fn has_draft(&self) -> bool {
        self.cursor.is_some_and(|(column, row)| {
            let before = self.rows.get(row).map(|line| first_cells(line, column)).unwrap_or_default();
            !unframed(&before).is_empty() && !self.is_at_prompt()
        })
    }

    /// How often the end of this text is on the screen.
    pub fn count(&self, text: &str) -> usize {
        bare(&self.rows.concat()).matches(&end_of(text)).count()
    }

    /// How often a text is on the screen, whole, wherever its lines are broken.
    pub fn count_of(&self, text: &str) -> usize {
        let text = bare(text);
        if text.is_empty() { 0 } else { bare(&self.rows.concat()).matches(&text).count() }
    }

    /// The same screen without a text that stands before the cursor: what a text says must not be taken for
    /// what the program says.
    #[must_use]
    pub fn without(&self, text: &str) -> Self {
        let Some((column, row)) = self.cursor else { return self.clone() };
        let mut left: Vec<char> = bare(text).chars().collect();
        let mut rows = self.rows.clone();
        rows.truncate(row + 1);
        if let Some(line) = rows.get_mut(row) {
            *line = first_cells(line, column);
        }
        'text: for line in rows.iter_mut().rev() {
            let mut kept = line.trim_end();
            while let Some(letter) = kept.chars().next_back() {
                if is_bare(letter) && left.pop_if(|wanted| *wanted == letter).is_none() {
                    *line = kept.to_owned();
                    break 'text;
                }
                kept = &kept[..kept.len() - letter.len_utf8()];
            }
            line.clear();
        }
        rows.extend(self.rows.iter().skip(row + 1).cloned());
        Self { rows, cursor: self.cursor }
    }

    /// All that stands before the cursor, without frames and spaces; of a log, all of it.
    fn before_cursor(&self) -> String {
        let Some((column, row)) = self.cursor else { return bare(&self.rows.concat()) };
        let above = self.rows.iter().take(row).map(String::as_str).collect::<String>();
        let here = self.rows.get(row).map(|line| first_cells(line, column)).unwrap_or_default();
        bare(&(above + &here))
    }

    /// The numbers of the rows with text, the lowest first.
    fn written(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).rev().filter(|row| !bare(&self.rows[*row]).is_empty())
    }

    /// The lowest row that is evidence of an input.
    fn input(&self, known: &[String]) -> Option<(usize, Evidence)> {
        let is_known = |row: &String| known.iter().any(|text| row.contains(text));
        if let Some(row) = self.rows.iter().rposition(is_known) {
            return Some((row, Evidence::Known));
        }
        // One that is longer than a row is somewhere.
        let whole = bare(&self.rows.concat());
        if known.iter().any(|text| !bare(text).is_empty() && whole.contains(&bare(text))) {
            return Some((0, Evidence::Known));
        }
        // Without a terminal nobody can type.
        let (_, row) = self.cursor?;
        if self.is_at_prompt() {
            return Some((row, Evidence::Looks));
        }
        let empty = self.written().take(INPUT_DEPTH).find(|row| INPUT_POINTERS.contains(&unframed(&self.rows[*row])));
        Some((empty?, Evidence::Looks))
    }

    /// The lowest row that is evidence of a dialog.
    fn dialog(&self) -> Option<usize> {
        let last = self.written().next()?;
        let at_cursor = self.cursor.map_or(last, |(_, row)| row);
        let is_question = |row: usize| {
            let line = self.rows.get(row).map(|line| unframed(line).to_lowercase()).unwrap_or_default();
            let asks = YES_OR_NO.iter().any(|ending| line.trim_end_matches([':', '?', ' ', '>']).ends_with(ending));
            asks || line.ends_with(':') && SECRETS.iter().any(|secret| line.contains(secret))
        };
        let asked = [last, at_cursor].into_iter().find(|row| is_question(*row));
        let told = self.written().take(DIALOG_DEPTH).find(|row| {
            let line = self.rows[*row].to_lowercase();
            DIALOG_HINTS.iter().any(|hint| line.contains(hint))
        });
        let chosen = self.written().take(DIALOG_DEPTH).find(|row| self.is_choice(*row));
        asked.max(told).max(chosen)
    }

    /// Whether this row is one of several choices of which one is selected.
    fn is_choice(&self, row: usize) -> bool {
        let choice = |row: usize| Choice::read(self.rows.get(row)?);
        let Some(own) = choice(row) else { return false };
        // The rest of a choice that is longer than a row, and empty rows, may be between them.
        let near = (row.saturating_sub(2 * DIALOG_DEPTH)..row + DIALOG_DEPTH).filter(|other| *other != row);
        let others: Vec<Choice> = near.filter_map(choice).filter(|other| other.numbered == own.numbered).collect();
        let selected = usize::from(own.selected) + others.iter().filter(|other| other.selected).count();
        !others.is_empty() && selected == 1
    }
}

/// One row of a list of choices.
struct Choice {
    selected: bool,
    numbered: bool,
}

impl Choice {
    fn read(row: &str) -> Option<Self> {
        let row = unframed(row);
        let (selected, label) = match after_pointer(row) {
            Some(label) => (true, label),
            None => (false, row),
        };
        let number = label.trim_start_matches('(').trim_start_matches(|digit: char| digit.is_ascii_digit());
        let digits = label.len() - number.len();
        let numbered = (1..=3).contains(&digits)
            && number
                .strip_prefix(['.', ')', ':'])
                .is_some_and(|rest| rest.starts_with(' ') && !rest.trim().is_empty());
        let word = label.split(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default().to_lowercase();
        (numbered || CHOICES.contains(&word.as_str())).then_some(Self { selected, numbered })
    }
}

/// What follows the pointer of a row that begins with one.
fn after_pointer(row: &str) -> Option<&str> {
    CHOICE_POINTERS.iter().find_map(|pointer| row.strip_prefix(pointer)).map(str::trim_start)
}

/// Whether a row, of which `before` stands before the cursor, is a prompt that waits for input.
fn is_prompt(row: &str, before: &str) -> bool {
    if Choice::read(row).is_some() {
        return false;
    }
    let before = unframed(before);
    let is_word = |name: &str| !name.is_empty() && !name.contains(' ');
    // A pointer alone, whatever is suggested behind the cursor; a shell's; or a name's, as in `sqlite>`.
    INPUT_POINTERS.contains(&before)
        || before.ends_with(SHELL_POINTERS)
        || before.strip_suffix('>').is_some_and(is_word)
}

/// A row without the frame around it and the spaces at its ends.
fn unframed(row: &str) -> &str {
    row.trim_matches(|letter: char| letter.is_whitespace() || is_frame(letter))
}

/// `text` without spaces and frames.
fn bare(text: &str) -> String {
    text.chars().filter(|letter| is_bare(*letter)).collect()
}

fn is_bare(letter: char) -> bool {
    !letter.is_whitespace() && !is_frame(letter)
}

fn is_frame(letter: char) -> bool {
    matches!(letter, '\u{2500}'..='\u{259f}' | '|')
}

fn end_of(text: &str) -> String {
    let text = bare(text);
    let skipped = text.chars().count().saturating_sub(END_CHARACTERS);
    text.chars().skip(skipped).collect()
}

/// The part of a row in its first cells.
fn first_cells(row: &str, cells: usize) -> String {
    let mut taken = 0;
    let fits = |letter: &char| {
        taken += letter.width().unwrap_or(0);
        taken <= cells
    };
    row.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests;
