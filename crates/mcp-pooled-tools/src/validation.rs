//! Arguments and results held against a tool's schemas.

use rmcp::model::{CallToolResult, JsonObject, Tool};
use serde_json::Value;

/// A tool's schemas, compiled.
#[derive(Debug)]
pub(crate) struct Schemas {
    input: Schema,
    output: Schema,
}

impl Schemas {
    pub(crate) fn of(tool: &Tool, server: &str) -> Self {
        let compile = |which, schema| Schema::compile(server, &tool.name, which, schema);
        Self {
            input: compile("inputSchema", Some(&tool.input_schema)),
            output: compile("outputSchema", tool.output_schema.as_deref()),
        }
    }

    /// What is wrong with the arguments, each with its path.
    pub(crate) fn wrong_arguments(&self, arguments: Option<&JsonObject>) -> Vec<String> {
        self.input
            .wrong(&Value::Object(arguments.cloned().unwrap_or_default()))
    }

    /// What is wrong with the structured content of a result. One that reports an error has none to check.
    pub(crate) fn wrong_result(&self, result: &CallToolResult) -> Vec<String> {
        match (&result.structured_content, result.is_error) {
            (_, Some(true)) => Vec::new(),
            (Some(content), _) => self.output.wrong(content),
            (None, _) if self.output.exists() => vec!["structuredContent: is missing".into()],
            (None, _) => Vec::new(),
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

    fn wrong(&self, _: &Value) -> Vec<String> {
        Vec::new()
    }

    fn exists(&self) -> bool {
        false
    }
}

/// A schema that does not compile checks nothing: that its server is careless is no reason not to use it.
#[cfg(feature = "validation")]
#[derive(Debug)]
struct Schema(Option<jsonschema::Validator>);

#[cfg(feature = "validation")]
impl Schema {
    fn compile(server: &str, tool: &str, which: &str, schema: Option<&JsonObject>) -> Self {
        let compiled =
            schema.map(|schema| jsonschema::validator_for(&Value::Object(schema.clone())));
        if compiled.is_some() {
            tracing::debug!(tool, which, server, "schema compiled");
        }
        Self(match compiled {
            Some(Ok(validator)) => Some(validator),
            Some(Err(error)) => {
                tracing::warn!(
                    server,
                    "the {which} of tool `{tool}` is not valid, its calls are not checked: {error}"
                );
                None
            }
            None => None,
        })
    }

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn wrong(&self, instance: &Value) -> Vec<String> {
        let Some(validator) = &self.0 else {
            return Vec::new();
        };
        validator
            .iter_errors(instance)
            .map(|error| describe(&error))
            .collect()
    }
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
            format!("unexpected: {}", unexpected.join(", "))
        }
        Kind::Enum { options } => format!("expected one of {options}"),
        Kind::Constant { expected_value } => format!("expected {expected_value}"),
        _ => error.masked().to_string(),
    };
    if path.is_empty() {
        what
    } else {
        format!("{path}: {what}")
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
        schema.wrong_arguments(arguments.as_object())
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
}
