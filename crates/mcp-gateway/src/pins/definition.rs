//! Definitions of tools: what of them is pinned, its hash, and how two differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// What of a definition is pinned: all that a model or a user decides by. Other members come and go with versions.
pub(super) fn parts(definition: &str) -> Map<String, Value> {
    let Ok(Value::Object(mut definition)) = serde_json::from_str(definition) else {
        return Map::new();
    };
    definition.retain(|name, _| PINNED.contains(&name.as_str()));
    definition
}

/// The hash of the parts in one order of members, in hexadecimal.
pub(super) fn hash(parts: &Map<String, Value>) -> String {
    let text = serde_json::to_string(&sorted(parts)).unwrap_or_default();
    let hash = Sha256::digest(text);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same in one order of members, whatever features of serde_json the program has.
fn sorted(map: &Map<String, Value>) -> BTreeMap<&String, Sorted<'_>> {
    map.iter()
        .map(|(name, value)| (name, Sorted(value)))
        .collect()
}

struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => serializer.collect_map(sorted(map)),
            Value::Array(list) => serializer.collect_seq(list.iter().map(Sorted)),
            other => other.serialize(serializer),
        }
    }
}

/// What differs, one line each: `description: "…" -> "…"`.
pub(super) fn differences(was: &Map<String, Value>, is: &Map<String, Value>) -> Vec<String> {
    let mut differences = Vec::new();
    let (was, is) = (Value::Object(was.clone()), Value::Object(is.clone()));
    differ("", &was, &is, &mut differences);
    let more = differences.len().saturating_sub(MAX_DIFFERENCES);
    differences.truncate(MAX_DIFFERENCES);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    differences
}

fn differ(at: &str, was: &Value, is: &Value, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let names = was
                .keys()
                .chain(is.keys().filter(|name| !was.contains_key(*name)));
            for name in names {
                let at = match at {
                    "" => name.clone(),
                    at => format!("{at}.{name}"),
                };
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differ(&at, &of(was), &of(is), found);
            }
        }
        (was, is) if was != is => found.push(format!("{at}: {} -> {}", shown(was), shown(is))),
        _ => {}
    }
}

/// On one line, cut, and with nothing in it that a terminal would act on.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) => format!("\"{}\"", text.escape_debug()),
        other => other.to_string().escape_debug().to_string(),
    };
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

const PINNED: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];
const MAX_DIFFERENCES: usize = 20;
/// Characters of a value in a difference.
const MAX_SHOWN: usize = 400;
