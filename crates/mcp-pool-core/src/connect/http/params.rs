//! Arguments that a server wants repeated in headers (SEP-2243).
//!
//! From 2026-07-28 on, the schema of a tool may name some. Calls carry the headers of the tools that were seen in a list.
//! The first session of such a server begins with one. So does every further one where tools want headers: rmcp, too, sends
//! those of the tools that it has seen, on the same transport.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use rmcp::{
    RoleClient,
    model::{ClientRequest, ErrorCode, ListToolsRequest, PaginatedRequestParams, ServerResult},
    service::{Peer, ServiceError},
};
use serde::Deserialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::header_value;
use crate::redact::sanitize;

/// The field of a property's schema that names its header, and what such headers begin with.
const MARK: &str = "x-mcp-header";
const PREFIX: &str = "mcp-param-";

/// Which arguments the tools of a server want in headers, as all its sessions know it.
#[derive(Clone, Debug, Default)]
pub(super) struct ParamHeaders(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// All tools have been seen once.
    is_whole: bool,
    tools: HashMap<String, Arc<[Param]>>,
}

/// An argument, by the names of the properties that lead to it, and its header.
#[derive(Debug, PartialEq, Eq)]
struct Param {
    path: Vec<String>,
    header: HeaderName,
}

impl ParamHeaders {
    /// Whether a session has to see the list of tools before its first call.
    pub(super) fn may_be_needed(&self) -> bool {
        let known = self.0.lock();
        !known.is_whole || !known.tools.is_empty()
    }

    /// Sees all tools of a session that was just opened. A list without end is left as every other one: at a cursor that the
    /// server gave before, or after a number of pages.
    pub(super) async fn learn(&self, peer: &Peer<RoleClient>) {
        const MAX_PAGES: usize = 1_000;
        let mut cursor = None;
        let (mut cursors, hasher) = (HashSet::new(), RandomState::new());
        for _ in 0..MAX_PAGES {
            let page = ListToolsRequest {
                params: Some(PaginatedRequestParams::default().with_cursor(cursor)),
                ..ListToolsRequest::default()
            };
            let request = ClientRequest::ListToolsRequest(page);
            let list = match peer.send_request(request).await {
                Ok(ServerResult::ListToolsResult(list)) => list,
                // Servers without tools answer with an error, which is as good as an empty list.
                Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => {
                    break;
                }
                // Nothing has been learnt: the next session tries again.
                _ => return,
            };
            for tool in &list.tools {
                let schema = Value::Object((*tool.input_schema).clone());
                let _ = self.note(&tool.name, &schema);
            }
            cursor = list.next_cursor;
            let next = cursor.as_ref().map(|next| hasher.hash_one(next));
            if next.is_none_or(|next| !cursors.insert(next)) {
                break;
            }
        }
        self.0.lock().is_whole = true;
    }

    /// Whether a list has something to be read by [`ParamHeaders::read_list`].
    pub(super) fn concern(&self, list: &RawValue) -> bool {
        !self.0.lock().tools.is_empty()
            || memchr::memmem::find(list.get().as_bytes(), MARK.as_bytes()).is_some()
    }

    /// Takes in a list of tools. Returns it without the tools whose headers are against the protocol, which says that they
    /// are to be left out, and the reasons.
    pub(super) fn read_list(&self, list: Box<RawValue>) -> (Box<RawValue>, Vec<String>) {
        #[derive(Deserialize)]
        struct Tool {
            name: String,
            #[serde(default, rename = "inputSchema")]
            schema: Value,
        }
        let Ok(mut members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(list.get())
        else {
            return (list, Vec::new());
        };
        let tools = members.get("tools");
        let tools =
            tools.and_then(|tools| serde_json::from_str::<Vec<&RawValue>>(tools.get()).ok());
        let mut notes = Vec::new();
        let mut tools = tools.unwrap_or_default();
        tools.retain(|tool| {
            let Ok(tool) = serde_json::from_str::<Tool>(tool.get()) else {
                return true;
            };
            let noted = self.note(&tool.name, &tool.schema);
            if let Err(reason) = &noted {
                let name = sanitize(&tool.name, str::to_owned);
                notes.push(format!("tool `{name}` left out: {reason}"));
            }
            noted.is_ok()
        });
        if notes.is_empty() {
            return (list, notes);
        }
        let Ok(tools) = to_raw_value(&tools) else {
            return (list, notes);
        };
        members.insert("tools".to_owned(), &tools);
        let without = to_raw_value(&members);
        (without.unwrap_or(list), notes)
    }

    /// Notes what a tool wants.
    ///
    /// # Errors
    /// What is wrong with it.
    fn note(&self, tool: &str, schema: &Value) -> Result<(), String> {
        /// Tools beyond these get no headers.
        const MOST: usize = 10_000;
        let mut params = Vec::new();
        collect(schema, Some(&[]), &mut params)?;
        let tools = &mut self.0.lock().tools;
        if params.is_empty() {
            tools.remove(tool);
        } else if tools.len() < MOST || tools.contains_key(tool) {
            tools.insert(tool.to_owned(), params.into());
        }
        Ok(())
    }

    /// The headers of a call. Arguments that are missing, and those that are no text, number or boolean, have none.
    pub(super) fn of_call(&self, tool: &str, arguments: Option<&RawValue>) -> HeaderMap {
        let params = self.0.lock().tools.get(tool).cloned();
        let params = params.iter().flat_map(|params| params.iter());
        let headers = params.filter_map(|Param { path, header }| {
            let text = match at(arguments?, path)? {
                Value::String(text) => text,
                value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
                _ => return None,
            };
            let value = HeaderValue::try_from(header_value::encoded(text)).ok()?;
            Some((header.clone(), value))
        });
        headers.collect()
    }
}

/// The value to which the names of properties lead.
fn at(json: &RawValue, path: &[String]) -> Option<Value> {
    let Some((name, rest)) = path.split_first() else {
        return serde_json::from_str(json.get()).ok();
    };
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json.get()).ok()?;
    at(fields.get(name)?, rest)
}

/// Collects the arguments of a schema that are wanted in headers. They have to be properties, which `path` leads to; it is
/// `None` in other parts of a schema.
fn collect(schema: &Value, path: Option<&[String]>, into: &mut Vec<Param>) -> Result<(), String> {
    if let Value::Array(items) = schema {
        return items.iter().try_for_each(|item| collect(item, None, into));
    }
    for (key, value) in schema.as_object().into_iter().flatten() {
        match key.as_str() {
            MARK => {
                let path = path.filter(|path| !path.is_empty());
                let path =
                    path.ok_or_else(|| format!("`{MARK}` stands outside of `properties`"))?;
                into.push(param(path, schema, value, into)?);
            }
            "properties" => {
                for (name, property) in value.as_object().into_iter().flatten() {
                    let longer = path.map(|path| [path, std::slice::from_ref(name)].concat());
                    collect(property, longer.as_deref(), into)?;
                }
            }
            "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" => {
                let mut schemas = value.as_object().into_iter().flat_map(|all| all.values());
                schemas.try_for_each(|schema| collect(schema, None, into))?;
            }
            // These hold values, or names of properties.
            "default" | "const" | "enum" | "examples" | "dependentRequired" => {}
            _ => collect(value, None, into)?,
        }
    }
    Ok(())
}

fn param(path: &[String], schema: &Value, mark: &Value, others: &[Param]) -> Result<Param, String> {
    let name = sanitize(&path.join("."), str::to_owned);
    let kind = schema.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean")) {
        return Err(format!("`{name}` is no text, integer or boolean"));
    }
    let mark = mark.as_str().filter(|mark| !mark.is_empty());
    let header = mark.and_then(|mark| HeaderName::try_from(format!("{PREFIX}{mark}")).ok());
    let header = header.ok_or_else(|| format!("`{MARK}` of `{name}` is no name of a header"))?;
    if others.iter().any(|other| other.header == header) {
        return Err(format!("`{MARK}` of `{name}` stands there twice"));
    }
    let path = path.to_vec();
    Ok(Param { path, header })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).unwrap()
    }

    fn tool(name: &str, properties: &Value) -> Value {
        json!({"name": name, "inputSchema": {"type": "object", "properties": properties}})
    }

    fn text(header: &str) -> Value {
        json!({"type": "string", MARK: header})
    }

    #[test]
    fn arguments_at_any_depth_are_repeated_in_their_headers() {
        let known = ParamHeaders::default();
        let list = raw(&json!({"more": [null], "tools": [tool("a", &json!({
            "region": text("Region"),
            "where": {"type": "object", "properties": {
                "x": {"type": "integer", MARK: "X"}, "on": {"type": "boolean", MARK: "On"},
            }},
            "missing": text("Missing"),
        }))]}));
        assert!(known.concern(&list));
        let (same, notes) = known.read_list(list.clone());
        assert_eq!((same.get(), notes.len()), (list.get(), 0));
        let arguments = raw(&json!({"region": "caf\u{e9}", "where": {"x": 7, "on": true}}));
        let headers = known.of_call("a", Some(&arguments));
        let expected = [
            ("mcp-param-region", "=?base64?Y2Fmw6k=?="),
            ("mcp-param-x", "7"),
            ("mcp-param-on", "true"),
        ];
        assert_eq!(headers.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(headers[name], value);
        }
        assert!(known.of_call("b", Some(&arguments)).is_empty());
        assert!(
            known
                .of_call("a", Some(&raw(&json!({"region": []}))))
                .is_empty()
        );
        assert!(known.of_call("a", None).is_empty());
    }

    #[test]
    fn a_tool_that_wants_no_header_any_more_gets_none() {
        let known = ParamHeaders::default();
        let arguments = raw(&json!({"region": "north"}));
        let wanted = |properties: &Value| {
            let list = raw(&json!({"tools": [tool("a", properties)]}));
            if known.concern(&list) {
                known.read_list(list);
            }
            known.of_call("a", Some(&arguments)).len()
        };
        assert_eq!(wanted(&json!({"region": {"type": "string"}})), 0);
        assert_eq!(wanted(&json!({"region": text("Region")})), 1);
        assert_eq!(wanted(&json!({"region": {"type": "string"}})), 0);
    }

    #[test]
    fn tools_whose_headers_are_against_the_protocol_are_left_out_with_the_reason() {
        for (bad, reason) in [
            (
                json!({"a": text("")}),
                "`x-mcp-header` of `a` is no name of a header",
            ),
            (
                json!({"a": text("b c")}),
                "`x-mcp-header` of `a` is no name of a header",
            ),
            (
                json!({"a": {"type": "string", MARK: 1}}),
                "`x-mcp-header` of `a` is no name of a header",
            ),
            (
                json!({"a": {"type": "number", MARK: "A"}}),
                "`a` is no text, integer or boolean",
            ),
            (
                json!({"a": text("A"), "b": text("a")}),
                "`x-mcp-header` of `b` stands there twice",
            ),
            (
                json!({"a": {"type": "array", "items": text("A")}}),
                "`x-mcp-header` stands outside of `properties`",
            ),
            (
                json!({"a": {"anyOf": [text("A")]}}),
                "`x-mcp-header` stands outside of `properties`",
            ),
        ] {
            let known = ParamHeaders::default();
            let good = tool(
                "good",
                &json!({MARK: {"type": "string"}, "a": {"enum": [{MARK: 1}]}}),
            );
            let list = json!({"tools": [tool("bad", &bad), good], "other": 1.5});
            let (list, notes) = known.read_list(raw(&list));
            assert_eq!(notes, [format!("tool `bad` left out: {reason}")]);
            let list: Value = serde_json::from_str(list.get()).unwrap();
            assert_eq!(list, json!({"tools": [good], "other": 1.5}));
            assert!(!known.0.lock().tools.contains_key("bad"));
        }
    }
}
