//! What policies were asked and said, for asking another policy the same.

use rusqlite::params;

use super::super::StoreError;
use super::Store;
use super::tx::from_json;
use crate::domain::command::RecordedDecision;
use crate::domain::control::ControlKind;

/// Bytes of the questions in one page: a question may have a quarter of a mebibyte.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Recorded decisions with a smaller id than `before`, newest first, at most `limit`. A page of
    /// large questions is shorter, and never empty while there is one.
    pub async fn decisions(&self, before: Option<i64>, limit: usize) -> Result<Vec<RecordedDecision>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, created_at, kind, target, question, decision FROM commands
                 WHERE question IS NOT NULL AND (?1 IS NULL OR id < ?1)
                 ORDER BY id DESC LIMIT ?2",
            )?;
            let mut rows = statement.query(params![before, limit as i64])?;
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let (kind, question, decision): (String, String, String) = (row.get(2)?, row.get(4)?, row.get(5)?);
                bytes += question.len();
                if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                    break;
                }
                page.push(RecordedDecision {
                    command_id: row.get(0)?,
                    at: row.get(1)?,
                    kind: ControlKind::parse(&kind).unwrap_or(ControlKind::Spawn),
                    target: row.get(3)?,
                    question: from_json(&question)?,
                    decision: from_json(&decision)?,
                });
            }
            Ok(page)
        })
        .await
    }
}
