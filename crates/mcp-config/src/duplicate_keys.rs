//! A JSON value that records keys given twice.
//!
//! Parsers keep the last one silently. In a file of servers the first is then lost, most often a copy that was never renamed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value with the paths of its duplicate keys, each from the inside out.
pub(crate) struct Checked {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<Vec<String>>,
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor)
    }
}

struct CheckedVisitor;

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        leaf(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Checked, E> {
        leaf(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Checked, E> {
        leaf(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Checked, E> {
        leaf(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Checked, E> {
        leaf(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Checked, E> {
        leaf(value)
    }

    fn visit_string<E>(self, value: String) -> Result<Checked, E> {
        leaf(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Checked, A::Error> {
        let mut list = Vec::new();
        while let Some(Checked { value, .. }) = sequence.next_element()? {
            list.push(value);
        }
        leaf(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
        let (mut table, mut duplicates) = (Map::new(), Vec::new());
        while let Some((name, checked)) = map.next_entry::<String, Checked>()? {
            if table.contains_key(&name) {
                duplicates.push(vec![name.clone()]);
            }
            duplicates.extend(checked.duplicates.into_iter().map(|mut path| {
                path.push(name.clone());
                path
            }));
            duplicates.truncate(MOST_LISTED);
            table.insert(name, checked.value);
        }
        Ok(Checked {
            value: table.into(),
            duplicates,
        })
    }
}

fn leaf<E>(value: impl Into<Value>) -> Result<Checked, E> {
    Ok(Checked {
        value: value.into(),
        duplicates: Vec::new(),
    })
}

const MOST_LISTED: usize = 20;
