//! JSON that is handed on as it came: to the last digit of its numbers, whatever their size.
//!
//! What is kept is the text of a value, without the space between its tokens and with members in the order of
//! their names. A number stays as it was written: `1.0` is not made `1`. What two readers could take for different
//! things, or one could not take at all, is refused: a name twice in an object, half a surrogate pair, a number
//! beyond every double, and nesting so deep that a usual reader gives up.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The deepest nesting of what is handed on: half of what usual readers take, who get it inside of more.
pub const DEPTH_MAX: usize = 64;

/// Any JSON value.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Exact(Box<RawValue>);

impl Exact {
    /// Its text, on one line.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// What it says, as far as the relay wants to know: large numbers are not exact here.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }

    /// The value of a whole text, nested so deep at most.
    pub fn parse(json: &[u8], depth_max: usize) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let mut text = String::with_capacity(raw.get().len());
        write(raw.get(), depth_max, &mut text)?;
        RawValue::from_string(text).map(Self).map_err(|error| error.to_string())
    }
}

/// A value of the relay's own.
impl From<Value> for Exact {
    fn from(value: Value) -> Self {
        Self(RawValue::from_string(value.to_string()).expect("a value's text is JSON"))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get().as_bytes(), DEPTH_MAX).map_err(de::Error::custom)
    }
}

/// A JSON object, by the names of its members.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Object(BTreeMap<String, Exact>);

impl Object {
    /// What a member says.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.0.get(name).map(Exact::value)
    }

    /// What all of it says.
    pub fn value(&self) -> Value {
        self.0.iter().map(|(name, value)| (name.clone(), value.value())).collect()
    }

    /// Whether there is a member of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a member to a value of the relay's own.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), Exact::from(value.into()));
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The members of a value of the relay's own; none of what is no object.
impl From<Value> for Object {
    fn from(value: Value) -> Self {
        let Value::Object(members) = value else { return Self::default() };
        Self(members.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Exact>()? {
                    if members.contains_key(&name) {
                        return Err(de::Error::custom(twice(&name)));
                    }
                    members.insert(name, value);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn twice(name: &str) -> String {
    format!("the name {name:?} is there twice")
}

/// Writes a value without the space between its tokens.
fn write(json: &str, depth_left: usize, text: &mut String) -> Result<(), String> {
    match json.as_bytes().first() {
        Some(b'{' | b'[') if depth_left == 0 => return Err(format!("nested more than {DEPTH_MAX} deep")),
        Some(b'{') => parse(json, Writing { depth_left, text })?,
        Some(b'[') => parse(json, Writing { depth_left, text })?,
        Some(b'"') => {
            let string: String = serde_json::from_str(json).map_err(|error| error.to_string())?;
            text.push_str(&serde_json::to_string(&string).map_err(|error| error.to_string())?);
        }
        Some(b'-' | b'0'..=b'9') if !json.parse::<f64>().is_ok_and(f64::is_finite) => {
            return Err(format!("the number {json:.40} is too large for a double"));
        }
        // Numbers and the three words have nothing that could be left out.
        _ => text.push_str(json),
    }
    Ok(())
}

fn parse(json: &str, writing: Writing<'_>) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let written = if json.starts_with('{') {
        deserializer.deserialize_map(writing)
    } else {
        deserializer.deserialize_seq(writing)
    };
    written.map_err(|error| error.to_string())
}

struct Writing<'t> {
    depth_left: usize,
    text: &'t mut String,
}

impl<'de> Visitor<'de> for Writing<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut members: BTreeMap<String, &RawValue> = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom(twice(&name)));
            }
            members.insert(name, value);
        }
        self.text.push('{');
        for (number, (name, value)) in members.into_iter().enumerate() {
            if number > 0 {
                self.text.push(',');
            }
            self.text.push_str(&serde_json::to_string(&name).map_err(de::Error::custom)?);
            self.text.push(':');
            write(value.get(), self.depth_left - 1, self.text).map_err(de::Error::custom)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut is_first = true;
        self.text.push('[');
        while let Some(value) = list.next_element::<&RawValue>()? {
            if !std::mem::take(&mut is_first) {
                self.text.push(',');
            }
            write(value.get(), self.depth_left - 1, self.text).map_err(de::Error::custom)?;
        }
        self.text.push(']');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_they_were_written() {
        let numbers = "18446744073709551616 -9223372036854775809 1.0 1 1e308 -0 -0.0 0.1000 1E2 123456789.123456789123";
        for number in numbers.split(' ') {
            let exact: Exact = serde_json::from_str(&format!(" {number} ")).unwrap();
            assert_eq!(exact.as_str(), number);
            let object: Object =
                serde_json::from_str(&format!("{{ \"a\" : [ {number} ,{{\"b\":{number}}}\n] }}")).unwrap();
            let text = format!("{{\"a\":[{number},{{\"b\":{number}}}]}}");
            assert_eq!(serde_json::to_string(&object).unwrap(), text);
            assert_eq!(serde_json::from_str::<Object>(&text).unwrap(), object);
        }
    }

    #[test]
    fn strings_are_read_members_ordered_and_lines_do_not_get_in() {
        let exact = Exact::parse(b"{\"b\":1,\n\"a\":{\"d\":2,\"c\":3}}", 2).unwrap();
        assert_eq!(exact.as_str(), r#"{"a":{"c":3,"d":2},"b":1}"#);
        let exact: Exact = serde_json::from_str("[\"\\u00e9\\/\\n\",\n\ttrue, null]").unwrap();
        assert_eq!(exact.as_str(), "[\"é/\\n\",true,null]");
    }

    #[test]
    fn what_two_readers_could_take_for_two_things_is_refused() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            r#"{"a":["\ud800"]}"#,
            r#"{"\ud800":1}"#,
            r#"{"a":1e400}"#,
            r#"{"a":[-1e400]}"#,
            "[1]",
            "1",
            "null",
        ] {
            assert!(serde_json::from_str::<Object>(json).is_err(), "{json}");
        }
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(serde_json::from_str::<Object>(&nested(DEPTH_MAX)).is_ok());
        assert!(serde_json::from_str::<Object>(&nested(DEPTH_MAX + 1)).is_err());
    }
}
