//! Conditions: a `WHERE`, or a `WHEN`, of as many parts as a filter has.

use super::ToSql;

/// Conditions that must all hold, with their values. The texts are ours; only the values come from
/// outside.
pub(in crate::store) struct Conditions<'v> {
    sql: String,
    /// What the next condition comes after.
    word: &'static str,
    values: Vec<&'v dyn ToSql>,
}

impl<'v> Conditions<'v> {
    /// None yet, after this start of a statement.
    pub(in crate::store) fn after(start: &str) -> Self {
        let mut sql = String::with_capacity(start.len() + 200);
        sql.push_str(start);
        Self { sql, word: " WHERE ", values: Vec::with_capacity(8) }
    }

    /// Has the next condition be the first after this word.
    pub(in crate::store) fn begin(&mut self, word: &'static str) {
        self.word = word;
    }

    /// Adds a condition. Each `?` in it stands for the next of these values.
    pub(in crate::store) fn add(&mut self, condition: &str, values: &[&'v dyn ToSql]) {
        self.sql.push_str(std::mem::replace(&mut self.word, " AND "));
        self.push(condition, values);
    }

    /// Adds a condition on a value, if there is one.
    pub(in crate::store) fn add_if<T: ToSql>(&mut self, condition: &str, value: &'v Option<T>) {
        if let Some(value) = value {
            self.add(condition, &[value]);
        }
    }

    /// Adds what comes after the conditions.
    pub(in crate::store) fn push(&mut self, sql: &str, values: &[&'v dyn ToSql]) {
        let mut parts = sql.split('?');
        self.sql.push_str(parts.next().unwrap_or_default());
        for (part, value) in parts.zip(values) {
            self.values.push(*value);
            self.sql.push('$');
            self.sql.push_str(&self.values.len().to_string());
            self.sql.push_str(part);
        }
    }

    /// The statement and its values.
    pub(in crate::store) fn parts(&self) -> (&str, &[&'v dyn ToSql]) {
        (&self.sql, &self.values)
    }
}
