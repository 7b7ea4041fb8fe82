//! Says why a value does not fit a type, without the names of Rust types.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Which field does not fit a `T`, and how. `None` if all do.
pub(crate) fn misfit<T: DeserializeOwned>(value: &Value) -> Option<String> {
    if !value.is_object() {
        return Some("it is no object".to_owned());
    }
    match serde_path_to_error::deserialize::<_, T>(value) {
        Err(error) if error.path().iter().next().is_none() => Some(in_words(error.inner())),
        Err(error) => Some(format!("`{}`: {}", error.path(), in_words(error.inner()))),
        Ok(_) => None,
    }
}

fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let Some((found, expected)) = text.split_once(", expected ") else {
        return text;
    };
    let found = match found.trim_start_matches("invalid type: ").split(' ').next() {
        Some("boolean") => "a boolean",
        Some("integer" | "floating") => "a number",
        Some("string") => "a text",
        // The length is that of an array.
        Some("sequence" | "invalid") => "an array",
        Some("map") => "an object",
        Some("null") => "null",
        _ => return text,
    };
    let expected = match expected {
        "a map" => "an object",
        "a sequence" => "an array",
        "a string" => "a text",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    };
    format!("it is {found}, not {expected}")
}

#[cfg(test)]
mod tests {
    use rmcp::model::{InitializeResult, ListToolsResult};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_does_not_fit_is_named_without_types_of_rust() {
        for (value, words) in [
            (json!({}), "missing field `tools`"),
            (json!([]), "it is no object"),
            (
                json!({"tools": {"echo": {}}}),
                "`tools`: it is an object, not an array",
            ),
            (
                json!({"tools": [{"name": 1, "inputSchema": {}}]}),
                "`tools[0].name`: it is a number, not a text",
            ),
        ] {
            assert_eq!(misfit::<ListToolsResult>(&value).as_deref(), Some(words));
        }
        let server = json!({"name": "s", "version": "1"});
        for (capabilities, words) in [
            (json!([]), "`capabilities`: it is an array, not an object"),
            (json!(null), "`capabilities`: it is null, not an object"),
            (
                json!({"tools": true}),
                "`capabilities.tools`: it is a boolean, not an object",
            ),
        ] {
            let value = json!({
                "protocolVersion": "1", "capabilities": capabilities, "serverInfo": server,
            });
            assert_eq!(misfit::<InitializeResult>(&value).as_deref(), Some(words));
        }
        assert_eq!(misfit::<ListToolsResult>(&json!({"tools": []})), None);
    }
}
