//! One entry of a file, as a JSON Schema.
//!
//! What an entry must have depends on how its server is reached, which depends on three names for one field and three
//! for another, of which the first that is there counts. Fields that are not read may hold anything.

use serde_json::{Map, Value, json};

use crate::entry::{HTTP_WORDS, KINDS, SSE_WORDS, STDIO_WORDS, URLS};
use crate::enums::any_spelling;
use crate::value::TIME_TEXT;

/// Every definition that an entry needs; the entry itself is `Server`.
pub(super) fn definitions() -> Map<String, Value> {
    let definitions = [
        ("Server", server()),
        ("IsStdio", is_stdio()),
        ("IsHttp", is_http()),
        ("StdioServer", stdio()),
        ("HttpServer", http()),
        ("Scalar", scalar()),
        ("Variables", variables()),
        ("Header", header()),
    ];
    definitions
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn server() -> Value {
    let switched_off = json!({"anyOf": [
        {"required": ["disabled"], "properties": {"disabled": {"const": true}}},
        {"required": ["enabled"], "properties": {"enabled": {"const": false}}},
    ]});
    json!({
        "description": "One server: a command to start, or a URL to call. Fields of other clients are allowed and ignored.",
        "type": "object",
        "properties": properties(),
        "if": switched_off,
        "else": {
            "properties": {
                "disabled": {"type": ["boolean", "null"]},
                "enabled": {"type": ["boolean", "null"]},
                "timeout": {"type": ["number", "null"]},
                "pool": {"anyOf": [{"$ref": "#/$defs/PoolSettings"}, {"type": "null"}]},
                "aggregator": {"anyOf": [{"$ref": "#/$defs/Exposure"}, {"type": "null"}]},
            },
            "anyOf": [{"$ref": "#/$defs/IsStdio"}, {"$ref": "#/$defs/IsHttp"}],
            "allOf": [
                {"if": {"$ref": "#/$defs/IsStdio"}, "then": {"$ref": "#/$defs/StdioServer"}},
                {"if": {"$ref": "#/$defs/IsHttp"}, "then": {"$ref": "#/$defs/HttpServer"}},
            ],
        },
    })
}

fn is_stdio() -> Value {
    json!({"description": "Its type says so, or it has a command and nothing else.", "anyOf": [
        first(KINDS, &word(STDIO_WORDS)),
        {"allOf": [none_of(KINDS), none_of(URLS), present("command", &json!({}))]},
    ]})
}

fn is_http() -> Value {
    json!({"description": "Its type says so, or it has a URL and nothing else.", "anyOf": [
        first(KINDS, &word(HTTP_WORDS)),
        {"allOf": [first(KINDS, &word(SSE_WORDS)), present("httpUrl", &json!({}))]},
        {"allOf": [none_of(KINDS), some_of(URLS), none_of(&["command"])]},
    ]})
}

/// What each field is for. What it may hold depends on the transport.
fn properties() -> Value {
    let description = |text: &str| json!({"description": text});
    json!({
        "type": {
            "description": "How the server is reached; without it, command or url decides. sse is the retired HTTP+SSE transport: read, and refused for that server.",
            "examples": ["stdio", "http", "streamable-http"],
        },
        "transport": description("FastMCP's name for type."),
        "transportType": description("Another name for type."),
        "command": description("The program to start: a path, or a name to look up in PATH."),
        "args": description("Arguments of the program."),
        "env": description("Variables of the program's environment; null leaves one out."),
        "envFile": description("A file of further variables, below those of env."),
        "cwd": description("The folder the program is started in."),
        "url": description("The URL of a streamable HTTP server."),
        "httpUrl": description("Gemini CLI's name for url."),
        "serverUrl": description("Another name for url."),
        "headers": description("Headers sent with every request; null leaves one out."),
        "auth": description("FastMCP's bearer token: a text other than oauth."),
        "timeout": description("How long one call may take, in milliseconds; less than 1000 is ignored. Beside autoApprove or alwaysAllow, up to 3600: in seconds."),
        "disabled": description("Leaves the server out."),
        "enabled": description("The opposite of disabled."),
        "description": description("What the server is for."),
        "pool": description("Settings of this server's pool."),
        "aggregator": description("What is exposed of this server where many servers are one."),
    })
}

fn stdio() -> Value {
    json!({
        "description": "A server that is started as a child process.",
        "required": ["command"],
        "properties": {
            "command": {"type": "string", "pattern": "\\S"},
            "args": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Scalar"}},
            "env": {"$ref": "#/$defs/Variables"},
            "envFile": text(),
            "cwd": text(),
        },
    })
}

fn http() -> Value {
    // What a reference stands for is not known here.
    let url = json!({"type": "string", "pattern": "^https?://[^/?#\\s]|\\$\\{"});
    json!({
        "description": "A server that is reached by streamable HTTP.",
        "allOf": [first(URLS, &url)],
        "properties": {
            "headers": {
                "type": ["object", "null"],
                "patternProperties": {"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$": {"$ref": "#/$defs/Header"}},
                "additionalProperties": {"type": "null"},
            },
        },
    })
}

fn scalar() -> Value {
    json!({
        "description": "A text; numbers and flags are taken as they are written.",
        "type": ["string", "number", "boolean"],
    })
}

fn variables() -> Value {
    json!({
        "description": "Variables by name; null leaves one out.",
        "type": ["object", "null"],
        "patternProperties": {"^[^=]+$": {"anyOf": [{"$ref": "#/$defs/Scalar"}, {"type": "null"}]}},
        "additionalProperties": {"type": "null"},
    })
}

fn header() -> Value {
    let place = |what: &str, field: &str, fields: Value| {
        let mut properties = json!({
            "env": {"type": "null"},
            "file": {"type": "null"},
            "command": {"type": "null"},
            "timeout": {"type": "null"},
            "prefix": {"type": ["string", "null"], "description": "A text in front of the value."},
        });
        if let (Some(all), Value::Object(own)) = (properties.as_object_mut(), fields) {
            all.extend(own);
        }
        json!({
            "description": what,
            "type": "object",
            "required": [field],
            "additionalProperties": false,
            "properties": properties,
        })
    };
    let command = json!({
        "command": {
            "description": "The program and its arguments.",
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/Scalar"},
        },
        "env": {"$ref": "#/$defs/Variables"},
        "timeout": {
            "description": "How long it may take: seconds, or a text such as 5s. Ten seconds without it.",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": TIME_TEXT},
                {"type": "null"},
            ],
        },
    });
    json!({
        "description": "A header's value, or where it comes from; null leaves the header out.",
        "anyOf": [
            {"$ref": "#/$defs/Scalar"},
            {"type": "null"},
            place(
                "A variable of this process, read when a session is opened and after a 401.",
                "env",
                json!({"env": {"type": "string", "minLength": 1, "description": "The name of the variable."}}),
            ),
            place(
                "A file, read when a session is opened and after a 401.",
                "file",
                json!({"file": {"type": "string", "minLength": 1, "description": "The path of the file."}}),
            ),
            place(
                "A program, run when a session is opened and after a 401, and what it writes to its stdout.",
                "command",
                command,
            ),
        ],
    })
}

fn text() -> Value {
    json!({"type": ["string", "null"]})
}

/// A word for a transport, in whatever spelling.
fn word(words: &[&str]) -> Value {
    let words: Vec<_> = words
        .iter()
        .map(|word| any_spelling(word, "[-_]*"))
        .collect();
    json!({"type": "string", "pattern": format!("^[-_]*(?:{})$", words.join("|"))})
}

/// The field is there, is not null, and is like this.
fn present(name: &str, like: &Value) -> Value {
    json!({
        "required": [name],
        "properties": {name: {"allOf": [{"not": {"type": "null"}}, like]}},
    })
}

/// Of several names for one thing the first that is given is like this.
fn first(names: &[&str], like: &Value) -> Value {
    let ways: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| json!({"allOf": [none_of(&names[..at]), present(name, like)]}))
        .collect();
    json!({"anyOf": ways})
}

fn some_of(names: &[&str]) -> Value {
    first(names, &json!({}))
}

fn none_of(names: &[&str]) -> Value {
    let fields: Map<_, _> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({"type": "null"})))
        .collect();
    json!({"properties": fields})
}
