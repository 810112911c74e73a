//! The engine: one database, as the verbs need it. Rows go in and come out with named columns, typed by
//! the domain's own types.
//!
//! The files below this one are the only ones that name SQLite. A second engine is one more file beside
//! `sqlite` with the same [`Connection`], and its own migrations; what the verbs say is SQL that both take:
//!
//! - parameters are `$1`, `$2`, ... in the order in which they first appear (SQLite numbers them so; a debug
//!   build checks it),
//! - an upsert is `ON CONFLICT ... DO`, a number given by the database comes back by `RETURNING`,
//! - no JSON functions, no `rowid`, no scalar `max(a, b)`: what has to be computed is computed here,
//! - every name may stand bare in both.
//!
//! What differs is a method: the size of the database, the version of its schema, what is done at the end.

mod backup;
mod conditions;
pub(in crate::store) mod migrations;
mod row;
mod scrub;
mod sqlite;
mod value;

pub use backup::{Backup, back_up, restore};
pub(in crate::store) use conditions::Conditions;
pub(in crate::store) use row::{Columns, Read, Stored, Values, columns_of, insert_of, select_of, stored, upsert_of};
pub(in crate::store) use scrub::Scrub;
pub(in crate::store) use sqlite::Connection;
#[cfg(debug_assertions)]
pub use sqlite::prepared_statements;
pub(in crate::store) use value::{AsJson, FromSql, ToSql};

/// The engine failed: the disk, the file, or a statement of ours.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct EngineError {
    /// What the engine says.
    text: String,
    /// There is no room; it works again once there is.
    is_disk_full: bool,
    /// What is in the file is no database any more, all of it or in part.
    is_damage: bool,
}

impl EngineError {
    /// Whether there was no room. It works again once there is.
    pub fn is_disk_full(&self) -> bool {
        self.is_disk_full
    }

    /// Whether the file was found damaged. It stays that until somebody repairs or replaces it.
    pub fn is_damage(&self) -> bool {
        self.is_damage
    }
}

/// A row holds what this program never writes there: an unknown word, another type, or broken JSON. It
/// was written by another program, or by a newer version of this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table}.{column} of row {row}: {problem}")]
pub struct Fault {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's first column, which is its key.
    pub row: String,
    /// What is wrong with it, with the word where it is one.
    pub problem: String,
}
