//! Results of known kinds, part by part: what fits rmcp's types is kept, what does not is noted.
//!
//! A list keeps its good items. An item loses optional fields that do not fit, and is left out if a required one does
//! not. Content blocks and resource contents are never left out: see the module above.

use rmcp::model::{
    CallToolResult, ContentBlock, GetPromptResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, Prompt, PromptMessage, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate, ServerResult, Tool,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{DROPPED_FIELDS, UNDECODED_CONTENT};
use crate::redact::sanitize;

/// Notes that are kept of one message.
pub(super) const MAX_NOTES: usize = 20;

/// The result, and what was left out of it. `None` if it is of no kind that is known here.
pub(super) fn result(mut result: Value) -> Option<(ServerResult, Vec<String>)> {
    let fields = result.as_object_mut()?;
    // A result of another type has other fields.
    let is_complete = match fields.get("resultType") {
        Some(Value::String(kind)) => kind == "complete",
        _ => true,
    };
    is_complete.then_some(())?;
    let mut notes = Notes::default();
    let result = if let Some(tools) = fields.get_mut("tools") {
        keep_good::<Tool>(
            tools,
            "tool",
            json!({"name": "", "inputSchema": {}}),
            &mut notes,
        )?;
        let whole = whole::<ListToolsResult>(result, json!({"tools": []}), &mut notes)?;
        ServerResult::ListToolsResult(whole)
    } else if let Some(prompts) = fields.get_mut("prompts") {
        keep_good::<Prompt>(prompts, "prompt", json!({"name": ""}), &mut notes)?;
        let whole = whole::<ListPromptsResult>(result, json!({"prompts": []}), &mut notes)?;
        ServerResult::ListPromptsResult(whole)
    } else if let Some(resources) = fields.get_mut("resources") {
        let least = json!({"uri": "", "name": ""});
        keep_good::<Resource>(resources, "resource", least, &mut notes)?;
        let whole = whole::<ListResourcesResult>(result, json!({"resources": []}), &mut notes)?;
        ServerResult::ListResourcesResult(whole)
    } else if let Some(templates) = fields.get_mut("resourceTemplates") {
        let least = json!({"uriTemplate": "", "name": ""});
        keep_good::<ResourceTemplate>(templates, "resource template", least, &mut notes)?;
        let least = json!({"resourceTemplates": []});
        let whole = whole::<ListResourceTemplatesResult>(result, least, &mut notes)?;
        ServerResult::ListResourceTemplatesResult(whole)
    } else if let Some(contents) = fields.get_mut("contents") {
        contents.as_array_mut()?.iter_mut().for_each(read_contents);
        let whole = whole::<ReadResourceResult>(result, json!({"contents": []}), &mut notes)?;
        ServerResult::ReadResourceResult(whole)
    } else if let Some(messages) = fields.get_mut("messages") {
        for message in messages.as_array_mut()? {
            block(message.get_mut("content")?);
            let least = json!({"role": "user", "content": {"type": "text", "text": ""}});
            drop_unfit::<PromptMessage>(message, &least).ok()?;
        }
        let whole = whole::<GetPromptResult>(result, json!({"messages": []}), &mut notes)?;
        ServerResult::GetPromptResult(whole)
    } else if let Some(content) = fields.get_mut("content") {
        match content {
            Value::Array(blocks) => blocks.iter_mut().for_each(block),
            Value::Null => *content = json!([]),
            _ => {
                block(content);
                *content = json!([content.take()]);
            }
        }
        let whole = whole::<CallToolResult>(result, json!({"content": []}), &mut notes)?;
        ServerResult::CallToolResult(whole)
    } else {
        return None;
    };
    Some((result, notes.0))
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn add(&mut self, note: impl FnOnce() -> String) {
        if self.0.len() < MAX_NOTES {
            self.0.push(note());
        }
    }
}

/// Leaves the items that fit, without those of their optional fields that do not.
fn keep_good<T: DeserializeOwned>(
    list: &mut Value,
    noun: &str,
    least: Value,
    notes: &mut Notes,
) -> Option<()> {
    if list.is_null() {
        notes.add(|| format!("the list of {noun}s is null"));
        *list = json!([]);
    }
    let mut number = 0;
    list.as_array_mut()?.retain_mut(|item| {
        number += 1;
        let fitted = drop_unfit::<T>(item, &least);
        if matches!(&fitted, Ok(dropped) if dropped.is_empty()) {
            return true;
        }
        let name = match item.get("name") {
            Some(Value::String(name)) => sanitize(name, str::to_owned),
            _ => format!("number {number}"),
        };
        match &fitted {
            Ok(dropped) => {
                for (field, value) in dropped {
                    notes.add(|| format!("{noun} `{name}`: {}, ignored", is_unfit(field, value)));
                }
            }
            Err(reason) => notes.add(|| format!("{noun} `{name}` left out: {reason}")),
        }
        fitted.is_ok()
    });
    Some(())
}

/// The result itself, without those of its optional fields that do not fit.
fn whole<T: DeserializeOwned>(mut result: Value, least: Value, notes: &mut Notes) -> Option<T> {
    for (field, value) in drop_unfit::<T>(&mut result, &least).ok()? {
        notes.add(|| format!("the result: {}, ignored", is_unfit(&field, &value)));
    }
    serde_json::from_value(result).ok()
}

/// Takes the optional fields out of an object that do not fit its type, and adds a note for each. `None` if a required one
/// does not fit.
pub(crate) fn drop_unfit_noted<T: DeserializeOwned>(
    object: &mut Value,
    least: &Value,
    noun: &str,
    notes: &mut Vec<String>,
) -> Option<()> {
    for (field, value) in drop_unfit::<T>(object, least).ok()? {
        notes.push(format!("{noun}: {}, ignored", is_unfit(&field, &value)));
    }
    Some(())
}

/// A content block, in place. What cannot be decoded is kept as text.
fn block(block: &mut Value) {
    let least = match block.get("type").and_then(Value::as_str) {
        Some("text") => json!({"type": "text", "text": ""}),
        Some("image") => json!({"type": "image", "data": "", "mimeType": ""}),
        Some("audio") => json!({"type": "audio", "data": "", "mimeType": ""}),
        Some("resource") => json!({"type": "resource", "resource": {"uri": "", "text": ""}}),
        Some("resource_link") => json!({"type": "resource_link", "uri": "", "name": ""}),
        _ => json!({"type": null}),
    };
    if let Ok(dropped) = drop_unfit::<ContentBlock>(block, &least) {
        if !dropped.is_empty() {
            block["_meta"][DROPPED_FIELDS] = Value::Object(dropped);
        }
        return;
    }
    let kind = block.get("type").cloned().unwrap_or_default();
    let text = match &*block {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    *block = json!({"type": "text", "text": text, "_meta": {UNDECODED_CONTENT: kind}});
}

/// The contents of a resource, in place. What cannot be decoded is kept as text.
fn read_contents(contents: &mut Value) {
    let least = match contents.get("blob") {
        Some(Value::String(_)) => json!({"uri": "", "blob": ""}),
        _ => json!({"uri": "", "text": ""}),
    };
    match drop_unfit::<ResourceContents>(contents, &least) {
        Ok(dropped) if dropped.is_empty() => {}
        Ok(dropped) => contents["_meta"][DROPPED_FIELDS] = Value::Object(dropped),
        Err(_) => {
            let uri = contents.get("uri").and_then(Value::as_str);
            let uri = uri.unwrap_or_default().to_owned();
            let text = contents.to_string();
            *contents = json!({"uri": uri, "text": text, "_meta": {UNDECODED_CONTENT: null}});
        }
    }
}

/// Takes the optional fields out of an object that do not fit its type, and returns them. `least` is an object of this
/// type with its required fields alone: each field is tried in it, one at a time.
///
/// # Errors
/// Which required field does not fit, in words.
fn drop_unfit<T: DeserializeOwned>(
    object: &mut Value,
    least: &Value,
) -> Result<Map<String, Value>, String> {
    let fits = |value: &Value| T::deserialize(value).is_ok();
    if fits(object) {
        return Ok(Map::new());
    }
    let Value::Object(fields) = object else {
        return Err(format!("it is {}", kind(object)));
    };
    let required = least.as_object().into_iter().flat_map(Map::keys);
    for field in required.clone() {
        if !fields.contains_key(field) {
            return Err(format!("`{field}` is missing"));
        }
    }
    let mut unfit = Vec::new();
    for (field, value) in &*fields {
        let mut tried = least.clone();
        tried[field] = value.clone();
        if !fits(&tried) {
            unfit.push(field.clone());
        }
    }
    if let Some(field) = required.into_iter().find(|field| unfit.contains(field)) {
        return Err(is_unfit(field, &fields[field]));
    }
    let taken = unfit
        .into_iter()
        .filter_map(|field| fields.remove_entry(&field));
    let dropped = taken.collect();
    fits(object)
        .then_some(dropped)
        .ok_or_else(|| "its fields do not fit together".to_owned())
}

fn is_unfit(field: &str, value: &Value) -> String {
    let field = sanitize(field, str::to_owned);
    match value {
        Value::Object(_) | Value::Array(_) => format!("`{field}` cannot be decoded"),
        other => format!("`{field}` is {}", kind(other)),
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
