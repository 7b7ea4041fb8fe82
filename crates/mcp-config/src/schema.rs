//! A JSON Schema of the configuration, for editors and for checking.
//!
//! One schema for both kinds of files, the servers' and the settings': each of their tables is optional in it. It
//! is generated: settings from the table they are defined in, fields of a server from the types below, so that it
//! cannot say something else than the loader does. It is open where the loader is (a server may have fields of other
//! clients) and closed where the loader is (a setting that does not exist is a mistake).

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::define::Setting;
use crate::limits::LimitSettings;
use crate::settings::PoolSettings;

/// The JSON Schema (draft 2020-12) of `.mcp.json` and of `mcp-pool.toml`, `.yaml` or `.json`.
///
/// ```
/// let schema = mcp_config::schema();
/// assert_eq!(schema["$defs"]["PoolSettings"]["properties"]["max_connections"]["default"], 10);
/// ```
pub fn schema() -> Value {
    schemars::schema_for!(Configuration).to_value()
}

/// Configuration of mcp-pool: servers as MCP clients describe them, and settings for their pools.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "mcp-pool configuration")]
#[expect(dead_code, reason = "describes a file, and is never made")]
struct Configuration {
    /// The schema itself, for editors.
    #[serde(rename = "$schema")]
    schema: Option<String>,
    /// Servers by name, as Claude Desktop, Claude Code, Cursor, Gemini CLI and FastMCP have them.
    mcp_servers: Option<BTreeMap<String, Server>>,
    /// Servers by name, as VS Code has them.
    servers: Option<BTreeMap<String, Server>>,
    /// Settings of every server (in the settings file).
    defaults: Option<PoolSettings>,
    /// Limits over all servers (in the settings file).
    limits: Option<LimitSettings>,
}

/// One server: a command to start, or a URL to call. Fields of other clients are allowed and ignored.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a file, and is never made")]
struct Server {
    /// How the server is reached; without it, `command` or `url` decides.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// FastMCP's name for `type`.
    transport: Option<Kind>,
    /// The program to start: a path, or a name to look up in PATH.
    command: Option<String>,
    /// Arguments of the program.
    args: Option<Vec<Scalar>>,
    /// Variables of the program's environment; null leaves one out.
    env: Option<BTreeMap<String, Option<Scalar>>>,
    /// A file of further variables, below those of `env`.
    env_file: Option<String>,
    /// The folder the program is started in.
    cwd: Option<String>,
    /// The URL of a streamable HTTP server.
    url: Option<String>,
    /// Gemini CLI's name for `url`.
    http_url: Option<String>,
    /// Another name for `url`.
    server_url: Option<String>,
    /// Headers sent with every request.
    headers: Option<BTreeMap<String, Header>>,
    /// How long one call may take, in milliseconds; less than 1000 is ignored.
    timeout: Option<f64>,
    /// Leaves the server out.
    disabled: Option<bool>,
    /// The opposite of `disabled`.
    enabled: Option<bool>,
    /// What the server is for.
    description: Option<String>,
    /// Settings of this server's pool.
    pool: Option<PoolSettings>,
}

/// The transports.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "describes a file, and is never made")]
enum Kind {
    Stdio,
    Http,
    StreamableHttp,
    #[serde(rename = "streamableHttp")]
    StreamableHttpCamel,
    /// The retired HTTP+SSE transport: read, and refused for that server.
    Sse,
}

/// A text; numbers and flags are taken as they are written.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a file, and is never made")]
enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// A header's value, or where it comes from.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a file, and is never made")]
enum Header {
    Value(Scalar),
    Env(FromEnv),
    File(FromFile),
    Command(FromCommand),
}

/// A variable of this process, read when a session is opened and after a 401.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a file, and is never made")]
struct FromEnv {
    /// The name of the variable.
    env: String,
    /// A text in front of the value.
    prefix: Option<String>,
}

/// A file, read when a session is opened and after a 401.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a file, and is never made")]
struct FromFile {
    /// The path of the file.
    file: String,
    /// A text in front of the value.
    prefix: Option<String>,
}

/// A program, run when a session is opened and after a 401, and what it writes to its stdout.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a file, and is never made")]
struct FromCommand {
    /// The program and its arguments.
    command: Vec<Scalar>,
    /// Variables of the program's environment.
    env: Option<BTreeMap<String, Option<Scalar>>>,
    /// How long it may take: seconds, or a text such as `5s`. Ten seconds without it.
    timeout: Option<Time>,
    /// A text in front of the value.
    prefix: Option<String>,
}

/// A time: seconds, or a text with a unit.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes a file, and is never made")]
enum Time {
    Seconds(f64),
    Text(String),
}

macro_rules! schema_from_rows {
    ($($type:ident: $description:literal,)+) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let properties = table($type::rows());
                json_schema!({
                    "type": "object",
                    "description": $description,
                    "additionalProperties": false,
                    "properties": properties,
                })
            }
        }
    )+};
}

schema_from_rows! {
    PoolSettings: "Settings of a pool of sessions.",
    LimitSettings: "Limits over all servers.",
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
