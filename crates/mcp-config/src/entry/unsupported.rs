//! Fields of an entry that are not supported.
//!
//! Every client adds fields of its own. A file with them is valid, and a note says what is not done here.

use serde_json::Value;

use super::Reader;
use crate::diagnostic::{MOST_PROBLEMS, ProblemKind, nearest};

impl Reader<'_> {
    /// The names of ignored fields, each with a note: a typing error, a feature of its client, or unknown.
    pub(super) fn unknown_fields(&mut self) -> Vec<String> {
        let unknown: Vec<_> = self
            .fields
            .table
            .keys()
            .filter(|name| !KNOWN.contains(&name.as_str()) && !self.is_token(name))
            .cloned()
            .collect();
        let mut others = Vec::new();
        for name in unknown.iter().take(MOST_PROBLEMS) {
            if is_remark(name) {
                continue;
            }
            let at = self.at.key(name);
            let note = match meant(name) {
                Some(_) if self.fields.get(name).is_none_or(is_off) => continue,
                Some((message, hint)) => at.problem(format!("ignored: {message}")).hint(hint),
                None => match nearest(name, KNOWN.iter().copied()) {
                    Some(near) => at
                        .problem("unknown field, ignored")
                        .kind(ProblemKind::UnknownField)
                        .hint(format!("did you mean {near}?")),
                    None => {
                        others.push(name.as_str());
                        continue;
                    }
                },
            };
            self.fields.notes.push(note);
        }
        if !others.is_empty() {
            let more = others.len().saturating_sub(MOST_NAMED);
            others.truncate(MOST_NAMED);
            let mut message = format!("unknown fields, ignored: {}", others.join(", "));
            if more > 0 {
                message.push_str(&format!(" and {more} more"));
            }
            let note = self.at.problem(message);
            self.fields.notes.push(note.kind(ProblemKind::UnknownField));
        }
        unknown
    }

    /// FastMCP's field `auth`: a token, or the word `oauth`, which is none. Cursor keeps a table there.
    pub(super) fn is_token(&self, field: &str) -> bool {
        field == "auth"
            && self
                .fields
                .get(field)
                .and_then(Value::as_str)
                .is_some_and(|word| word != "oauth")
    }
}

/// What a field of another client would do there, and where that is done here.
fn meant(field: &str) -> Option<(&'static str, &'static str)> {
    Some(match field {
        "auth" | "oauth" | "authProviderType" | "targetAudience" | "targetServiceAccount" => (
            "a file cannot say how a token is got by OAuth",
            "give headers.Authorization a value from a command, or a source in code (feature oauth)",
        ),
        "headersHelper" => (
            "headers do not come from one command",
            "give each header a command of its own: \"headers\": {\"Authorization\": {\"command\": [..]}}",
        ),
        "includeTools" | "excludeTools" | "tools" | "enabledTools" | "disabledTools"
        | "allowedTools" => (
            "every tool of the server can be called",
            "leave out what you do not want where tools are offered",
        ),
        "trust" | "autoApprove" | "alwaysAllow" => (
            "no tool asks for approval before a call",
            "ask where tools are offered",
        ),
        "sandbox" | "sandboxEnabled" => (
            "the process is not confined",
            "name the program that confines it as the command",
        ),
        _ => return None,
    })
}

/// A remark of a person or a tool, in a file that knows no comments.
fn is_remark(field: &str) -> bool {
    field.starts_with(['_', '$', '#', '/']) || field.eq_ignore_ascii_case("comment")
}

/// Switching off an unsupported feature needs no note.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
        _ => false,
    }
}

/// Names in one note.
const MOST_NAMED: usize = 10;

/// The fields that mean something here.
const KNOWN: &[&str] = &[
    "type",
    "transport",
    "transportType",
    "command",
    "args",
    "env",
    "cwd",
    "envFile",
    "url",
    "httpUrl",
    "serverUrl",
    "headers",
    "timeout",
    "disabled",
    "enabled",
    "description",
    "pool",
    "aggregator",
];
