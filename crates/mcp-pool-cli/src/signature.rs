//! Signatures of tools from their JSON Schemas: `add(a: number, b?: number) -> {sum: number}`.
//!
//! A signature is for reading: it says what fits on a line, and leaves out nested parts, the later choices of an enum and
//! optional arguments, in this order, where it does not fit.

use serde_json::Value;

/// How much of a schema is shown.
#[derive(Clone, Copy)]
struct Detail {
    /// Levels of nested objects and arrays.
    depth: usize,
    /// Choices of an enum or a union.
    choices: usize,
    optional: bool,
}

/// The signature of a tool, in at most so many characters if that can be done.
pub(crate) fn of_tool(name: &str, definition: &Value, width: usize) -> String {
    let shown = |detail| signature(name, definition, detail);
    let fits = |text: &String| text.chars().count() <= width;
    let whole = [(6, usize::MAX), (4, 12), (2, 6), (1, 4), (0, 3)];
    let whole = whole.map(|(depth, choices)| (depth, choices, true));
    let details = whole.into_iter().chain([(0, 2, false)]);
    let mut shortest = String::new();
    for (depth, choices, optional) in details {
        shortest = shown(Detail {
            depth,
            choices,
            optional,
        });
        if fits(&shortest) {
            return shortest;
        }
    }
    crate::terminal::shortened(&shortest, width)
}

/// The type that a schema describes, whole.
pub(crate) fn of_schema(schema: &Value, root: &Value) -> String {
    let detail = Detail {
        depth: 3,
        choices: 12,
        optional: true,
    };
    type_of(schema, root, detail)
}

fn signature(name: &str, definition: &Value, detail: Detail) -> String {
    let input = &definition["inputSchema"];
    let arguments = members(input, input, detail);
    let output = &definition["outputSchema"];
    let result = match output.is_object() {
        true => format!(" -> {}", type_of(output, output, detail)),
        false => String::new(),
    };
    format!("{name}({arguments}){result}")
}

/// The properties of an object, the required ones first.
fn members(schema: &Value, root: &Value, detail: Detail) -> String {
    let (mut shown, mut optional) = (Vec::new(), Vec::new());
    for (name, property) in properties(schema, root) {
        let kind = type_of(property, root, detail);
        match is_required(schema, root, name) {
            true => shown.push(format!("{name}: {kind}")),
            false => optional.push(format!("{name}?: {kind}")),
        }
    }
    match detail.optional || optional.is_empty() {
        true => shown.append(&mut optional),
        false => shown.push(MORE.to_owned()),
    }
    shown.join(", ")
}

/// The properties of an object's schema: the required ones in the order of `required`, then the others by name.
pub(crate) fn properties<'a>(
    schema: &'a Value,
    root: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let schema = resolved(schema, root);
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let properties = schema["properties"].as_object();
    let mut properties: Vec<_> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.as_str(), property))
        .collect();
    properties.sort_by_key(|(name, _)| {
        let place = required.iter().position(|required| required == name);
        place.unwrap_or(usize::MAX)
    });
    properties.into_iter()
}

/// Whether an object has to have this property.
pub(crate) fn is_required(schema: &Value, root: &Value, name: &str) -> bool {
    let required = resolved(schema, root)["required"].as_array();
    required.is_some_and(|required| required.iter().any(|required| required == name))
}

/// The schema itself, or the one of the same document that it refers to.
pub(crate) fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut schema = schema;
    // A chain of references may be a circle.
    for _ in 0..16 {
        let reference = schema["$ref"].as_str();
        let Some(pointer) = reference.and_then(|reference| reference.strip_prefix('#')) else {
            break;
        };
        let Some(referred) = root.pointer(pointer) else {
            break;
        };
        schema = referred;
    }
    schema
}

fn type_of(schema: &Value, root: &Value, detail: Detail) -> String {
    let schema = resolved(schema, root);
    if let Some(only) = schema.get("const") {
        return only.to_string();
    }
    if let Some(choices) = schema["enum"].as_array() {
        return union(choices.iter().map(Value::to_string), detail);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let inner = deeper(detail);
            return match inner {
                Some(inner) => union(choices.iter().map(|one| type_of(one, root, inner)), detail),
                None => MORE.to_owned(),
            };
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return match (deeper(detail), parts.as_slice()) {
            (_, [one]) => type_of(one, root, detail),
            (Some(inner), _) => {
                let parts: Vec<_> = parts.iter().map(|one| type_of(one, root, inner)).collect();
                parts.join(" & ")
            }
            (None, _) => MORE.to_owned(),
        };
    }
    match &schema["type"] {
        Value::String(kind) => type_named(kind, schema, root, detail),
        Value::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            union(
                kinds.map(|kind| type_named(kind, schema, root, detail)),
                detail,
            )
        }
        _ if schema["properties"].is_object() => type_named("object", schema, root, detail),
        _ if schema["items"].is_object() => type_named("array", schema, root, detail),
        _ => "any".to_owned(),
    }
}

fn type_named(kind: &str, schema: &Value, root: &Value, detail: Detail) -> String {
    let inner = deeper(detail);
    match kind {
        "array" => match (&schema["prefixItems"], &schema["items"], inner) {
            (Value::Array(items), _, Some(inner)) => {
                let items: Vec<_> = items.iter().map(|one| type_of(one, root, inner)).collect();
                format!("[{}]", items.join(", "))
            }
            (_, items @ Value::Object(_), Some(inner)) => {
                let item = type_of(items, root, inner);
                match item.contains([' ', MORE_CHAR]) && !item.starts_with('{') {
                    true => format!("({item})[]"),
                    false => format!("{item}[]"),
                }
            }
            (_, Value::Object(_), None) => format!("{MORE}[]"),
            _ => "any[]".to_owned(),
        },
        "object" => {
            let of_any_name = &schema["additionalProperties"];
            let has_members = properties(schema, root).next().is_some();
            match inner {
                Some(inner) if has_members => format!("{{{}}}", members(schema, root, inner)),
                None if has_members => format!("{{{MORE}}}"),
                Some(inner) if of_any_name.is_object() => {
                    format!("{{[string]: {}}}", type_of(of_any_name, root, inner))
                }
                _ => "object".to_owned(),
            }
        }
        kind => kind.to_owned(),
    }
}

/// Each once, and the later ones left out where there are too many.
fn union(types: impl Iterator<Item = String>, detail: Detail) -> String {
    let mut all: Vec<String> = Vec::new();
    for one in types {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.len() > detail.choices {
        all.truncate(detail.choices);
        all.push(MORE.to_owned());
    }
    all.join(" | ")
}

fn deeper(detail: Detail) -> Option<Detail> {
    let depth = detail.depth.checked_sub(1)?;
    Some(Detail { depth, ..detail })
}

/// Stands for what is left out.
const MORE: &str = "…";
const MORE_CHAR: char = '…';

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(schema: Value) -> String {
        of_schema(&schema, &schema)
    }

    #[test]
    fn types_read_like_those_of_a_program() {
        for (schema, expected) in [
            (json!({}), "any"),
            (json!(true), "any"),
            (json!({"type": "string", "format": "date"}), "string"),
            (json!({"type": ["string", "null"]}), "string | null"),
            (json!({"enum": ["a", "b", 3]}), r#""a" | "b" | 3"#),
            (json!({"const": "x"}), r#""x""#),
            (
                json!({"type": "array", "items": {"type": "number"}}),
                "number[]",
            ),
            (
                json!({"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "null"}]}}),
                "(number | null)[]",
            ),
            (
                json!({"type": "array", "prefixItems": [{"type": "number"}, {}]}),
                "[number, any]",
            ),
            (json!({"type": "array"}), "any[]"),
            (json!({"type": "object"}), "object"),
            (
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
                "{[string]: integer}",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "number"}, "b": {}}, "required": ["b"]}),
                "{b: any, a?: number}",
            ),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"type": "boolean"}]}}}),
                "boolean",
            ),
        ] {
            assert_eq!(typed(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_has_an_end() {
        let list = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert_eq!(typed(list), "{next?: {next?: {next?: {…}}}}");
        let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(typed(circle), "any");
        let union = json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]});
        assert!(typed(union).len() < 100);
    }

    #[test]
    fn a_signature_is_shortened_to_the_width_from_the_inside_out() {
        let tool = json!({
            "inputSchema": {
                "type": "object",
                "properties": {
                    "where": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "number"}}},
                    "color": {"enum": ["red", "green", "blue", "yellow"]},
                    "name": {"type": "string"},
                },
                "required": ["name"],
            },
            "outputSchema": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        });
        let at = |width| of_tool("draw", &tool, width);
        insta::assert_snapshot!([120, 80, 60, 20].map(at).join("\n"), @r#"
        draw(name: string, color?: "red" | "green" | "blue" | "yellow", where?: {x?: number, y?: number}) -> {id: integer}
        draw(name: string, color?: "red" | "green" | "blue" | …, where?: {…}) -> {…}
        draw(name: string, …) -> {…}
        draw(name: string,…
        "#);
    }
}
