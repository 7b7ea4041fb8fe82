//! The schema says what the loader does.

use crate::loader;
use mcp_config::{EffectiveSettings, GlobalLimits, PoolSettings, schema};
use serde_json::{Value, json};

#[test]
fn every_clients_file_fares_with_the_schema_as_with_the_loader() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let depends = ["is not set", "is not known", "is not available outside"];
    for (text, wrong) in [
        (
            include_str!("../fixtures/claude-desktop/claude_desktop_config.json"),
            0,
        ),
        (include_str!("../fixtures/claude-code/.mcp.json"), 1),
        (include_str!("../fixtures/cursor/.cursor/mcp.json"), 0),
        (include_str!("../fixtures/fastmcp/mcp.json"), 1),
        (
            include_str!("../fixtures/gemini-cli/.gemini/settings.json"),
            0,
        ),
        (include_str!("../fixtures/vscode/.vscode/mcp.json"), 0),
        (include_str!("../fixtures/vscode-settings/settings.json"), 0),
    ] {
        let config = loader().text(".mcp.json", text).load().unwrap();
        let problems = config.problems().map(ToString::to_string);
        let of_shape = problems
            .filter(|problem| !depends.iter().any(|words| problem.contains(words)))
            .collect::<Vec<_>>();
        assert_eq!(of_shape.len(), wrong, "{of_shape:#?}");
        let options = jsonc_parser::ParseOptions::default();
        let value: Value = jsonc_parser::parse_to_serde_value(text, &options).unwrap();
        let verdict = validator.validate(&value);
        let verdict = verdict.map_err(|error| error.to_string());
        assert_eq!(verdict.is_ok(), wrong == 0, "{text}\n{verdict:?}");
    }
}

#[test]
fn the_schema_accepts_the_settings_that_the_loader_writes() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let defaults = json!({
        "$schema": "mcp-pool.schema.json",
        "defaults": EffectiveSettings::default(),
        "limits": GlobalLimits::default(),
        "mcpServers": {"a": {"command": "x", "pool": {"call_timeout": "500ms", "max_message_size": "1MiB"}}},
    });
    assert_eq!(
        validator
            .validate(&defaults)
            .map_err(|error| error.to_string()),
        Ok(())
    );
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for pool in [
        json!({"max_conections": 1}),
        json!({"max_connections": 0}),
        json!({"max_connections": "many"}),
        json!({"sharing": "shared"}),
        json!({"call_timeout": 0}),
        json!({"circuit_breaker": {"failure_treshold": 1}}),
        json!({"circuit_breaker": {"failure_rate": 50}}),
        json!({"circuit_breaker": {"slow_call_rate": -0.1}}),
        json!([]),
        json!({"max_connections": null}),
        json!({"inherit_env": "maybe"}),
        json!({"call_timeout": "soon"}),
        json!({"circuit_breaker": null}),
    ] {
        assert!(
            serde_json::from_value::<PoolSettings>(pool.clone()).is_err(),
            "{pool}"
        );
        let file = json!({"mcpServers": {"a": {"command": "x", "pool": pool}}});
        assert!(!validator.is_valid(&file), "{file}");
        let file = json!({"defaults": pool});
        assert!(!validator.is_valid(&file), "{file}");
    }
}

#[test]
fn every_setting_is_in_the_schema_with_its_default_and_its_description() {
    let schema = schema();
    for row in mcp_config::settings() {
        let pointer = format!(
            "/$defs/PoolSettings/properties/{}",
            row.name.replace('.', "/properties/")
        );
        let found = schema.pointer(&pointer).unwrap();
        assert_eq!(found["default"], row.default, "{}", row.name);
        assert_eq!(
            found["description"],
            row.description.as_str(),
            "{}",
            row.name
        );
    }
}
