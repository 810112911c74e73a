//! Screens of real programs, kept as files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::session::{Cursor, Screen, Seen};

impl Seen {
    /// How a recorded screen names it, and what it says.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Starting => ("starting", ""),
            Self::Idle => ("idle", ""),
            Self::Busy => ("busy", ""),
            Self::Dialog(text) => ("dialog", text),
            Self::Approval(text) => ("approval", text),
            Self::Input(text) => ("input", text),
            Self::Limit(limit) => ("limit", &limit.text),
            Self::Unknown => ("unknown", ""),
        }
    }
}

/// A screen as it was seen once, with what is known of it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The file that it is kept in.
    pub path: PathBuf,
    /// What it shows, for people: the first line.
    pub about: String,
    /// The lines `name: value` before the screen, beside those that belong to it.
    pub facts: BTreeMap<String, String>,
    /// The screen, on which nothing has changed for a second.
    pub screen: Screen,
}

impl Recorded {
    /// The screens in a folder and in those below it, sorted by path. Each file has a line that says what it shows, lines
    /// `name: value` (`cursor: COLUMN,ROW`, `title: TEXT` and what the tests want to know), a line `--`, and the rows.
    ///
    /// # Panics
    /// When a file is not like that, or there is none.
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for entry in entries {
                let path = entry.expect("an entry").path();
                if path.is_dir() { folders.push(path) } else { found.push(Self::read(path)) }
            }
        }
        assert!(!found.is_empty(), "no screen in {}", folder.display());
        found.sort_by(|one, other| one.path.cmp(&other.path));
        found
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (head, rows) = text.split_once("\n--\n").unwrap_or_else(|| panic!("{}: no line --", path.display()));
        let mut lines = head.lines();
        let about = lines.next().unwrap_or_default().to_owned();
        let fact = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{}: {line}", path.display()));
            (name.to_owned(), value.trim().to_owned())
        };
        let mut facts: BTreeMap<String, String> = lines.map(fact).collect();
        let cursor = facts.remove("cursor").and_then(|at| {
            let (column, row) = at.split_once(',')?;
            Some(Cursor { column: column.parse().ok()?, row: row.parse().ok()? })
        });
        let screen = Screen {
            rows: rows.lines().map(str::to_owned).collect(),
            cursor,
            title: facts.remove("title").unwrap_or_default(),
            still_ms: 1_000,
        };
        Self { path, about, facts, screen }
    }

    /// A fact that is there or empty.
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }
}
