//! Cost of a schema, computed before it is compiled.
//!
//! A schema comes from a server and may be hostile. References make 2 kB of it stand for a billion subschemas, and each
//! of them is visited for a value. So references are followed here, up to a limit; a schema beyond it is not used.

use std::{collections::HashMap, fmt};

use serde_json::{Map, Value};

/// Values in a schema with its references followed.
const MAX_NODES: usize = 20_000;
/// Regular expressions in a schema with its references followed. Each may take a megabyte once it is compiled.
const MAX_PATTERNS: usize = 64;
/// Bytes of all regular expressions in a schema, referred to or not. The time to read one grows with the square of its
/// length.
const MAX_PATTERN_TEXT: usize = 64 * 1024;
/// Nesting of a schema with its references followed, and of a value.
const MAX_DEPTH: usize = 128;
/// Visits of a value's parts by a schema's parts, at most. Takes a second or two.
const MAX_VISITS: usize = 100_000_000;

/// The cost of a schema that is within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    nodes: usize,
    /// References back to a schema that is being expanded: they are followed as deep as the value goes.
    recursions: usize,
}

/// Why a schema is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OverBudget {
    Nodes,
    Patterns,
    PatternText,
    Depth,
    Endless,
    Reference(String),
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => write!(f, "it stands for more than {MAX_NODES} values"),
            Self::Patterns => write!(
                f,
                "it stands for more than {MAX_PATTERNS} regular expressions"
            ),
            Self::PatternText => write!(
                f,
                "its regular expressions have more than {MAX_PATTERN_TEXT} bytes"
            ),
            Self::Depth => write!(f, "it is nested more than {MAX_DEPTH} levels deep"),
            Self::Endless => f.write_str("it refers to itself without an end"),
            Self::Reference(to) => write!(f, "it refers to `{}`", to.escape_debug()),
        }
    }
}

/// The cost of a schema.
///
/// # Errors
/// A limit that it passes, or a reference that leads out of it.
pub(crate) fn cost(schema: &Value) -> Result<Cost, OverBudget> {
    if pattern_text(schema) > MAX_PATTERN_TEXT {
        return Err(OverBudget::PatternText);
    }
    let mut expansion = Expansion {
        root: schema,
        anchors: anchors(schema)?,
        open: Vec::new(),
        patterns: 0,
        cost: Cost {
            nodes: 0,
            recursions: 0,
        },
    };
    expansion.open.push((schema, 0));
    expansion.expand(schema, Kind::Schema, 0, 0)?;
    Ok(expansion.cost)
}

impl Cost {
    /// Whether holding this value against the schema stays within the limits.
    pub(crate) fn allows(self, value: &Value) -> bool {
        let mut size = Size::default();
        if !size.measure(value, 0) {
            return false;
        }
        let levels = u32::try_from(size.depth).unwrap_or(u32::MAX);
        let repeated = self.recursions.max(1).saturating_pow(levels);
        let visits = self.nodes.saturating_mul(size.nodes);
        visits.saturating_mul(repeated) <= MAX_VISITS
    }
}

struct Expansion<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    /// The schemas that are being expanded, each with the levels of the value that lead to it.
    open: Vec<(&'a Value, usize)>,
    patterns: usize,
    cost: Cost,
}

/// What an object in a schema is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Schema,
    /// Schemas by name. A name may look like a keyword and is none.
    Named,
}

impl<'a> Expansion<'a> {
    /// Counts a part of the schema. `depth` counts levels of the schema, `levels` those of the value.
    fn expand(
        &mut self,
        part: &'a Value,
        kind: Kind,
        depth: usize,
        levels: usize,
    ) -> Result<(), OverBudget> {
        self.cost.nodes += 1;
        if self.cost.nodes > MAX_NODES {
            return Err(OverBudget::Nodes);
        }
        if depth > MAX_DEPTH {
            return Err(OverBudget::Depth);
        }
        match part {
            Value::Array(parts) => {
                for part in parts {
                    self.expand(part, Kind::Schema, depth + 1, levels)?;
                }
            }
            Value::Object(parts) if kind == Kind::Named => {
                for part in parts.values() {
                    self.expand(part, Kind::Schema, depth + 1, levels)?;
                }
            }
            Value::Object(parts) => self.expand_keywords(parts, depth, levels)?,
            _ => {}
        }
        Ok(())
    }

    fn expand_keywords(
        &mut self,
        keywords: &'a Map<String, Value>,
        depth: usize,
        levels: usize,
    ) -> Result<(), OverBudget> {
        for (keyword, part) in keywords {
            self.patterns += match (keyword.as_str(), part) {
                ("pattern", Value::String(_)) => 1,
                ("patternProperties", Value::Object(patterns)) => patterns.len(),
                _ => 0,
            };
            if self.patterns > MAX_PATTERNS {
                return Err(OverBudget::Patterns);
            }
            match (keyword.as_str(), part) {
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                    self.follow(to, depth, levels)?;
                }
                // Definitions cost something where they are referred to.
                ("$defs" | "definitions", Value::Object(_)) => {}
                (keyword, part) => {
                    let levels = levels + usize::from(descends(keyword));
                    self.expand(part, kind_under(keyword), depth + 1, levels)?;
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, to: &str, depth: usize, levels: usize) -> Result<(), OverBudget> {
        let target = self.resolve(to);
        let target = target.ok_or_else(|| OverBudget::Reference(to.chars().take(100).collect()))?;
        let same = |(open, _): &&(&Value, usize)| std::ptr::eq(*open, target);
        if let Some((_, then)) = self.open.iter().find(same) {
            if *then == levels {
                return Err(OverBudget::Endless);
            }
            self.cost.nodes += 1;
            self.cost.recursions += 1;
            return Ok(());
        }
        self.open.push((target, levels));
        self.expand(target, Kind::Schema, depth + 1, levels)?;
        self.open.pop();
        Ok(())
    }

    /// What a reference within the schema refers to.
    fn resolve(&self, to: &str) -> Option<&'a Value> {
        let id = self.root.get("$id").and_then(Value::as_str).unwrap_or("");
        let id = id.strip_suffix('#').unwrap_or(id);
        // An escaped pointer would have to be read in exactly the way in which the validator reads it.
        if id.contains('#') || to.contains('%') {
            return None;
        }
        let fragment = to.strip_prefix(id).unwrap_or(to);
        let fragment = match fragment {
            "" => return Some(self.root),
            fragment => fragment.strip_prefix('#')?,
        };
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        self.anchors.get(fragment).copied()
    }
}

/// The parts of a schema that have a name of their own, wherever they are.
///
/// # Errors
/// What would change the meaning of references: two parts of one name, or a part that is a schema with an address of its
/// own.
fn anchors(schema: &Value) -> Result<HashMap<&str, &Value>, OverBudget> {
    let refused = |name: &str| OverBudget::Reference(name.chars().take(100).collect());
    // Up to this draft the address of a schema was called `id`.
    let is_old = (schema.get("$schema").and_then(Value::as_str))
        .is_some_and(|context| context.contains("context-04"));
    let mut anchors = HashMap::new();
    let mut parts = vec![schema];
    while let Some(part) = parts.pop() {
        match part {
            Value::Array(inner) => parts.extend(inner),
            Value::Object(inner) => {
                let text = |key: &str| inner.get(key).and_then(Value::as_str);
                let is_root = std::ptr::eq(part, schema);
                if !is_root && (text("$id").is_some() || is_old && text("id").is_some()) {
                    return Err(refused("$id"));
                }
                let names = [text("$anchor"), text("$dynamicAnchor")];
                for name in names.into_iter().flatten() {
                    if anchors.insert(name, part).is_some() {
                        return Err(refused(name));
                    }
                }
                parts.extend(inner.values());
            }
            _ => {}
        }
    }
    Ok(anchors)
}

/// Bytes of all regular expressions in a schema. The schema of schemas has each of them read, also where nothing refers to
/// it.
fn pattern_text(schema: &Value) -> usize {
    let mut bytes = 0;
    let mut parts = vec![schema];
    while let Some(part) = parts.pop() {
        match part {
            Value::Array(inner) => parts.extend(inner),
            Value::Object(inner) => {
                if let Some(Value::String(pattern)) = inner.get("pattern") {
                    bytes += pattern.len();
                }
                if let Some(Value::Object(patterns)) = inner.get("patternProperties") {
                    bytes += patterns.keys().map(String::len).sum::<usize>();
                }
                parts.extend(inner.values());
            }
            _ => {}
        }
    }
    bytes
}

/// What the object under this keyword is.
fn kind_under(keyword: &str) -> Kind {
    match keyword {
        "properties" | "patternProperties" | "dependentSchemas" | "dependencies" => Kind::Named,
        _ => Kind::Schema,
    }
}

/// Whether what is under this keyword is held against parts of the value, and not against the value itself.
fn descends(keyword: &str) -> bool {
    matches!(
        keyword,
        "properties"
            | "patternProperties"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "items"
            | "prefixItems"
            | "additionalItems"
            | "unevaluatedItems"
            | "contains"
    )
}

#[derive(Default)]
struct Size {
    nodes: usize,
    depth: usize,
}

impl Size {
    /// Counts a value. `false` if it is nested too deep.
    fn measure(&mut self, value: &Value, depth: usize) -> bool {
        self.nodes += 1;
        self.depth = self.depth.max(depth);
        let parts: Box<dyn Iterator<Item = &Value>> = match value {
            _ if depth > MAX_DEPTH => return false,
            Value::Array(parts) => Box::new(parts.iter()),
            Value::Object(parts) => Box::new(parts.values()),
            _ => return true,
        };
        let mut parts = parts;
        parts.all(|part| self.measure(part, depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each level refers to the next one twice, by this keyword.
    fn doubling(levels: usize, keyword: &str) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
            defs.insert(format!("l{level}"), json!({ keyword: [next, next] }));
        }
        defs.insert(format!("l{levels}"), json!({ "type": "object" }));
        json!({ "$ref": "#/$defs/l0", "$defs": defs })
    }

    #[test]
    fn references_that_double_are_counted_as_often_as_they_are_followed() {
        assert!(cost(&doubling(8, "allOf")).is_ok());
        for keyword in ["allOf", "anyOf", "prefixItems"] {
            assert_eq!(cost(&doubling(30, keyword)), Err(OverBudget::Nodes));
        }
    }

    #[test]
    fn a_recursive_schema_is_used_for_values_of_a_depth_it_can_serve() {
        let list = json!({ "$defs": { "n": { "properties": { "next": { "$ref": "#/$defs/n" } } } },
            "$ref": "#/$defs/n" });
        let list = cost(&list).unwrap();
        let tree = json!({ "anyOf": [
            { "properties": { "a": { "$ref": "#" } } }, { "properties": { "a": { "$ref": "#" } } },
        ] });
        let tree = cost(&tree).unwrap();
        assert_eq!((list.recursions, tree.recursions), (1, 2));
        let mut value = json!({});
        for _ in 0..100 {
            value = json!({ "a": value });
        }
        assert!(list.allows(&value));
        assert!(!tree.allows(&value));
        assert!(tree.allows(&json!({ "a": { "a": {} } })));
    }

    #[test]
    fn a_schema_that_refers_to_itself_for_the_same_value_is_not_used() {
        let pair = json!({ "$ref": "#/$defs/a", "$defs": {
            "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "allOf": [{ "$ref": "#/$defs/a" }] },
        } });
        for schema in [json!({ "$ref": "#" }), pair] {
            assert_eq!(cost(&schema), Err(OverBudget::Endless));
        }
    }

    #[test]
    fn references_within_a_schema_are_found_in_every_form() {
        for to in ["#/$defs/a", "#named", "https://here/s#/$defs/a", "#"] {
            let schema = json!({ "$id": "https://here/s", "properties": { "x": { "$ref": to } },
                "$defs": { "a": { "$anchor": "named" } } });
            assert!(cost(&schema).is_ok(), "{to}");
        }
        let elsewhere = json!({ "$ref": "https://elsewhere/s" });
        assert!(matches!(cost(&elsewhere), Err(OverBudget::Reference(_))));
    }

    #[test]
    fn a_property_that_is_named_like_a_keyword_is_a_property() {
        let doubling = doubling(30, "anyOf");
        for name in ["definitions", "$defs", "$ref"] {
            for keyword in ["properties", "patternProperties", "dependentSchemas"] {
                let schema = json!({ keyword: { name: { "$ref": "#/$defs/l0" } }, "$defs": doubling["$defs"] });
                assert_eq!(cost(&schema), Err(OverBudget::Nodes), "{keyword}: {name}");
            }
        }
        // It is held against the same value, whatever it is named.
        let same = json!({ "dependentSchemas": { "items": { "$ref": "#" } } });
        assert_eq!(cost(&same), Err(OverBudget::Endless));
        let named = json!({ "properties": { "$id": { "type": "string" }, "pattern": { "type": "string" } } });
        assert!(cost(&named).is_ok());
    }

    #[test]
    fn a_reference_that_the_validator_may_read_otherwise_is_not_followed() {
        let cheap_and_dear = [
            // Percent-encoded, it is another key.
            json!({ "$ref": "#/$defs/%61", "$defs": { "%61": {}, "a": { "not": {} } } }),
            // The base may be the embedded schema.
            json!({ "$ref": "#/$defs/a", "$defs": { "a": {}, "b": { "$id": "https://here/b" } } }),
            json!({ "$schema": "http://json-schema.org/context-04/schema#", "$ref": "#/definitions/a",
                "definitions": { "a": {}, "b": { "id": "https://here/b" } } }),
            // Two of one name.
            json!({ "$ref": "#n", "$defs": { "a": { "$anchor": "n" }, "b": { "not": { "$anchor": "n" } } } }),
            json!({ "$id": "#/$defs/a", "$ref": "#/$defs/a", "$defs": { "a": {} } }),
        ];
        for schema in cheap_and_dear {
            let cost = cost(&schema);
            assert!(
                matches!(cost, Err(OverBudget::Reference(_))),
                "{schema}: {cost:?}"
            );
        }
    }

    #[test]
    fn regular_expressions_are_bounded_in_number() {
        let with = |count: usize| {
            let properties = (0..count).map(|n| (format!("p{n}"), json!({ "pattern": "\\w{20}" })));
            json!({ "properties": properties.collect::<Map<_, _>>() })
        };
        assert!(cost(&with(MAX_PATTERNS)).is_ok());
        assert_eq!(cost(&with(MAX_PATTERNS + 1)), Err(OverBudget::Patterns));
    }

    #[test]
    fn regular_expressions_are_bounded_in_length_wherever_they_are() {
        for (length, expected) in [
            (MAX_PATTERN_TEXT, None),
            (MAX_PATTERN_TEXT + 1, Some(OverBudget::PatternText)),
        ] {
            let pattern = "b".repeat(length);
            for schema in [
                json!({ "properties": { "a": { "pattern": pattern } } }),
                json!({ "$defs": { "a": { "pattern": pattern } } }),
                json!({ "patternProperties": { (pattern): {} } }),
            ] {
                assert_eq!(cost(&schema).err(), expected);
            }
        }
    }

    #[test]
    fn a_large_value_is_not_held_against_a_large_schema() {
        let schema = json!({ "items": { "enum": (0..15_000).collect::<Vec<_>>() } });
        let cost = cost(&schema).unwrap();
        assert!(cost.allows(&json!([1, 2, 3])));
        assert!(!cost.allows(&json!(vec![1; 100_000])));
    }
}
