//! An entry of a client's file as our own file would have it.
//!
//! Fields that we do not know stay as they are. Three kinds change, because they would lose their meaning: other spellings of
//! what we have, references to variables in the client's own form, and lists of allowed tools. Without the last, a tool that
//! was off in the client would be on here.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Client;

/// Reads an entry with the rules of its client. Of a project's entry, a process starts in the project's folder.
///
/// # Errors
/// Why only its client can start the server.
pub(crate) fn read(
    client: Client,
    entry: &Value,
    project: Option<&Path>,
) -> Result<Value, &'static str> {
    let Value::Object(entry) = entry else {
        return Err("it is no table");
    };
    let mut entry = entry.clone();
    match client {
        Client::Codex => codex(&mut entry),
        Client::GeminiCli => {
            for value in entry.values_mut() {
                braces(value);
            }
        }
        Client::Zed => zed(&mut entry)?,
        _ => {}
    }
    tools(&mut entry);
    let starts = ["command", "url", "httpUrl", "serverUrl"];
    if !starts.iter().any(|field| entry.contains_key(*field)) {
        return Err("it has neither a command nor a URL");
    }
    if let Some(project) = project {
        let project = project.to_string_lossy();
        for value in entry.values_mut() {
            in_texts(value, &|text| text.replace("${workspaceFolder}", &project));
        }
        if entry.contains_key("command") {
            let project = PathBuf::from(project.as_ref());
            let cwd = match entry.get("cwd").and_then(Value::as_str) {
                Some(cwd) => project.join(cwd),
                None => project,
            };
            entry.insert("cwd".to_owned(), cwd.to_string_lossy().into());
        }
    }
    Ok(Value::Object(entry))
}

/// The entry that starts the bridge to our daemon.
pub(crate) fn own_entry(client: Client, program: &Path, environment: Map<String, Value>) -> Value {
    let mut entry = json!({
        "command": program.to_string_lossy(),
        "args": ["connect", "--client", client.name()],
    });
    if matches!(client, Client::ClaudeCode | Client::VsCode) {
        entry["type"] = "stdio".into();
    }
    if !environment.is_empty() {
        entry["env"] = environment.into();
    }
    entry
}

/// Whether an entry starts the bridge to our daemon.
pub(crate) fn is_ours(entry: &Value) -> bool {
    let command = entry.get("command").and_then(Value::as_str);
    let program = command.and_then(|command| Path::new(command).file_stem());
    let first = entry.get("args").and_then(|args| args.get(0));
    program.is_some_and(|program| program == "mcp-pool")
        && first.and_then(Value::as_str) == Some("connect")
}

/// What makes two entries the same server: how it is started or reached.
pub(crate) fn identity(entry: &Value) -> Value {
    let mut identity = Map::new();
    for field in ["command", "args", "env", "cwd", "headers"] {
        let value = entry.get(field).filter(|value| !is_empty(value));
        if let Some(value) = value {
            identity.insert(field.to_owned(), value.clone());
        }
    }
    let url = ["url", "httpUrl", "serverUrl"];
    if let Some(url) = url.iter().find_map(|field| entry.get(*field)) {
        identity.insert("url".to_owned(), url.clone());
    }
    identity.into()
}

/// Whether an entry is switched off.
pub(crate) fn is_off(entry: &Value) -> bool {
    entry.get("disabled") == Some(&Value::Bool(true))
        || entry.get("enabled") == Some(&Value::Bool(false))
}

fn codex(entry: &mut Map<String, Value>) {
    let mut headers = Map::new();
    if let Some(Value::Object(own)) = entry.remove("http_headers") {
        headers.extend(own);
    }
    if let Some(Value::Object(variables)) = entry.remove("env_http_headers") {
        for (header, variable) in variables {
            headers.insert(header, json!({ "env": variable }));
        }
    }
    if let Some(variable) = entry.remove("bearer_token_env_var") {
        headers.insert(
            "Authorization".to_owned(),
            json!({ "env": variable, "prefix": "Bearer " }),
        );
    }
    if !headers.is_empty() {
        entry.insert("headers".to_owned(), headers.into());
    }
    if let Some(seconds) = entry
        .remove("tool_timeout_sec")
        .and_then(|value| value.as_f64())
    {
        entry.insert(
            "timeout".to_owned(),
            json!((seconds * 1000.0).round() as u64),
        );
    }
    if let Some(seconds) = entry.remove("startup_timeout_sec") {
        entry.insert("pool".to_owned(), json!({ "connection_timeout": seconds }));
    }
    if let Some(Value::Array(names)) = entry.remove("env_vars") {
        let environment = entry.entry("env").or_insert_with(|| json!({}));
        for name in names.iter().filter_map(Value::as_str) {
            if environment.get(name).is_none() {
                environment[name] = format!("${{{name}:-}}").into();
            }
        }
    }
}

/// Zed's older form has a table under `command`. An entry with settings alone belongs to an extension.
fn zed(entry: &mut Map<String, Value>) -> Result<(), &'static str> {
    if let Some(Value::Object(command)) = entry.get("command").cloned() {
        entry.remove("command");
        for (theirs, ours) in [("path", "command"), ("args", "args"), ("env", "env")] {
            if let Some(value) = command.get(theirs).filter(|value| !value.is_null()) {
                entry.insert(ours.to_owned(), value.clone());
            }
        }
    }
    match entry.contains_key("command") || entry.contains_key("url") {
        true => Ok(()),
        false => Err("an extension of Zed starts it"),
    }
}

/// Lists of tools, which every client calls otherwise, as our own table.
fn tools(entry: &mut Map<String, Value>) {
    let mut take = |names: &[&str]| {
        let mut tools = Vec::new();
        for name in names {
            let is_list = |value: &&Value| {
                let list = value.as_array();
                list.is_some_and(|list| list.iter().all(Value::is_string))
            };
            if entry.get(*name).filter(is_list).is_some()
                && let Some(Value::Array(list)) = entry.remove(*name)
            {
                tools.extend(list);
            }
        }
        tools
    };
    let allow = take(&[
        "enabled_tools",
        "includeTools",
        "enabledTools",
        "allowedTools",
    ]);
    let deny = take(&["disabled_tools", "excludeTools", "disabledTools"]);
    for (field, tools) in [("allow", allow), ("deny", deny)] {
        if !tools.is_empty() {
            let table = entry.entry("aggregator").or_insert_with(|| json!({}));
            table[field] = tools.into();
        }
    }
}

/// Gemini CLI takes `$NAME` for a variable, too.
fn braces(value: &mut Value) {
    in_texts(value, &|text| {
        let mut braced = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at);
            braced.push_str(before);
            let name = &after[1..];
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = name.find(|c| !is_part(c)).unwrap_or(name.len());
            match name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                true => braced.push_str(&format!("${{{}}}", &name[..end])),
                false => braced.push_str(&after[..1 + end]),
            }
            rest = &name[end..];
        }
        braced + rest
    });
}

fn in_texts(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| in_texts(item, change)),
        Value::Object(table) => table.values_mut().for_each(|value| in_texts(value, change)),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(client: Client, entry: Value) -> Value {
        read(client, &entry, None).expect("the entry can be served")
    }

    #[test]
    fn tools_that_are_off_in_a_client_stay_off() {
        for (client, entry) in [
            (
                Client::Codex,
                json!({"command": "x", "enabled_tools": ["a"], "disabled_tools": ["b"]}),
            ),
            (
                Client::GeminiCli,
                json!({"command": "x", "includeTools": ["a"], "excludeTools": ["b"]}),
            ),
            (
                Client::Windsurf,
                json!({"command": "x", "enabledTools": ["a"], "disabledTools": ["b"]}),
            ),
        ] {
            let expected = json!({"command": "x", "aggregator": {"allow": ["a"], "deny": ["b"]}});
            assert_eq!(reads(client, entry), expected, "{client:?}");
        }
    }

    #[test]
    fn the_headers_and_times_of_codex_are_ours() {
        let entry = json!({
            "url": "https://example.com/mcp",
            "bearer_token_env_var": "TOKEN",
            "http_headers": {"A": "b"},
            "env_http_headers": {"C": "D"},
            "tool_timeout_sec": 30,
            "startup_timeout_sec": 5,
        });
        let expected = json!({
            "url": "https://example.com/mcp",
            "headers": {"A": "b", "C": {"env": "D"}, "Authorization": {"env": "TOKEN", "prefix": "Bearer "}},
            "timeout": 30000,
            "pool": {"connection_timeout": 5},
        });
        assert_eq!(reads(Client::Codex, entry), expected);
    }

    #[test]
    fn a_variable_of_gemini_has_braces_here() {
        let entry = json!({"command": "x", "env": {"A": "$B/c $", "D": "${E}$1"}});
        let expected = json!({"command": "x", "env": {"A": "${B}/c $", "D": "${E}$1"}});
        assert_eq!(reads(Client::GeminiCli, entry), expected);
    }

    #[test]
    fn both_forms_of_zed_are_read_and_extensions_are_not() {
        let old = json!({"command": {"path": "x", "args": ["a"], "env": null}, "settings": {}});
        let expected = json!({"command": "x", "args": ["a"], "settings": {}});
        assert_eq!(reads(Client::Zed, old), expected);
        assert!(read(Client::Zed, &json!({"settings": {"a": 1}}), None).is_err());
    }

    #[test]
    fn a_server_of_a_project_starts_in_its_folder() {
        let entry = json!({"command": "${workspaceFolder}/x", "cwd": "tools"});
        let read = read(Client::Cursor, &entry, Some(Path::new("/p"))).expect("it is served");
        assert_eq!(read, json!({"command": "/p/x", "cwd": "/p/tools"}));
    }
}
