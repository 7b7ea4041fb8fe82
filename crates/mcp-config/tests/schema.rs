//! The schema says what the loader does.

#![cfg(feature = "schema")]

use mcp_config::{EffectiveSettings, GlobalLimits, PoolSettings, schema};
use serde_json::{Value, json};

#[test]
fn the_schema_accepts_what_the_loader_accepts() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let accepted = [
        include_str!("fixtures/claude-desktop/claude_desktop_config.json"),
        include_str!("fixtures/claude-code/.mcp.json"),
        include_str!("fixtures/cursor/.cursor/mcp.json"),
        include_str!("fixtures/fastmcp/mcp.json"),
    ];
    for text in accepted {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            validator
                .validate(&value)
                .map_err(|error| error.to_string()),
            Ok(())
        );
    }
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
    ] {
        assert!(
            serde_json::from_value::<PoolSettings>(pool.clone()).is_err(),
            "{pool}"
        );
        let file = json!({"mcpServers": {"a": {"command": "x", "pool": pool}}});
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
