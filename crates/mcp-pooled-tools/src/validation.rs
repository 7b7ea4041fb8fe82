//! Validation of arguments and results against a tool's schemas.
//!
//! Schemas and results come from a server, so the work has limits: on what a schema stands for ([`budget`]), on the
//! number and length of errors, and on regular expressions, which run in linear time. Past a limit nothing is checked,
//! with one warning. All of it takes its time: call it where blocking is allowed.

#[cfg(feature = "validation")]
mod budget;

#[cfg(feature = "validation")]
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use rmcp::model::{CallToolResult, JsonObject, Tool};
use serde_json::Value;

/// What is wrong with a value: the first hundred in words, and how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) named: Vec<String>,
    pub(crate) total: usize,
}

/// A tool's schemas, compiled.
#[derive(Debug)]
pub(crate) struct Schemas {
    input: Schema,
    output: Schema,
}

impl Schemas {
    /// Compiles the schemas of a tool.
    pub(crate) fn of(tool: &Tool, server: &str) -> Self {
        let compile = |which, schema| Schema::compile(server, &tool.name, which, schema);
        Self {
            input: compile("inputSchema", Some(&tool.input_schema)),
            output: compile("outputSchema", tool.output_schema.as_deref()),
        }
    }

    /// What is wrong with the arguments, each with its path.
    pub(crate) fn wrong_arguments(&self, arguments: Option<&JsonObject>) -> Wrong {
        self.input
            .wrong(&Value::Object(arguments.cloned().unwrap_or_default()))
    }

    /// What is wrong with the structured content of a result. One that reports an error has none to check.
    pub(crate) fn wrong_result(&self, result: &CallToolResult) -> Wrong {
        match (&result.structured_content, result.is_error) {
            (_, Some(true)) => Wrong::default(),
            (Some(content), _) => self.output.wrong(content),
            (None, _) if self.output.exists() => Wrong {
                named: vec!["structuredContent: is missing".into()],
                total: 1,
            },
            (None, _) => Wrong::default(),
        }
    }
}

#[cfg(not(feature = "validation"))]
#[derive(Debug)]
struct Schema;

#[cfg(not(feature = "validation"))]
impl Schema {
    fn compile(_: &str, _: &str, _: &str, _: Option<&JsonObject>) -> Self {
        Self
    }

    fn wrong(&self, _: &Value) -> Wrong {
        Wrong::default()
    }

    fn exists(&self) -> bool {
        false
    }
}

/// A compiled schema. One that does not compile, or costs too much, checks nothing.
#[cfg(feature = "validation")]
#[derive(Debug)]
struct Schema(Option<Compiled>);

#[cfg(feature = "validation")]
#[derive(Debug)]
struct Compiled {
    validator: jsonschema::Validator,
    cost: budget::Cost,
    /// Server and schema, for the log.
    names: (String, String),
    warned: AtomicBool,
}

#[cfg(feature = "validation")]
impl Schema {
    fn compile(server: &str, tool: &str, which: &str, schema: Option<&JsonObject>) -> Self {
        let Some(schema) = schema else {
            return Self(None);
        };
        let schema = Value::Object(schema.clone());
        let name = format!("{which} of tool `{}`", tool.escape_debug());
        let compiled = budget::cost(&schema)
            .map_err(|over| over.to_string())
            .and_then(|cost| Ok((cost, validator(&schema)?)));
        match compiled {
            Ok((cost, validator)) => {
                tracing::debug!(tool, which, server, "schema compiled");
                Self(Some(Compiled {
                    validator,
                    cost,
                    names: (server.to_owned(), name),
                    warned: AtomicBool::new(false),
                }))
            }
            Err(why) => {
                tracing::warn!(server, "validation is off for the {name}: {why}");
                Self(None)
            }
        }
    }

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn wrong(&self, instance: &Value) -> Wrong {
        let Some(Compiled {
            validator,
            cost,
            names: (server, name),
            warned,
        }) = &self.0
        else {
            return Wrong::default();
        };
        if !cost.allows(instance) {
            if !warned.swap(true, Ordering::Relaxed) {
                let why = "holding so large a value against it would take too long";
                tracing::warn!(
                    server,
                    "a value was not validated against the {name}: {why}"
                );
            }
            return Wrong::default();
        }
        if validator.is_valid(instance) {
            return Wrong::default();
        }
        let mut errors = validator.iter_errors(instance);
        let described = errors.by_ref().take(MAX_ERRORS);
        let named: Vec<_> = described.map(|error| describe(&error)).collect();
        Wrong {
            total: named.len() + errors.count(),
            named,
        }
    }
}

/// Errors that are put into words, and characters of each.
#[cfg(feature = "validation")]
const MAX_ERRORS: usize = 100;
#[cfg(feature = "validation")]
const MAX_ERROR_LENGTH: usize = 300;

#[cfg(feature = "validation")]
fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    /// Bytes of one compiled regular expression.
    const MAX_REGEX: usize = 1 << 20;
    let regex = jsonschema::PatternOptions::regex()
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX);
    let built = jsonschema::options()
        .with_pattern_options(regex)
        // A value that is a regular expression is not checked: the time it takes grows with the square of its length.
        .with_format("regex", |_: &str| true)
        .build(schema);
    built.map_err(|error| format!("it is not valid: {}", shortened(&error.masked())))
}

/// As much of a text as is shown. What is beyond is not even written.
#[cfg(feature = "validation")]
fn shortened(text: &dyn fmt::Display) -> String {
    struct Shortened(String);
    impl fmt::Write for Shortened {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = MAX_ERROR_LENGTH - self.0.len().min(MAX_ERROR_LENGTH);
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
            self.0.push_str(&text[..end.unwrap_or(0)]);
            self.0.push('…');
            Err(fmt::Error)
        }
    }
    let mut shortened = Shortened(String::new());
    // An error says only that it was long enough.
    let _ = fmt::Write::write_fmt(&mut shortened, format_args!("{text}"));
    shortened.0
}

/// `items.0.price: expected number, got string`. Values are left out: they may be secrets.
#[cfg(feature = "validation")]
fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    use jsonschema::error::ValidationErrorKind as Kind;
    let mut path = dotted(error.instance_path().as_str());
    let what = match error.kind() {
        Kind::Type { kind } => format!(
            "expected {}, got {}",
            types(kind),
            type_of(error.instance())
        ),
        Kind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            path = if path.is_empty() {
                property.to_owned()
            } else {
                format!("{path}.{property}")
            };
            "is required".into()
        }
        Kind::AdditionalProperties { unexpected } => {
            let named = unexpected.iter().take(MAX_ERRORS).map(String::as_str);
            format!("unexpected: {}", named.collect::<Vec<_>>().join(", "))
        }
        Kind::Enum { options } => format!("expected one of {}", shortened(options)),
        Kind::Constant { expected_value } => format!("expected {}", shortened(expected_value)),
        _ => shortened(&error.masked()),
    };
    if path.is_empty() {
        shortened(&what)
    } else {
        shortened(&format_args!("{path}: {what}"))
    }
}

#[cfg(feature = "validation")]
fn dotted(pointer: &str) -> String {
    pointer
        .trim_start_matches('/')
        .replace('/', ".")
        .replace("~1", "/")
        .replace("~0", "~")
}

#[cfg(feature = "validation")]
fn types(kind: &jsonschema::error::TypeKind) -> String {
    use jsonschema::error::TypeKind;
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => several
            .iter()
            .map(|one| one.to_string())
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

#[cfg(feature = "validation")]
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(all(test, feature = "validation"))]
mod tests {
    use serde_json::json;

    use super::*;

    fn schemas(input: Value) -> Schemas {
        let Value::Object(input) = input else {
            panic!("a schema is an object")
        };
        Schemas::of(&Tool::new("tool", "", input), "server")
    }

    fn wrong(schema: &Schemas, arguments: Value) -> Vec<String> {
        schema.wrong_arguments(arguments.as_object()).named
    }

    #[test]
    fn every_wrong_path_is_named_with_what_was_expected() {
        let schema = schemas(json!({
            "type": "object",
            "required": ["items"],
            "properties": {
                "items": { "type": "array", "items": {
                    "type": "object", "properties": { "price": { "type": "number" } },
                }},
                "kind": { "enum": ["a", "b"] },
            },
            "additionalProperties": false,
        }));
        assert_eq!(wrong(&schema, json!({})), ["items: is required"]);
        let all = wrong(
            &schema,
            json!({ "items": [{ "price": "secret" }], "kind": "c", "other": 1 }),
        );
        assert!(
            all.contains(&"items.0.price: expected number, got string".to_owned()),
            "{all:?}"
        );
        assert!(
            all.iter()
                .any(|one| one.starts_with("kind: expected one of")),
            "{all:?}"
        );
        assert!(all.contains(&"unexpected: other".to_owned()), "{all:?}");
        assert!(!all.join("").contains("secret"));
        assert!(wrong(&schema, json!({ "items": [{ "price": 1.5 }] })).is_empty());
    }

    #[test]
    fn a_schema_that_does_not_compile_checks_nothing() {
        let schema = schemas(json!({ "type": 12 }));
        assert!(wrong(&schema, json!({ "anything": true })).is_empty());
    }

    #[test]
    fn a_schema_that_doubles_for_thirty_levels_checks_nothing_and_takes_no_time() {
        let mut defs = serde_json::Map::new();
        for level in 0..30 {
            let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
            defs.insert(format!("l{level}"), json!({ "anyOf": [next, next] }));
        }
        defs.insert("l30".into(), json!({ "required": ["x"] }));
        let schema = schemas(json!({ "$ref": "#/$defs/l0", "$defs": defs }));
        assert!(wrong(&schema, json!({})).is_empty());
    }

    #[test]
    fn errors_are_bounded_in_number_and_length() {
        let options: Vec<_> = (0..5_000).map(|n| format!("option-{n}")).collect();
        let schema = schemas(json!({ "properties": { "a": { "items": { "enum": options } } } }));
        let all = json!({ "a": vec!["none"; 10_000] });
        let Wrong { named, total } = schema.wrong_arguments(all.as_object());
        assert_eq!((named.len(), total), (MAX_ERRORS, 10_000));
        assert!(named.iter().all(|one| one.len() < MAX_ERROR_LENGTH + 10));
    }

    #[test]
    fn a_value_is_not_parsed_as_a_regular_expression() {
        for draft in [
            "http://json-schema.org/draft-04/schema#",
            "http://json-schema.org/draft-07/schema#",
            "https://json-schema.org/draft/2020-12/schema",
        ] {
            let schema = schemas(json!({ "$schema": draft, "properties": {
                "a": { "format": "regex" }, "b": { "type": "integer" },
            } }));
            let all = wrong(&schema, json!({ "a": "(", "b": "c" }));
            assert_eq!(all, ["b: expected integer, got string"], "{draft}");
        }
    }

    #[test]
    fn a_regular_expression_does_not_backtrack() {
        let pattern =
            |pattern: &str| schemas(json!({ "properties": { "a": { "pattern": pattern } } }));
        let value = json!({ "a": format!("{}!", "a".repeat(5_000)) });
        assert_eq!(wrong(&pattern("^(a+)+$"), value.clone()).len(), 1);
        // One that cannot run in linear time checks nothing.
        assert!(wrong(&pattern("^(?!b)(a+)+$"), value).is_empty());
    }
}
