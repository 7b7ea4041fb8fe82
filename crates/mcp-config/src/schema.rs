//! A JSON Schema of the configuration, for editors and validation.
//!
//! One schema describes both kinds of files, servers and settings; each of their tables is optional. Settings come from their
//! definition. The rest states the rules of the loader in terms of JSON Schema. A test compares both on random files.

mod server;

use serde_json::{Map, Value, json};

use crate::aggregator::AggregatorSettings;
use crate::gateway::{self, GatewaySettings};
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
    defs.insert(
        "AggregatorSettings".to_owned(),
        settings(
            "Settings of all servers as one.",
            AggregatorSettings::rows(),
        ),
    );
    defs.insert("Exposure".to_owned(), exposure());
    if let Value::Object(rows) = table(GatewaySettings::rows()) {
        defs.insert("Gateway".to_owned(), gateway::schema(rows));
    }
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
            "gateway": {
                "description": "The gateway (in the settings file, and beside the servers).",
            },
            "aggregator": {
                "description": "Settings of all servers as one (in the settings file).",
                "$ref": "#/$defs/AggregatorSettings",
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
                "if": {"allOf": [gateway_table(), {"anyOf": [
                    {"required": ["mcpServers"]},
                    {"required": ["servers"]},
                    {"not": {"anyOf": [{"required": ["mcp"]}, {"required": ["projects"]}]}},
                ]}]},
                "then": {"properties": {"gateway": {"$ref": "#/$defs/Gateway"}}},
            },
            {
                "if": {"anyOf": [
                    gateway_alone(),
                    {"required": ["mcpServers"]},
                    {"required": ["servers"]},
                    vscode_has_servers,
                    {"required": ["defaults"]},
                    {"required": ["limits"]},
                    {"required": ["aggregator"]},
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

/// A table of the gateway, and not a server of that name.
fn gateway_table() -> Value {
    json!({"required": ["gateway"], "properties": {"gateway": {"not": looks_like_a_server()}}})
}

/// Nothing but a table of the gateway.
fn gateway_alone() -> Value {
    json!({"allOf": [gateway_table(), {"maxProperties": 1}]})
}

fn looks_like_a_server() -> Value {
    json!({"type": "object", "anyOf": [
        {"required": ["command"]},
        {"required": ["url"]},
        {"required": ["httpUrl"]},
        {"required": ["serverUrl"]},
    ]})
}

/// The whole file is the table, and one of it looks like a server.
fn bare_servers() -> Value {
    let looks = looks_like_a_server();
    let mut servers = servers_of_a_file();
    servers["properties"]["gateway"] = json!({"if": looks, "then": {"$ref": "#/$defs/Server"}});
    servers["anyOf"] = json!([
        {"maxProperties": 0},
        {"not": {"additionalProperties": {"not": looks}}},
    ]);
    servers
}

fn settings(description: &str, rows: Vec<Setting>) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": false,
        "properties": table(rows),
    })
}

/// The table `aggregator` of one server.
fn exposure() -> Value {
    let optional = |schema: Value| json!({"anyOf": [schema, {"type": "null"}]});
    let mut properties = Map::new();
    if let Value::Object(rows) = table(AggregatorSettings::rows()) {
        for (name, mut schema) in rows {
            // What holds without it is what is set for all servers.
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("default");
            }
            properties.insert(name, optional(schema));
        }
    }
    let globs = |what: &str| {
        let mut list = optional(json!({"type": "array", "items": {"type": "string"}}));
        list["description"] = what.into();
        list
    };
    let by_tool = |what: &str, text: Value| {
        let mut table = optional(json!({"type": "object", "additionalProperties": text}));
        table["description"] = what.into();
        table
    };
    properties.insert(
        "allow".to_owned(),
        globs("Only tools whose name fits one of these globs are exposed, if there is one."),
    );
    properties.insert(
        "deny".to_owned(),
        globs("No tool whose name fits one of these globs is exposed."),
    );
    properties.insert(
        "aliases".to_owned(),
        by_tool(
            "Tools that are exposed as if their server called them otherwise.",
            json!({
                "type": "string",
                "pattern": "^[a-zA-Z0-9_-]{1,64}$",
            }),
        ),
    );
    properties.insert(
        "descriptions".to_owned(),
        by_tool(
            "Descriptions that stand in for those of the server, by tool.",
            json!({"type": "string"}),
        ),
    );
    json!({
        "type": "object",
        "description": "What is exposed of one server where many servers are one.",
        "additionalProperties": false,
        "properties": properties,
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
