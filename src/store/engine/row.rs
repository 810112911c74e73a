//! Rows: which columns a type is read from and written to, declared once and used for the `SELECT`, the
//! reading, the `INSERT` and the upsert.

use super::value::{AsJson, FromSql, Mismatch, ToSql, Value};
use super::{EngineError, Fault};
use crate::store::StoreError;

/// A type that is read from the columns of one table. The first column is the row's key.
pub(in crate::store) trait Read: Sized {
    /// The table.
    const TABLE: &'static str;

    /// Names its columns, in the order in which they are read.
    fn name_columns(names: &mut Vec<&'static str>);

    /// Reads one row.
    fn read(columns: &mut Columns<'_>) -> Result<Self, StoreError>;

    /// `SELECT columns FROM table`.
    fn select() -> &'static str;
}

/// A type whose columns can be written as well.
pub(in crate::store) trait Stored: Read {
    /// Gives its values, in the order of its columns.
    fn write(&self, values: &mut Values<'_>) -> Result<(), EngineError>;

    /// `INSERT INTO table (columns) VALUES ($1, ...)`.
    fn insert() -> &'static str;

    /// The same, but a row with this key takes the new values.
    fn upsert() -> &'static str;

    /// The same without the first column, whose value the database gives and answers.
    fn insert_numbered() -> &'static str;
}

/// The names of a type's columns.
pub(in crate::store) fn columns_of<T: Read>() -> Vec<&'static str> {
    let mut names = Vec::new();
    T::name_columns(&mut names);
    names
}

pub(in crate::store) fn select_of<T: Read>() -> String {
    format!("SELECT {} FROM {}", columns_of::<T>().join(", "), T::TABLE)
}

pub(in crate::store) fn insert_of<T: Read>(skip: usize) -> String {
    let columns = columns_of::<T>();
    let columns = &columns[skip..];
    let places: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    format!("INSERT INTO {} ({}) VALUES ({})", T::TABLE, columns.join(", "), places.join(", "))
}

pub(in crate::store) fn upsert_of<T: Read>() -> String {
    let columns = columns_of::<T>();
    let set: Vec<_> = columns[1..].iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!("{} ON CONFLICT ({}) DO UPDATE SET {}", insert_of::<T>(0), columns[0], set.join(", "))
}

/// The columns of one row, read in their order.
pub(in crate::store) struct Columns<'a> {
    pub(super) row: &'a rusqlite::Row<'a>,
    pub(super) table: &'static str,
    pub(super) next: usize,
}

impl Columns<'_> {
    /// The next column, which has this name.
    pub(in crate::store) fn next<T: FromSql>(&mut self, column: &'static str) -> Result<T, StoreError> {
        let index = self.next;
        self.next += 1;
        let value = self.row.get_ref(index).map_err(EngineError::from)?;
        let read = Value::try_from(value).and_then(T::from_sql);
        read.map_err(|Mismatch(problem)| self.fault(column, problem))
    }

    /// The next column, which holds JSON.
    pub(in crate::store) fn next_json<T: serde::de::DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<T, StoreError> {
        self.next::<AsJson<T>>(column).map(|json| json.0)
    }

    /// The next column, which holds JSON or nothing.
    pub(in crate::store) fn next_json_or_null<T: serde::de::DeserializeOwned>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.next::<Option<AsJson<T>>>(column)?.map(|json| json.0))
    }

    #[cold]
    fn fault(&self, column: &'static str, problem: String) -> StoreError {
        let row = match self.row.get_ref(0).map_err(|_| ()).and_then(|key| Value::try_from(key).map_err(|_| ())) {
            Ok(Value::Integer(key)) => key.to_string(),
            Ok(Value::Text(key)) => format!("{key:?}"),
            _ => "?".to_owned(),
        };
        Fault { table: self.table, column, row, problem }.into()
    }
}

/// The values of one statement, bound in their order.
pub(in crate::store) struct Values<'a> {
    /// Binds the parameter with this number.
    pub(super) bind: &'a mut dyn FnMut(usize, Value<'_>) -> Result<(), EngineError>,
    /// How many were given.
    pub(super) given: usize,
    /// How many come first that are left out.
    pub(super) skip: usize,
}

impl Values<'_> {
    /// Gives the next value.
    pub(in crate::store) fn next(&mut self, value: &impl ToSql) -> Result<(), EngineError> {
        self.given += 1;
        if self.given <= self.skip {
            return Ok(());
        }
        (self.bind)(self.given - self.skip, value.to_sql())
    }
}

/// Declares the columns of a type: `field`, `field = "column"` where the names differ, `as json` for what
/// is kept as JSON, `as json_or_null` for an `Option` of it, and `as part TYPE` for a type with columns
/// of its own. Fields that are no columns follow after `beside`, each with its value. With `read` instead of
/// `stored` it cannot be written.
macro_rules! stored {
    (stored $type:ident in $table:ident { $($columns:tt)+ } $(beside { $($rest:tt)+ })?) => {
        $crate::store::engine::stored!(read $type in $table { $($columns)+ } $(beside { $($rest)+ })?);
        $crate::store::engine::stored!(@write $type { $($columns)+ });
    };
    (
        read $type:ident in $table:ident { $($field:ident $(= $column:literal)? $(as $how:ident $($part:ident)?)?),+ $(,)? }
        $(beside { $($other:ident: $value:expr),+ $(,)? })?
    ) => {
        impl $crate::store::engine::Read for $type {
            const TABLE: &'static str = stringify!($table);

            fn name_columns(names: &mut Vec<&'static str>) {
                $( $crate::store::engine::stored!(@name names, $field $(= $column)? $(as $how $($part)?)?); )+
            }

            fn read(
                columns: &mut $crate::store::engine::Columns<'_>,
            ) -> Result<Self, $crate::store::StoreError> {
                Ok(Self {
                    $( $field: $crate::store::engine::stored!(@read columns, $field $(= $column)? $(as $how $($part)?)?), )+
                    $( $($other: $value,)+ )?
                })
            }

            fn select() -> &'static str {
                static SQL: std::sync::LazyLock<String> =
                    std::sync::LazyLock::new($crate::store::engine::select_of::<$type>);
                &SQL
            }
        }
    };
    (@write $type:ident { $($field:ident $(= $column:literal)? $(as $how:ident $($part:ident)?)?),+ $(,)? }) => {
        impl $crate::store::engine::Stored for $type {
            fn write(
                &self,
                values: &mut $crate::store::engine::Values<'_>,
            ) -> Result<(), $crate::store::EngineError> {
                $( $crate::store::engine::stored!(@bind values, self.$field $(as $how $($part)?)?); )+
                Ok(())
            }

            fn insert() -> &'static str {
                static SQL: std::sync::LazyLock<String> =
                    std::sync::LazyLock::new(|| $crate::store::engine::insert_of::<$type>(0));
                &SQL
            }

            fn upsert() -> &'static str {
                static SQL: std::sync::LazyLock<String> =
                    std::sync::LazyLock::new($crate::store::engine::upsert_of::<$type>);
                &SQL
            }

            fn insert_numbered() -> &'static str {
                static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
                    let insert = $crate::store::engine::insert_of::<$type>(1);
                    format!("{insert} RETURNING {}", $crate::store::engine::columns_of::<$type>()[0])
                });
                &SQL
            }
        }
    };
    (@column $field:ident) => { stringify!($field) };
    (@column $field:ident = $column:literal) => { $column };
    (@name $names:ident, $field:ident as part $part:ident) => {
        <$part as $crate::store::engine::Read>::name_columns($names)
    };
    (@name $names:ident, $field:ident $(= $column:literal)? $(as $how:ident)?) => {
        $names.push($crate::store::engine::stored!(@column $field $(= $column)?))
    };
    (@read $columns:ident, $field:ident as part $part:ident) => {
        $crate::store::engine::Read::read($columns)?
    };
    (@read $columns:ident, $field:ident $(= $column:literal)? as json) => {
        $columns.next_json($crate::store::engine::stored!(@column $field $(= $column)?))?
    };
    (@read $columns:ident, $field:ident $(= $column:literal)? as json_or_null) => {
        $columns.next_json_or_null($crate::store::engine::stored!(@column $field $(= $column)?))?
    };
    (@read $columns:ident, $field:ident $(= $column:literal)?) => {
        $columns.next($crate::store::engine::stored!(@column $field $(= $column)?))?
    };
    (@bind $values:ident, $self:ident.$field:ident as part $part:ident) => {
        $crate::store::engine::Stored::write(&$self.$field, $values)?
    };
    (@bind $values:ident, $self:ident.$field:ident as json) => {
        $values.next(&$crate::store::engine::AsJson(&$self.$field))?
    };
    (@bind $values:ident, $self:ident.$field:ident as json_or_null) => {
        $values.next(&$self.$field.as_ref().map($crate::store::engine::AsJson))?
    };
    (@bind $values:ident, $self:ident.$field:ident) => {
        $values.next(&$self.$field)?
    };
}
pub(in crate::store) use stored;
