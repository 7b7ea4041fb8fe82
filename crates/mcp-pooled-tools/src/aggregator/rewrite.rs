//! What is rewritten in items and replies of a server: names, URIs and ids of tasks. Everything else arrives as it was
//! sent.

use serde_json::value::RawValue;

use super::{
    edits::{Edits, elements, members},
    kind::ListKind,
};

/// How a URI stands in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mention {
    /// The client is to read it.
    Link,
    /// Its content comes with it.
    Content,
}

/// A URI of the server as clients are to have it; `None` if it stays what it is.
pub(crate) type ExposedUri<'a> = &'a dyn Fn(&str, Mention) -> Option<String>;

/// A tool under another name, and with another description if there is one.
pub(crate) fn tool(
    tool: &RawValue,
    name: &str,
    description: Option<&str>,
    uri: ExposedUri<'_>,
) -> Box<RawValue> {
    let mut edits = Edits::of(tool);
    let all = members(tool);
    edits.map(all.get("name"), |own| {
        (own != name).then(|| name.to_owned())
    });
    if let Some(description) = description {
        edits.set(tool, "description", description);
    }
    user_interface(&mut edits, all.get("_meta"), uri);
    finish(edits, tool)
}

/// The URIs of the user interface that a tool names in its `_meta`.
pub(crate) fn named_by_tool(tool: &RawValue) -> Vec<String> {
    let all = members(tool);
    let meta = all.get("_meta").map(members).unwrap_or_default();
    let nested = meta.get("ui").map(members).unwrap_or_default();
    let flat = UI_MEMBERS.iter().filter_map(|name| meta.parse(name));
    flat.chain(nested.parse("resourceUri")).collect()
}

fn user_interface<'a>(edits: &mut Edits<'a>, meta: Option<&'a RawValue>, uri: ExposedUri<'_>) {
    let meta = meta.map(members).unwrap_or_default();
    for name in UI_MEMBERS {
        edits.map(meta.get(name), |own| uri(own, Mention::Link));
    }
    if let Some(nested) = meta.get("ui") {
        edits.map(members(nested).get("resourceUri"), |own| {
            uri(own, Mention::Link)
        });
    }
}

/// An item of another kind under another name, URI or template.
pub(crate) fn item(kind: ListKind, item: &RawValue, exposed: &str) -> Box<RawValue> {
    let mut edits = Edits::of(item);
    let key = members(item).get(kind.key());
    edits.map(key, |own| (own != exposed).then(|| exposed.to_owned()));
    finish(edits, item)
}

fn finish(edits: Edits<'_>, original: &RawValue) -> Box<RawValue> {
    edits.finish().unwrap_or_else(|| original.to_owned())
}

/// A server's reply to a request of this method; `None` if nothing in it is rewritten.
pub(crate) fn reply(
    method: &str,
    reply: &RawValue,
    uri: ExposedUri<'_>,
    task: &dyn Fn(&str) -> String,
) -> Option<Box<RawValue>> {
    let text = reply.get();
    let has = |names: &[&str]| names.iter().any(|name| text.contains(name));
    // A search is much cheaper than a parse, and most results name neither.
    if !has(&[
        "\"uri\"",
        "\"taskId\"",
        "esourceUri\"",
        "\"openai/outputTemplate\"",
    ]) {
        return None;
    }
    let mut edits = Edits::of(reply);
    let all = members(reply);
    match method {
        "tools/call" => {
            for block in elements(all.get("content")) {
                content(&mut edits, block, uri);
            }
            user_interface(&mut edits, all.get("_meta"), uri);
        }
        "prompts/get" => {
            for message in elements(all.get("messages")) {
                match members(message).get("content") {
                    Some(one) if one.get().starts_with('{') => content(&mut edits, one, uri),
                    many => {
                        for block in elements(many) {
                            content(&mut edits, block, uri);
                        }
                    }
                }
            }
        }
        "resources/read" => {
            for one in elements(all.get("contents")) {
                edits.map(members(one).get("uri"), |own| uri(own, Mention::Content));
            }
        }
        "resources/directory/read" => {
            for one in elements(all.get("resources")) {
                edits.map(members(one).get("uri"), |own| uri(own, Mention::Link));
            }
        }
        _ => {}
    }
    edits.map(all.get("taskId"), |own| Some(task(own)));
    if let Some(inner) = all.get("task") {
        edits.map(members(inner).get("taskId"), |own| Some(task(own)));
    }
    edits.finish()
}

/// A block of content, which may link to a resource or contain one.
fn content<'a>(edits: &mut Edits<'a>, block: &'a RawValue, uri: ExposedUri<'_>) {
    let all = members(block);
    match all.parse::<String>("type").as_deref() {
        Some("resource_link") => edits.map(all.get("uri"), |own| uri(own, Mention::Link)),
        Some("resource") => {
            if let Some(resource) = all.get("resource") {
                edits.map(members(resource).get("uri"), |own| {
                    uri(own, Mention::Content)
                });
            }
        }
        _ => {}
    }
}

/// Parameters of a request with another value of one member, or of a member of that: `["ref", "uri"]`.
pub(crate) fn params(params: &RawValue, path: &[&str], to: &str) -> Box<RawValue> {
    let mut edits = Edits::of(params);
    if let Some(value) = at(params, path) {
        edits.replace(value, to);
    }
    finish(edits, params)
}

/// The value at a path of members.
pub(crate) fn at<'a>(value: &'a RawValue, path: &[&str]) -> Option<&'a RawValue> {
    path.iter()
        .try_fold(value, |value, name| members(value).get(name))
}

/// Members of a tool's `_meta` that name its user interface: of MCP Apps in their older form, and of the Apps SDK.
const UI_MEMBERS: [&str; 2] = ["ui/resourceUri", "openai/outputTemplate"];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn wrapped(uri: &str, mention: Mention) -> Option<String> {
        (mention == Mention::Link).then(|| format!("w:{uri}"))
    }

    fn value(raw: &RawValue) -> Value {
        serde_json::from_str(raw.get()).unwrap()
    }

    fn replied(method: &str, result: &Value) -> Option<Value> {
        let raw = to_raw_value(result).unwrap();
        let rewritten = reply(method, &raw, &wrapped, &|id| format!("t:{id}"));
        rewritten.map(|raw| value(&raw))
    }

    #[test]
    fn a_tool_keeps_what_is_not_its_name() {
        let own = json!({
            "name": "a", "odd": {"x": [1, null]}, "inputSchema": {"name": "a"},
            "_meta": {"ui": {"resourceUri": "ui://w", "more": 1}, "openai/outputTemplate": "ui://o"},
        });
        let raw = to_raw_value(&own).unwrap();
        assert_eq!(named_by_tool(&raw), ["ui://o", "ui://w"]);
        let mut expected = own;
        expected["name"] = "s__a".into();
        expected["description"] = "mine".into();
        expected["_meta"]["ui"]["resourceUri"] = "w:ui://w".into();
        expected["_meta"]["openai/outputTemplate"] = "w:ui://o".into();
        assert_eq!(value(&tool(&raw, "s__a", Some("mine"), &wrapped)), expected);
    }

    #[test]
    fn links_of_a_tool_s_result_are_rewritten_and_data_is_not() {
        let result = json!({
            "content": [
                {"type": "resource_link", "uri": "x://1", "name": "one"},
                {"type": "resource", "resource": {"uri": "x://2", "text": "two"}},
                {"type": "hologram", "uri": "x://3"},
            ],
            "structuredContent": {"uri": "x://4", "type": "resource_link"},
        });
        let mut expected = result.clone();
        expected["content"][0]["uri"] = "w:x://1".into();
        assert_eq!(replied("tools/call", &result), Some(expected));
        assert_eq!(
            replied(
                "tools/call",
                &json!({"content": [{"type": "text", "text": "x"}]})
            ),
            None
        );
    }

    #[test]
    fn links_of_prompts_are_rewritten_in_both_forms_of_content() {
        let link = json!({"type": "resource_link", "uri": "x://1", "name": "one"});
        let result = json!({"messages": [{"role": "user", "content": link}, {"content": [link]}]});
        let rewritten = replied("prompts/get", &result).unwrap();
        assert_eq!(rewritten["messages"][0]["content"]["uri"], "w:x://1");
        assert_eq!(rewritten["messages"][1]["content"][0]["uri"], "w:x://1");
    }

    #[test]
    fn a_task_s_id_names_its_server_on_the_way_down() {
        for result in [json!({"taskId": "7"}), json!({"task": {"taskId": "7"}})] {
            let rewritten = replied("tools/call", &result).unwrap();
            assert!(rewritten.to_string().contains("t:7"), "{rewritten}");
        }
    }

    #[test]
    fn parameters_are_changed_in_one_place() {
        let raw = RawValue::from_string("{\"ref\": {\"uri\":\"a\"},\"uri\":1}".to_owned()).unwrap();
        assert_eq!(
            params(&raw, &["ref", "uri"], "b").get(),
            "{\"ref\": {\"uri\":\"b\"},\"uri\":1}"
        );
        assert!(at(&raw, &["ref", "name"]).is_none());
    }
}
