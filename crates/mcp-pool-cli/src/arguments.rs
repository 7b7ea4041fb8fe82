//! Arguments of a tool as they are typed: `key=value` by the tool's schema, `key:=json`, and a whole JSON object.

use std::io::Read as _;

use serde_json::{Map, Value};

use crate::{failure::Failure, nearest, signature};

/// The JSON object of `--args`, or the one on standard input for `-`.
pub(crate) fn whole(given: Option<&str>) -> Result<Map<String, Value>, Failure> {
    match given {
        None => Ok(Map::new()),
        Some("-") => object(&standard_input()?, "standard input"),
        Some(text) => object(text, "--args"),
    }
}

/// The arguments of a call: those of `whole`, and `pairs` over them.
///
/// # Errors
/// What does not fit its type, is not among the tool's arguments, or is missing.
pub(crate) fn read(
    whole: Map<String, Value>,
    pairs: &[String],
    schema: &Value,
) -> Result<Map<String, Value>, Failure> {
    let mut arguments = whole;
    let mut given = Map::new();
    for pair in pairs {
        let (key, value) = one(pair, schema)?;
        // `tag=a tag=b` is a list of both.
        match (given.get_mut(&key), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
            (Some(_), _) => {
                return Err(Failure::usage(format!("argument `{key}` is given twice")));
            }
            (None, value) => drop(given.insert(key, value)),
        }
    }
    arguments.extend(given);
    check(&arguments, schema)?;
    Ok(arguments)
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn object(text: &str, place: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Failure::usage(format!(
            "{place}: expected a JSON object, got {}",
            kind_of(&other)
        ))),
        Err(error) => Err(Failure::usage(format!("{place}: no JSON: {error}"))),
    }
}

/// `key=value` or `key:=json`.
fn one(pair: &str, schema: &Value) -> Result<(String, Value), Failure> {
    let (key, text) = pair.split_once('=').ok_or_else(|| {
        Failure::usage(format!("`{pair}`: expected key=value"))
            .fix("give a text as key=value, and JSON as key:=value or by --args '{...}'")
    })?;
    if let Some(key) = key.strip_suffix(':') {
        let value = serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!("argument `{key}`: no JSON: {error}"))
                .fix(format!("{key}={text} gives a text"))
        })?;
        return Ok((key.to_owned(), value));
    }
    let properties = signature::properties(schema, schema);
    let property = properties.into_iter().find(|(name, _)| *name == key);
    let value = match property {
        Some((_, property)) => typed(text, property, schema).ok_or_else(|| {
            let expected = signature::of_schema(property, schema);
            Failure::usage(format!(
                "argument `{key}`: expected {expected}, got `{text}`"
            ))
        })?,
        None => text.into(),
    };
    Ok((key.to_owned(), value))
}

/// The value of this type that a text stands for. Where a string is allowed it is that string.
pub(crate) fn typed(text: &str, schema: &Value, root: &Value) -> Option<Value> {
    let mut kinds = Vec::new();
    collect_kinds(schema, root, &mut kinds, 0);
    if kinds.is_empty() || kinds.contains(&"string") {
        let literals = literals(schema, root);
        let is_literal = |value: &Value| literals.contains(&value);
        // Of `1 | "a"` the number is meant by `1`.
        let json = serde_json::from_str(text).ok().filter(is_literal);
        return Some(json.unwrap_or_else(|| text.into()));
    }
    let json: Option<Value> = serde_json::from_str(text).ok();
    if let Some(json) = json
        && kinds.contains(&json_kind(&json))
    {
        return Some(json);
    }
    if kinds.contains(&"number")
        && let Ok(number) = text.parse::<f64>()
    {
        return serde_json::Number::from_f64(number).map(Value::Number);
    }
    if kinds.contains(&"array") {
        let items = &signature::resolved(schema, root)["items"];
        return typed(text, items, root).map(|item| Value::Array(vec![item]));
    }
    None
}

/// The types that a schema allows; none if it allows all.
fn collect_kinds<'a>(schema: &'a Value, root: &'a Value, kinds: &mut Vec<&'a str>, depth: usize) {
    let schema = signature::resolved(schema, root);
    if depth > 8 {
        return;
    }
    match &schema["type"] {
        Value::String(kind) => add(kinds, kind),
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .for_each(|kind| add(kinds, kind)),
        _ => {
            for value in literals(schema, root) {
                add(kinds, json_kind(value));
            }
            for key in ["anyOf", "oneOf", "allOf"] {
                for one in schema[key].as_array().into_iter().flatten() {
                    collect_kinds(one, root, kinds, depth + 1);
                }
            }
        }
    }
}

fn add<'a>(kinds: &mut Vec<&'a str>, kind: &'a str) {
    kinds.push(kind);
    if kind == "number" {
        kinds.push("integer");
    }
}

/// The values of `enum` and `const`.
fn literals<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let schema = signature::resolved(schema, root);
    let all = schema["enum"].as_array().into_iter().flatten();
    all.chain(schema.get("const")).collect()
}

/// The name of a value's type in JSON Schema.
fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kind_of(value: &Value) -> String {
    let kind = json_kind(value);
    let article = if kind.starts_with(['a', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    match kind {
        "null" => kind.to_owned(),
        kind => format!("{article} {kind}"),
    }
}

/// Refuses unknown arguments, and names those that are missing.
fn check(arguments: &Map<String, Value>, schema: &Value) -> Result<(), Failure> {
    let known: Vec<_> = signature::properties(schema, schema)
        .map(|(name, _)| name)
        .collect();
    let object = signature::resolved(schema, schema);
    let takes_more = match &object["additionalProperties"] {
        Value::Null => object.get("properties").is_none() || is_composed(object),
        more => *more != Value::Bool(false),
    };
    let takes_more = takes_more || object.get("patternProperties").is_some();
    for name in arguments.keys() {
        if !takes_more && !known.contains(&name.as_str()) {
            let hint = nearest::hint(name, known.iter().copied());
            let failure = Failure::usage(format!("unknown argument `{name}`{hint}"));
            return Err(match known.is_empty() {
                true => failure.details(["the tool takes no arguments"]),
                false => failure.details([format!("the tool takes: {}", known.join(", "))]),
            });
        }
    }
    let required = object["required"].as_array().into_iter().flatten();
    let required = required.filter_map(Value::as_str);
    let missing: Vec<_> = required
        .filter(|name| !arguments.contains_key(*name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let plural = if missing.len() == 1 { "" } else { "s" };
    let message = format!("missing argument{plural}: {}", missing.join(", "));
    Err(Failure::usage(message))
}

/// Whether an object's schema may name properties elsewhere.
fn is_composed(object: &Value) -> bool {
    ["anyOf", "oneOf", "allOf"]
        .iter()
        .any(|key| object.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "number": {"type": "number"},
                "whole": {"type": "integer"},
                "flag": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "numbers": {"type": "array", "items": {"type": "number"}},
                "object": {"type": "object"},
                "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "either": {"type": ["string", "number"]},
                "choice": {"enum": ["a", 1]},
                "referred": {"$ref": "#/$defs/flag"},
                "any": {},
            },
            "$defs": {"flag": {"type": "boolean"}},
        })
    }

    fn given(pairs: &[&str]) -> Result<Value, String> {
        let pairs: Vec<_> = pairs.iter().map(ToString::to_string).collect();
        let read = read(Map::new(), &pairs, &schema());
        read.map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_has_the_type_that_the_schema_says() {
        for (pair, expected) in [
            ("text=42", json!({"text": "42"})),
            ("text=", json!({"text": ""})),
            ("text=a=b", json!({"text": "a=b"})),
            ("number=4.5", json!({"number": 4.5})),
            ("number=4", json!({"number": 4})),
            ("number=.5", json!({"number": 0.5})),
            ("whole=-7", json!({"whole": -7})),
            ("flag=true", json!({"flag": true})),
            ("tags=a", json!({"tags": ["a"]})),
            (r#"tags=["a","b"]"#, json!({"tags": ["a", "b"]})),
            ("numbers=[1,2]", json!({"numbers": [1, 2]})),
            ("numbers=1", json!({"numbers": [1]})),
            (r#"object={"a":1}"#, json!({"object": {"a": 1}})),
            ("maybe=null", json!({"maybe": null})),
            ("maybe=3", json!({"maybe": 3})),
            ("either=3", json!({"either": "3"})),
            ("either:=3", json!({"either": 3})),
            ("choice=1", json!({"choice": 1})),
            ("choice=a", json!({"choice": "a"})),
            ("referred=false", json!({"referred": false})),
            ("any=1", json!({"any": "1"})),
            ("any:=[1]", json!({"any": [1]})),
        ] {
            assert_eq!(given(&[pair]), Ok(expected), "{pair}");
        }
        assert_eq!(
            given(&["tags=a", "tags=b"]),
            Ok(json!({"tags": ["a", "b"]}))
        );
    }

    #[test]
    fn what_does_not_fit_is_named_before_anything_is_sent() {
        for (pairs, expected) in [
            (
                &["whole=4.5"][..],
                "argument `whole`: expected integer, got `4.5`",
            ),
            (
                &["flag=yes"],
                "argument `flag`: expected boolean, got `yes`",
            ),
            (
                &["numbers=x"],
                "argument `numbers`: expected number[], got `x`",
            ),
            (&["any:=x"], "argument `any`: no JSON"),
            (&["txt=x"], "unknown argument `txt`; did you mean `text`?"),
            (&["text"], "`text`: expected key=value"),
            (&["text=a", "text=b"], "argument `text` is given twice"),
        ] {
            let error = given(pairs).unwrap_err();
            assert!(error.contains(expected), "{pairs:?}: {error}");
        }
    }

    #[test]
    fn pairs_go_over_the_whole_and_the_missing_are_named() {
        let schema = json!({
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        });
        let read = |text, pairs: &[&str]| {
            let pairs: Vec<_> = pairs.iter().map(ToString::to_string).collect();
            let read = whole(Some(text)).and_then(|whole| read(whole, &pairs, &schema));
            read.map(Value::Object).map_err(|error| error.to_string())
        };
        assert_eq!(
            read(r#"{"a": 1, "b": 2}"#, &["b=3"]),
            Ok(json!({"a": 1, "b": 3}))
        );
        assert_eq!(
            read("{}", &[]).unwrap_err(),
            "error: missing arguments: a, b"
        );
        assert_eq!(
            read("{}", &["a=1"]).unwrap_err(),
            "error: missing argument: b"
        );
        assert!(
            read("[]", &[])
                .unwrap_err()
                .contains("expected a JSON object, got an array")
        );
        assert!(read("{", &[]).unwrap_err().contains("--args: no JSON"));
    }

    #[test]
    fn an_object_that_takes_any_name_takes_any_name() {
        let pairs = ["x=1".to_owned()];
        for schema in [
            json!({"type": "object"}),
            json!({"properties": {"a": {}}, "additionalProperties": true}),
            json!({"properties": {"a": {}}, "patternProperties": {"^x": {}}}),
            json!({"properties": {"a": {}}, "oneOf": [{"properties": {"x": {}}}]}),
        ] {
            assert!(read(Map::new(), &pairs, &schema).is_ok(), "{schema}");
        }
        for schema in [
            json!({"properties": {"a": {}}}),
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
        ] {
            assert!(read(Map::new(), &pairs, &schema).is_err(), "{schema}");
        }
    }
}
