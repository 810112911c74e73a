//! Values: what a column holds, and which of the domain's types are which.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::caller::Scope;
use crate::domain::id::{
    ActivityId, AgentId, AttentionId, CallbackId, CommandId, DeliveryId, EventSeq, MessageId, OrchestratorId, PairId,
    TaskEventId, TaskId, TokenId,
};
use crate::domain::integration::IntegrationName;
use crate::domain::message::{Sender, SenderKind};
use crate::domain::page::Limit;
use crate::domain::text::word::Word;
use crate::domain::time::Timestamp;

/// What one column holds. Text and bytes are borrowed where they can be.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Blob(&'a [u8]),
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Integer(_) => "an integer",
            Value::Real(_) => "a real number",
            Value::Text(_) => "a text",
            Value::Blob(_) => "bytes",
        }
    }
}

/// A type that is written as one column.
pub(in crate::store) trait ToSql {
    fn to_sql(&self) -> Value<'_>;
}

/// A type that one column is read as.
pub(in crate::store) trait FromSql: Sized {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch>;
}

/// What is wrong with a value.
#[derive(Debug)]
pub(in crate::store) struct Mismatch(pub(in crate::store) String);

impl Mismatch {
    fn wanted(what: &str, found: &Value<'_>) -> Self {
        Self(format!("{what} was expected and {} is there", found.kind()))
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn to_sql(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, ToSql::to_sql)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Null => Ok(None),
            value => T::from_sql(value).map(Some),
        }
    }
}

impl ToSql for i64 {
    fn to_sql(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl FromSql for i64 {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Integer(number) => Ok(number),
            other => Err(Mismatch::wanted("an integer", &other)),
        }
    }
}

impl ToSql for bool {
    fn to_sql(&self) -> Value<'_> {
        Value::Integer(i64::from(*self))
    }
}

impl FromSql for bool {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Integer(0) => Ok(false),
            Value::Integer(1) => Ok(true),
            other => Err(Mismatch::wanted("0 or 1", &other)),
        }
    }
}

impl ToSql for Limit {
    fn to_sql(&self) -> Value<'_> {
        Value::Integer(self.as_i64())
    }
}

impl ToSql for str {
    fn to_sql(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self))
    }
}

impl ToSql for &str {
    fn to_sql(&self) -> Value<'_> {
        (**self).to_sql()
    }
}

impl ToSql for String {
    fn to_sql(&self) -> Value<'_> {
        self.as_str().to_sql()
    }
}

impl FromSql for String {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => Ok(text.into_owned()),
            other => Err(Mismatch::wanted("a text", &other)),
        }
    }
}

impl ToSql for Arc<str> {
    fn to_sql(&self) -> Value<'_> {
        (**self).to_sql()
    }
}

impl FromSql for Arc<str> {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => Ok(text.into()),
            other => Err(Mismatch::wanted("a text", &other)),
        }
    }
}

impl ToSql for [u8; 32] {
    fn to_sql(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl FromSql for [u8; 32] {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Blob(bytes) => bytes.try_into().map_err(|_| Mismatch(format!("{} bytes are not 32", bytes.len()))),
            other => Err(Mismatch::wanted("32 bytes", &other)),
        }
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl FromSql for Vec<u8> {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Blob(bytes) => Ok(bytes.to_vec()),
            other => Err(Mismatch::wanted("bytes", &other)),
        }
    }
}

macro_rules! numbers {
    ($($type:ty: $from:path, $to:path;)+) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> Value<'_> {
                Value::Integer($to(*self))
            }
        }

        impl FromSql for $type {
            fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
                i64::from_sql(value).map($from)
            }
        }
    )+};
}

numbers! {
    ActivityId: ActivityId::new, ActivityId::get;
    AttentionId: AttentionId::new, AttentionId::get;
    CallbackId: CallbackId::new, CallbackId::get;
    CommandId: CommandId::new, CommandId::get;
    DeliveryId: DeliveryId::new, DeliveryId::get;
    EventSeq: EventSeq::new, EventSeq::get;
    MessageId: MessageId::new, MessageId::get;
    PairId: PairId::new, PairId::get;
    TaskEventId: TaskEventId::new, TaskEventId::get;
    TaskId: TaskId::new, TaskId::get;
    TokenId: TokenId::new, TokenId::get;
    Timestamp: Timestamp::from_ms, Timestamp::as_ms;
}

macro_rules! texts {
    ($($type:ty)+) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> Value<'_> {
                self.as_str().to_sql()
            }
        }

        impl FromSql for $type {
            fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
                String::from_sql(value).map(Self::from)
            }
        }
    )+};
}

texts! { AgentId IntegrationName OrchestratorId }

impl<W: Word> ToSql for W {
    fn to_sql(&self) -> Value<'_> {
        Value::Text(Cow::Borrowed(self.as_str()))
    }
}

impl<W: Word> FromSql for W {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => word(&text),
            other => Err(Mismatch::wanted("a word", &other)),
        }
    }
}

fn word<W: Word>(text: &str) -> Result<W, Mismatch> {
    W::parse(text).ok_or_else(|| {
        let known: Vec<_> = W::ALL.iter().map(|word| word.as_str()).collect();
        Mismatch(format!("{text:?} is none of {}", known.join(", ")))
    })
}

/// Scopes are kept as words with spaces between them.
impl ToSql for Vec<Scope> {
    fn to_sql(&self) -> Value<'_> {
        let words: Vec<_> = self.iter().map(|scope| scope.as_str()).collect();
        Value::Text(Cow::Owned(words.join(" ")))
    }
}

impl FromSql for Vec<Scope> {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => text.split_ascii_whitespace().map(word).collect(),
            other => Err(Mismatch::wanted("words", &other)),
        }
    }
}

/// A sender is kept as the first letter of its kind, `+` if it is verified and `-` if not, and its `via`.
impl ToSql for Sender {
    fn to_sql(&self) -> Value<'_> {
        let mut text = String::with_capacity(self.via.len() + 2);
        text.push_str(&self.r#as.as_str()[..1]);
        text.push(if self.verified { '+' } else { '-' });
        text.push_str(&self.via);
        Value::Text(Cow::Owned(text))
    }
}

impl FromSql for Sender {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        let Value::Text(text) = &value else { return Err(Mismatch::wanted("a sender", &value)) };
        let mut chars = text.chars();
        let letter = chars.next();
        let kind = SenderKind::ALL.into_iter().find(|kind| kind.as_str().chars().next() == letter);
        let verified = match chars.next() {
            Some('+') => Some(true),
            Some('-') => Some(false),
            _ => None,
        };
        let (Some(kind), Some(verified)) = (kind, verified) else {
            return Err(Mismatch(format!("{text:?} is no sender")));
        };
        Ok(Self { r#as: kind, verified, via: chars.as_str().to_owned() })
    }
}

/// A column that holds JSON.
pub(in crate::store) struct AsJson<T>(pub(in crate::store) T);

impl<T: Serialize> ToSql for AsJson<&T> {
    fn to_sql(&self) -> Value<'_> {
        Value::Text(Cow::Owned(crate::store::tx::json(self.0)))
    }
}

impl<T: DeserializeOwned> FromSql for AsJson<T> {
    fn from_sql(value: Value<'_>) -> Result<Self, Mismatch> {
        match value {
            Value::Text(text) => serde_json::from_str(&text).map(Self).map_err(|error| Mismatch(error.to_string())),
            other => Err(Mismatch::wanted("JSON", &other)),
        }
    }
}
