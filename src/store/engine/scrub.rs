//! Scrubbing: reading the whole database in small steps, so that damage is found before somebody needs what is
//! damaged. `PRAGMA quick_check` cannot be done in steps, so this reads every row with what it keeps on other pages,
//! and looks every row up in each index of its table but those of an expression, as `PRAGMA integrity_check` does.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Params, Row, ToSql, params_from_iter};

use super::{Connection, EngineError};

/// What one step reads at most: some milliseconds.
const STEP_ROWS: usize = 1_000;
const STEP_BYTES: usize = 1 << 20;

/// Where a pass through the database stands.
#[derive(Debug, Default)]
pub(in crate::store) struct Scrub {
    tables: Vec<Table>,
    /// The table that is read.
    table: usize,
    /// The key of the last row that was read of it.
    after: Option<Vec<Value>>,
    /// Whole passes so far.
    pub(in crate::store) passes: u64,
    /// Rows read so far.
    pub(in crate::store) rows: u64,
}

#[derive(Debug)]
struct Table {
    name: String,
    /// Its key: the columns of it, or `rowid`.
    key: Vec<String>,
    indexes: Vec<Index>,
}

#[derive(Debug)]
struct Index {
    name: String,
    columns: Vec<String>,
    /// Which rows it has; all of them unless it says.
    filter: String,
}

/// What one step read of a table.
struct Part {
    rows: u64,
    /// The key of the last row.
    last: Option<Vec<Value>>,
    /// Whether there is nothing after it.
    at_end: bool,
}

impl Connection {
    /// Reads the next small part of the database, and answers what is wrong with it, if something is.
    pub(in crate::store) fn scrub(&self, scrub: &mut Scrub) -> Result<Option<String>, EngineError> {
        self.inner.execute_batch("PRAGMA cell_size_check = ON")?;
        if scrub.tables.is_empty() {
            scrub.tables = self.tables()?;
            // A pass takes a day, and not every relay runs for so long: the first one begins anywhere.
            scrub.table = random_below(scrub.tables.len() as u64) as usize;
            scrub.after = self.any_key(&scrub.tables[scrub.table])?;
        }
        let table = &scrub.tables[scrub.table];
        let after = scrub.after.take();
        let read = self.read_rows(table, after.as_deref());
        let finding = match &read {
            Ok(Part { last: Some(last), .. }) => self.missing_entry(table, after.as_deref(), last),
            _ => Ok(None),
        };
        match read {
            Ok(Part { rows, last, at_end: false }) => (scrub.rows, scrub.after) = (scrub.rows + rows, last),
            // What cannot be read is left behind; the next pass tries it again.
            ended => {
                scrub.rows += ended.as_ref().map_or(0, |part| part.rows);
                scrub.table = (scrub.table + 1) % scrub.tables.len();
                scrub.passes += u64::from(scrub.table == 0);
                ended?;
            }
        }
        finding
    }

    fn tables(&self) -> Result<Vec<Table>, EngineError> {
        let all = "SELECT name, wr FROM pragma_table_list
                       WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let mut tables = Vec::new();
        for (name, without_rowid) in self.list(all, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))? {
            let key = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
            let key = if without_rowid { self.list(key, [&name], |row| row.get(0))? } else { vec!["rowid".to_owned()] };
            let mut indexes = Vec::new();
            // The primary key of a table without numbers is the table itself.
            let of_table = "SELECT list.name, coalesce(sql, '') FROM pragma_index_list(?1) AS list
                                LEFT JOIN sqlite_schema ON sqlite_schema.name = list.name WHERE origin <> 'pk' OR NOT ?2";
            let found: Vec<(String, String)> =
                self.list(of_table, rusqlite::params![name, without_rowid], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for (index, sql) in found {
                let columns = "SELECT name FROM pragma_index_info(?1) ORDER BY seqno";
                let columns: Vec<Option<String>> = self.list(columns, [&index], |row| row.get(0))?;
                // An expression has no name to look rows up by: such an index is left out.
                let Some(columns) = columns.into_iter().collect() else { continue };
                let filter = sql.split_once("WHERE").map_or("true", |(_, filter)| filter.trim()).to_owned();
                indexes.push(Index { name: index, columns, filter });
            }
            tables.push(Table { name, key, indexes });
        }
        Ok(tables)
    }

    /// A key to begin after, where keys are numbers.
    fn any_key(&self, table: &Table) -> Result<Option<Vec<Value>>, EngineError> {
        if table.key != ["rowid"] {
            return Ok(None);
        }
        let last = format!("SELECT coalesce(max(rowid), 0) FROM \"{}\"", table.name);
        let last: i64 = self.inner.query_row(&last, [], |row| row.get(0))?;
        let place = random_below(last.unsigned_abs().max(1));
        Ok(Some(vec![Value::Integer(i64::try_from(place).unwrap_or(0))]))
    }

    /// Reads the rows after this key whole, as many as a step may.
    fn read_rows(&self, table: &Table, after: Option<&[Value]>) -> Result<Part, EngineError> {
        let key = table.key.join(", ");
        let from = after.map_or_else(String::new, |_| format!("WHERE ({key}) > ({})", places(&table.key, 1)));
        let sql = format!("SELECT {key}, * FROM \"{}\" {from} ORDER BY {key} LIMIT {STEP_ROWS}", table.name);
        let mut statement = self.inner.prepare(&sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(after.unwrap_or_default()))?;
        let (mut part, mut bytes) = (Part { rows: 0, last: None, at_end: false }, 0);
        while bytes < STEP_BYTES && part.rows < STEP_ROWS as u64 {
            let Some(row) = rows.next()? else {
                part.at_end = true;
                break;
            };
            for column in 0..columns {
                bytes += match row.get_ref(column)? {
                    ValueRef::Text(text) | ValueRef::Blob(text) => text.len(),
                    _ => size_of::<i64>(),
                };
            }
            part.rows += 1;
            part.last = Some((0..table.key.len()).map(|column| row.get(column)).collect::<Result<_, _>>()?);
        }
        Ok(part)
    }

    /// Looks up every row after one key and up to another in each index.
    fn missing_entry(
        &self,
        table: &Table,
        after: Option<&[Value]>,
        last: &[Value],
    ) -> Result<Option<String>, EngineError> {
        let key = table.key.join(", ");
        for Index { name, columns, filter } in &table.indexes {
            let of_table = &table.name;
            let from = after
                .map_or_else(String::new, |_| format!("AND ({key}) > ({})", places(&table.key, table.key.len() + 1)));
            let same: Vec<_> = columns
                .iter()
                .chain(&table.key)
                .map(|column| format!("entry.{column} IS \"{of_table}\".{column}"))
                .collect();
            let sql = format!(
                "SELECT count(*) FROM \"{of_table}\" NOT INDEXED WHERE ({key}) <= ({}) {from} AND ({filter})
                     AND NOT EXISTS (SELECT 1 FROM \"{of_table}\" AS entry INDEXED BY \"{name}\"
                                         WHERE ({filter}) AND {})",
                places(&table.key, 1),
                same.join(" AND ")
            );
            let values: Vec<&dyn ToSql> =
                last.iter().chain(after.unwrap_or_default()).map(|value| value as _).collect();
            let missing: i64 = self.inner.query_row(&sql, &values[..], |row| row.get(0))?;
            if missing > 0 {
                return Ok(Some(format!("{missing} rows of {of_table} are not in its index {name}")));
            }
        }
        Ok(None)
    }

    fn list<T, P: Params>(
        &self,
        sql: &str,
        params: P,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, EngineError> {
        Ok(self.inner.prepare(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }
}

/// `?1, ?2` for the columns of a key, from this number on.
fn places(key: &[String], first: usize) -> String {
    (first..first + key.len()).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

/// A number from 0 to below this one.
fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    // Any place does.
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes) % limit.max(1)
}
