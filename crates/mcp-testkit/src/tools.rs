//! The tools: names, schemas and annotations.
//!
//! The annotations are true, because they decide whether a lost call is replayed.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// All tools, in the order of their listing.
pub(crate) fn all() -> Vec<Tool> {
    let mut tools = well_behaved();
    tools.extend(hostile());
    tools
}

/// The tools of these names. A name without a tool gives one that does what `echo` does, so that a
/// test can make up any list it needs.
pub(crate) fn named(names: &[String]) -> Vec<Tool> {
    let known = all();
    names
        .iter()
        .map(|name| match known.iter().find(|tool| tool.name == *name) {
            Some(tool) => tool.clone(),
            None => like_echo(name),
        })
        .collect()
}

fn well_behaved() -> Vec<Tool> {
    vec![
        tool(
            "echo",
            "Answers with its message.",
            READS,
            json!({"message": TEXT}),
            &["message"],
        ),
        tool(
            "sleep",
            "Answers after `ms` milliseconds. It stops at once when cancelled, unless it is `stubborn`.",
            READS,
            json!({"ms": COUNT, "stubborn": FLAG}),
            &["ms"],
        ),
        tool(
            "count",
            "Raises the counter of `key` and answers with it. Running it twice shows.",
            WRITES,
            json!({"key": TEXT}),
            &[],
        ),
        tool(
            "counted",
            "Answers with the counter of `key`.",
            READS,
            json!({"key": TEXT}),
            &[],
        ),
        tool(
            "spin",
            "Keeps the processor busy for `ms` milliseconds.",
            READS,
            json!({"ms": COUNT}),
            &["ms"],
        ),
        tool(
            "fail",
            "Answers with this JSON-RPC error.",
            READS,
            json!({"code": INTEGER, "message": TEXT, "data": {}}),
            &["code", "message"],
        ),
        tool(
            "tool_error",
            "Answers with a result that says it is an error.",
            READS,
            json!({"message": TEXT}),
            &["message"],
        ),
        tool(
            "progress",
            "Reports `steps` steps of progress, one every `ms` milliseconds, then answers.",
            READS,
            json!({"steps": COUNT, "ms": COUNT}),
            &["steps", "ms"],
        ),
        tool(
            "log",
            "Sends a log message to the client, then answers.",
            READS,
            json!({"message": TEXT}),
            &["message"],
        ),
        tool(
            "ask",
            "Asks its caller for each of `what`, in the way of the era, and answers with who answered: \
             the model, the `name` of the form, the first root.",
            READS,
            json!({"what": {
                "type": "array",
                "items": {"enum": ["sampling", "elicitation", "url", "roots"]},
            }}),
            &["what"],
        ),
        tool(
            "set_tools",
            "Replaces the list of tools and announces it. Unknown names become copies of `echo`; no \
             names at all bring the whole list back. It can be called even when it is not listed.",
            SETS,
            json!({"names": {"type": "array", "items": TEXT}}),
            &[],
        ),
        tool(
            "whoami",
            "Answers with pid, parent, session number, folder and arguments, and the request's `_meta`; with the environment \
             variables named by `env`; and, over HTTP, with the request headers named by `headers`.",
            READS,
            json!({
                "env": {"type": "array", "items": TEXT},
                "headers": {"type": "array", "items": TEXT},
            }),
            &[],
        ),
        tool(
            "stats",
            "Answers with everything the server has counted.",
            READS,
            json!({}),
            &[],
        ),
        tool(
            "add",
            "Adds two numbers and answers with structured content.",
            READS,
            json!({"a": NUMBER, "b": NUMBER}),
            &["a", "b"],
        )
        .with_raw_output_schema(object(json!({"sum": NUMBER}), &["sum"]).into()),
        tool(
            "located",
            "Answers with its region, which modern HTTP clients must repeat in a header.",
            READS,
            json!({"region": {"type": "string", "x-mcp-header": "Region"}}),
            &["region"],
        ),
        tool(
            "big",
            "Answers with a text of `bytes` bytes.",
            READS,
            json!({"bytes": COUNT}),
            &["bytes"],
        ),
    ]
}

fn hostile() -> Vec<Tool> {
    vec![
        tool(
            "exit",
            "Ends the process with `code` after `after_ms`, with `message` on stderr and no answer.",
            BREAKS,
            json!({"code": COUNT, "message": TEXT, "after_ms": COUNT}),
            &[],
        ),
        tool(
            "freeze",
            "Never answers, nor anything after it: `stdin` stops reading, `stop` stops the process \
             by SIGSTOP.",
            BREAKS,
            json!({"how": {"type": "string", "enum": ["stdin", "stop"]}}),
            &[],
        ),
        tool(
            "close_stdout",
            "Closes stdout and lives on.",
            BREAKS,
            json!({}),
            &[],
        ),
        tool(
            "garbage",
            "Writes `lines` lines that are not JSON-RPC to stdout, then answers.",
            READS,
            json!({"lines": COUNT}),
            &["lines"],
        ),
        tool(
            "huge_line",
            "Answers in one line of `bytes` bytes (20 MiB unless told).",
            READS,
            json!({"bytes": COUNT}),
            &[],
        ),
        tool(
            "flood_stderr",
            "Writes `bytes` bytes to stderr, then answers; it blocks until they are read.",
            READS,
            json!({"bytes": COUNT}),
            &["bytes"],
        ),
        tool(
            "spawn_grandchild",
            "Spawns a process that outlives this one and answers with its pid. With `heeds_stdin` it \
             inherits stdin and ends with it; with `holds_stdout` it keeps stdout open.",
            WRITES,
            json!({"heeds_stdin": FLAG, "holds_stdout": FLAG}),
            &[],
        ),
    ]
}

fn like_echo(name: &str) -> Tool {
    tool(
        name.to_owned(),
        "A made-up tool that answers with its message.",
        READS,
        json!({"message": TEXT}),
        &[],
    )
}

/// What a tool does to the world, as its annotations say it.
struct Hints {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
}

/// The schemas of single properties.
#[derive(Clone, Copy)]
struct Of {
    kind: &'static str,
    minimum: Option<u64>,
}

impl serde::Serialize for Of {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.minimum {
            None => json!({"type": self.kind}),
            Some(minimum) => json!({"type": self.kind, "minimum": minimum}),
        }
        .serialize(serializer)
    }
}

const TEXT: Of = Of {
    kind: "string",
    minimum: None,
};
const FLAG: Of = Of {
    kind: "boolean",
    minimum: None,
};
const NUMBER: Of = Of {
    kind: "number",
    minimum: None,
};
const INTEGER: Of = Of {
    kind: "integer",
    minimum: None,
};
const COUNT: Of = Of {
    kind: "integer",
    minimum: Some(0),
};

const READS: Hints = Hints {
    read_only: true,
    destructive: false,
    idempotent: true,
};
const SETS: Hints = Hints {
    read_only: false,
    destructive: false,
    idempotent: true,
};
const WRITES: Hints = Hints {
    read_only: false,
    destructive: false,
    idempotent: false,
};
const BREAKS: Hints = Hints {
    read_only: false,
    destructive: true,
    idempotent: false,
};

fn tool(
    name: impl Into<std::borrow::Cow<'static, str>>,
    description: &'static str,
    hints: Hints,
    properties: Value,
    required: &[&str],
) -> Tool {
    let annotations = ToolAnnotations::new()
        .read_only(hints.read_only)
        .destructive(hints.destructive)
        .idempotent(hints.idempotent)
        .open_world(false);
    Tool::new(name, description, object(properties, required)).with_annotations(annotations)
}

fn object(properties: Value, required: &[&str]) -> JsonObject {
    let schema = json!({"type": "object", "properties": properties, "required": required});
    match schema {
        Value::Object(schema) => schema,
        _ => unreachable!("the literal above is an object"),
    }
}
