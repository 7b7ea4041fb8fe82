//! What a schema costs, computed before it is compiled.
//!
//! A schema comes from a server and may be hostile. References make 2 kB of it stand for a billion subschemas, and each
//! of them is visited for a value. So references are followed here, up to a limit; a schema beyond it is not used.

use std::fmt;

use serde_json::Value;

/// Values in a schema with its references followed.
const MAX_NODES: usize = 20_000;
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
    Depth,
    Endless,
    Reference(String),
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => write!(f, "it stands for more than {MAX_NODES} values"),
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
    let mut expansion = Expansion {
        root: schema,
        open: Vec::new(),
        cost: Cost {
            nodes: 0,
            recursions: 0,
        },
    };
    expansion.open.push((schema, 0));
    expansion.expand(schema, 0, 0)?;
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
    /// The schemas that are being expanded, each with the levels of the value that lead to it.
    open: Vec<(&'a Value, usize)>,
    cost: Cost,
}

impl<'a> Expansion<'a> {
    /// Counts a part of the schema. `depth` counts levels of the schema, `levels` those of the value.
    fn expand(&mut self, part: &'a Value, depth: usize, levels: usize) -> Result<(), OverBudget> {
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
                    self.expand(part, depth + 1, levels)?;
                }
            }
            Value::Object(parts) => {
                if depth > 0 && parts.get("$id").is_some_and(Value::is_string) {
                    return Err(OverBudget::Reference("$id".into()));
                }
                for (key, part) in parts {
                    match (key.as_str(), part) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(to)) => {
                            self.follow(to, depth, levels)?;
                        }
                        // Definitions cost something where they are referred to.
                        ("$defs" | "definitions", Value::Object(_)) => {}
                        (key, part) => {
                            let levels = levels + usize::from(descends(key));
                            self.expand(part, depth + 1, levels)?;
                        }
                    }
                }
            }
            _ => {}
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
        self.expand(target, depth + 1, levels)?;
        self.open.pop();
        Ok(())
    }

    /// What a reference within the schema refers to.
    fn resolve(&self, to: &str) -> Option<&'a Value> {
        let id = self.root.get("$id").and_then(Value::as_str).unwrap_or("");
        let id = id.strip_suffix('#').unwrap_or(id);
        let fragment = to.strip_prefix(id).unwrap_or(to);
        let fragment = match fragment {
            "" => return Some(self.root),
            fragment => fragment.strip_prefix('#')?,
        };
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        let definitions = ["$defs", "definitions"].iter();
        definitions
            .filter_map(|name| self.root.get(name)?.as_object())
            .flat_map(serde_json::Map::values)
            .find(|part| {
                let named = |key| part.get(key).and_then(Value::as_str) == Some(fragment);
                named("$anchor") || named("$dynamicAnchor")
            })
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
        let mut defs = serde_json::Map::new();
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
    fn a_large_value_is_not_held_against_a_large_schema() {
        let schema = json!({ "items": { "enum": (0..15_000).collect::<Vec<_>>() } });
        let cost = cost(&schema).unwrap();
        assert!(cost.allows(&json!([1, 2, 3])));
        assert!(!cost.allows(&json!(vec![1; 100_000])));
    }
}
