//! Says why a value does not fit a type, without the names of Rust types.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lenient::kind;

/// Which field does not fit a `T`, and how. `None` if all do.
pub(crate) fn misfit<T: DeserializeOwned>(value: &Value) -> Option<String> {
    if !value.is_object() {
        return Some(format!("it is {}, not an object", kind(value)));
    }
    let error = serde_path_to_error::deserialize::<_, T>(value).err()?;
    let path = match error.path().iter().next() {
        Some(_) => error.path().to_string(),
        None => String::new(),
    };
    let text = error.inner().to_string();
    if let Some(field) = text.strip_prefix("missing field `") {
        let dot = if path.is_empty() { "" } else { "." };
        return Some(format!("`{path}{dot}{field} is missing"));
    }
    let words = in_words(text);
    Some(match path.is_empty() {
        true => words,
        false => format!("`{path}`: {words}"),
    })
}

fn in_words(text: String) -> String {
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
            (json!({}), "`tools` is missing"),
            (
                json!({"tools": [{"name": "a"}]}),
                "`tools[0].inputSchema` is missing",
            ),
            (json!([]), "it is an array, not an object"),
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
