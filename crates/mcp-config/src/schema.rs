//! A JSON Schema of the configuration, for editors and for checking.
//!
//! One schema for both kinds of files, the servers' and the settings': each of their tables is optional in it. Settings
//! come from the table they are defined in. The rest says what the loader does, in the terms of JSON Schema: what is
//! read, under which conditions, and that everything else is left alone. A test loads random files and holds the loader's
//! verdict against that of the schema.

mod server;

use serde_json::{Map, Value, json};

use crate::limits::LimitSettings;
use crate::settings::PoolSettings;
use crate::settings_macro::Setting;

/// The JSON Schema (draft 2020-12) of `.mcp.json` and of `mcp-pool.toml`, `.yaml` or `.json`.
///
/// What it refuses the loader refuses, too. The reverse holds for the shape of a file: names, kinds of values, which
/// fields go together. Of a value that depends on something else (a variable that is not set, two settings that
/// contradict each other) the loader has the last word.
///
/// ```
/// let schema = mcp_config::schema();
/// assert_eq!(schema["$defs"]["PoolSettings"]["properties"]["max_connections"]["default"], 10);
/// ```
pub fn schema() -> Value {
    let servers = json!({"$ref": "#/$defs/Servers"});
    let mut defs = server::definitions();
    defs.insert("Servers".to_owned(), servers_of_a_file());
    defs.insert(
        "PoolSettings".to_owned(),
        settings("Settings of a pool of sessions.", PoolSettings::rows()),
    );
    defs.insert(
        "LimitSettings".to_owned(),
        settings("Limits over all servers.", LimitSettings::rows()),
    );
    let vscode_has_servers = json!({
        "required": ["mcp"],
        "properties": {"mcp": {"type": "object", "required": ["servers"]}},
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mcp-pool configuration",
        "description": "Configuration of mcp-pool: servers as MCP clients describe them, and settings for their pools.",
        "type": "object",
        "properties": {
            "$schema": {"description": "The schema itself, for editors."},
            "mcpServers": {
                "description": "Servers by name, as Claude Desktop, Claude Code, Cursor, Gemini CLI and FastMCP have them.",
                "$ref": "#/$defs/Servers",
            },
            "servers": {
                "description": "Servers by name, as VS Code has them. Ignored beside mcpServers.",
            },
            "mcp": {
                "description": "VS Code's settings: servers by name under servers. Gemini CLI's: allowed and excluded names.",
            },
            "projects": {
                "description": "Claude Code's own file: servers by folder under mcpServers of each. Those of the present folder are read.",
            },
            "defaults": {
                "description": "Settings of every server (in the settings file).",
                "$ref": "#/$defs/PoolSettings",
            },
            "limits": {
                "description": "Limits over all servers (in the settings file).",
                "$ref": "#/$defs/LimitSettings",
            },
        },
        "allOf": [
            {
                "if": has_any("mcpServers"),
                "else": {"properties": {"servers": servers}},
            },
            {
                "if": {"anyOf": [has_any("mcpServers"), has_any("servers")]},
                "else": {"properties": {"mcp": {"properties": {"servers": servers}}}},
            },
            {
                "if": {"anyOf": [
                    {"required": ["mcpServers"]},
                    {"required": ["servers"]},
                    vscode_has_servers,
                    {"required": ["defaults"]},
                    {"required": ["limits"]},
                    {"required": ["projects"]},
                ]},
                "else": bare_servers(),
            },
        ],
        "$defs": defs,
    })
}

/// A table of this name that holds something: the tables after it are not read.
fn has_any(table: &str) -> Value {
    json!({
        "required": [table],
        "properties": {table: {"type": "object", "minProperties": 1}},
    })
}

fn servers_of_a_file() -> Value {
    json!({
        "description": "Servers by name.",
        "type": ["object", "null"],
        "properties": {"$schema": {"if": {"type": "object"}, "then": {"$ref": "#/$defs/Server"}}},
        "additionalProperties": {"$ref": "#/$defs/Server"},
    })
}

/// The whole file is the table, and one of it looks like a server.
fn bare_servers() -> Value {
    let looks = json!({"type": "object", "anyOf": [
        {"required": ["command"]},
        {"required": ["url"]},
        {"required": ["httpUrl"]},
        {"required": ["serverUrl"]},
    ]});
    json!({
        "$ref": "#/$defs/Servers",
        "anyOf": [
            {"maxProperties": 0},
            {"not": {"additionalProperties": {"not": looks}}},
        ],
    })
}

fn settings(description: &str, rows: Vec<Setting>) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": table(rows),
    })
}

/// Rows as properties; those with a dot in their name as properties of a table of their own.
fn table(rows: Vec<Setting>) -> Value {
    let mut properties = Map::new();
    for row in rows {
        let mut schema = row.schema;
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("default".to_owned(), row.default);
            schema.insert("description".to_owned(), row.description.into());
        }
        match row.name.split_once('.') {
            None => {
                properties.insert(row.name, schema);
            }
            Some((group, name)) => {
                let group = properties.entry(group).or_insert_with(
                    || json!({"type": "object", "additionalProperties": false, "properties": {}}),
                );
                group["properties"][name] = schema;
            }
        }
    }
    properties.into()
}
