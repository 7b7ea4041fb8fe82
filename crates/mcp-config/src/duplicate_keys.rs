//! A tree of values that notices what JSON lets pass: a name that is given twice.
//!
//! Parsers keep the last one and say nothing. In a file of servers that means a server which is there to be read
//! and does not exist, most often a copy that was never renamed; so the places are gathered, to be told.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value, with the paths inside it of names that were given twice.
pub(crate) struct Tree {
    pub(crate) value: Value,
    pub(crate) twice: Vec<Vec<String>>,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        leaf(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        leaf(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        leaf(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        leaf(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        leaf(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        leaf(value)
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        leaf(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree { value, .. }) = sequence.next_element()? {
            list.push(value);
        }
        leaf(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let (mut table, mut twice) = (Map::new(), Vec::new());
        while let Some((name, tree)) = map.next_entry::<String, Tree>()? {
            if table.contains_key(&name) {
                twice.push(vec![name.clone()]);
            }
            twice.extend(tree.twice.into_iter().map(|mut path| {
                path.push(name.clone());
                path
            }));
            twice.truncate(MOST_TOLD);
            table.insert(name, tree.value);
        }
        Ok(Tree {
            value: table.into(),
            twice,
        })
    }
}

fn leaf<E>(value: impl Into<Value>) -> Result<Tree, E> {
    Ok(Tree {
        value: value.into(),
        twice: Vec::new(),
    })
}

const MOST_TOLD: usize = 20;
