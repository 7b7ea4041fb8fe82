//! Fast path for the result of a tool call.
//!
//! A reply does not say what it replies to. rmcp tries one kind of result after the other until one fits; for the
//! result of a tool call, by far the most frequent, that is the sixteenth, and more work than all the rest of a call.
//! But a result with no field besides those of a tool call's can hardly be anything else. It is read as one, and only
//! what is not, or might not be, goes the long way: what comes out is the same.

use std::{fmt, marker::PhantomData};

use rmcp::{
    RoleClient,
    model::{
        CallToolResult, ContentBlock, JsonRpcMessage, JsonRpcResponse, JsonRpcVersion2_0,
        MetaObject, RequestId, ResultType, ServerResult,
    },
    service::RxJsonRpcMessage,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

/// The reply to a tool call, if it is certain to be one.
pub(super) fn parse(line: &[u8]) -> Option<RxJsonRpcMessage<RoleClient>> {
    let Object(reply): Object<Reply> = serde_json::from_slice(line).ok()?;
    Some(JsonRpcMessage::Response(JsonRpcResponse {
        jsonrpc: reply.jsonrpc,
        id: reply.id,
        result: ServerResult::CallToolResult(reply.result.0.into_result()?),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    jsonrpc: JsonRpcVersion2_0,
    id: RequestId,
    result: Object<Fields>,
}

/// The fields of [`CallToolResult`], and no others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fields {
    result_type: Option<ResultType>,
    content: Option<Vec<ContentBlock>>,
    #[serde(default, deserialize_with = "present")]
    structured_content: Option<Value>,
    is_error: Option<bool>,
    #[serde(rename = "_meta")]
    meta: Option<MetaObject>,
}

impl Fields {
    fn into_result(self) -> Option<CallToolResult> {
        let complete = self
            .result_type
            .as_ref()
            .is_none_or(ResultType::is_complete);
        let telling =
            self.content.is_some() || self.structured_content.is_some() || self.is_error.is_some();
        // The end of a subscription is a result type and this, and is tried first.
        let subscription = self
            .meta
            .as_ref()
            .is_some_and(|meta| meta.contains_key(SUBSCRIPTION_ID));
        if !complete || !telling || subscription {
            return None;
        }
        let mut result = CallToolResult::default();
        result.result_type = self.result_type;
        result.content = self.content.unwrap_or_default();
        result.structured_content = self.structured_content;
        result.is_error = self.is_error;
        result.meta = self.meta;
        Some(result)
    }
}

/// A JSON object: serde takes arrays for structs as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Structured content may be null, which is not the same as none.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Both ways lead to the same, down to the text of an error.
    fn assert_same(line: &[u8]) {
        let long: serde_json::Result<RxJsonRpcMessage<RoleClient>> = serde_json::from_slice(line);
        let shown = String::from_utf8_lossy(line);
        if let Some(short) = parse(line) {
            assert_eq!(
                format!("{:?}", Ok::<_, ()>(short)),
                format!("{long:?}"),
                "{shown}"
            );
        }
    }

    /// Results that are read the short way.
    fn ordinary() -> Vec<Value> {
        let text = json!([{"type": "text", "text": "hi"}]);
        vec![
            json!({"content": []}),
            json!({"content": text}),
            json!({"content": text, "isError": false}),
            json!({"content": text, "isError": true, "_meta": {"a": {"b": [1, 2.5, null]}}}),
            json!({"resultType": "complete", "content": text}),
            json!({"resultType": null, "content": null, "isError": true}),
            json!({"content": text, "structuredContent": {"z": 1, "a": [u64::MAX, i64::MIN, 1e300]}}),
            json!({"content": text, "structuredContent": null}),
            json!({"structuredContent": [1, "two"]}),
            json!({"isError": false, "_meta": null}),
            json!({"content": [
                {"type": "text", "text": "a", "annotations": {"audience": ["user"], "priority": 0.3}, "more": 1},
                {"type": "image", "data": "AA==", "mimeType": "image/png", "_meta": {"x": 1}},
                {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
                {"type": "resource", "resource": {"uri": "a:b", "text": "c", "mimeType": "text/plain"}},
                {"type": "resource", "resource": {"uri": "a:b", "blob": "AA=="}},
                {"type": "resource_link", "uri": "a:b", "name": "c", "size": 3},
            ]}),
        ]
    }

    /// Results that a tool call may have as well, or that look like one.
    fn others() -> Vec<Value> {
        let text = json!([{"type": "text", "text": "hi"}]);
        let task = json!({
            "taskId": "t", "status": "working", "ttlMs": 1, "ttl": 1,
            "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
        });
        let with = |base: &Value, more: Value| {
            let mut base = base.clone();
            let more = more.as_object().unwrap().clone();
            base.as_object_mut().unwrap().extend(more);
            base
        };
        vec![
            json!({}),
            json!(null),
            json!([]),
            json!("text"),
            json!([null, [], null, true, null]),
            json!(["complete", [], null, true, null]),
            json!({"_meta": {}}),
            json!({"resultType": "complete"}),
            json!({"resultType": "complete", "_meta": {}}),
            json!({"resultType": "complete", "custom": 1}),
            json!({"toolResult": {"old": true}}),
            json!({"content": text, "extra": 1}),
            json!({"content": "text"}),
            json!({"content": [{"type": "hologram"}]}),
            json!({"content": ["text"]}),
            json!({"content": [["text", "hi"]]}),
            json!({"content": text, "isError": "yes"}),
            json!({"content": text, "_meta": []}),
            json!({"content": text, "action": "accept"}),
            json!({"content": {}, "action": "decline"}),
            json!({"content": text, "messages": []}),
            json!({"content": text, "tools": []}),
            json!({"content": text, "prompts": []}),
            json!({"content": text, "resources": []}),
            json!({"content": text, "contents": []}),
            json!({"content": text, "skills": []}),
            json!({"content": text, "completion": {"values": []}}),
            json!({"content": text, "protocolVersion": "2025-06-18", "capabilities": {},
                "serverInfo": {"name": "a", "version": "1"}}),
            json!({"resultType": "complete", "content": text, "_meta": {SUBSCRIPTION_ID: 1}}),
            json!({"resultType": "complete", "content": text, "_meta": {SUBSCRIPTION_ID: {}}}),
            json!({"content": text, "_meta": {SUBSCRIPTION_ID: "a"}}),
            json!({"resultType": "input_required", "requestState": "s"}),
            json!({"resultType": "input_required", "content": text}),
            json!({"resultType": "input_required", "inputRequests": {"a": {
                "method": "elicitation/create",
                "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
            }}}),
            json!({"resultType": "of the future", "content": text}),
            json!({"resultType": 1, "content": text}),
            with(&task, json!({"resultType": "task"})),
            with(&task, json!({"resultType": "complete"})),
            with(&task, json!({"content": text})),
            json!({"task": task}),
            json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}], "nextCursor": ""}),
        ]
    }

    fn reply(result: &Value) -> Vec<u8> {
        json!({"jsonrpc": "2.0", "id": 7, "result": result})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_ordinary_reply_is_read_the_short_way_and_as_rmcp_reads_it() {
        for result in ordinary() {
            let line = reply(&result);
            assert!(parse(&line).is_some(), "{result}");
            assert_same(&line);
        }
    }

    #[test]
    fn what_might_be_something_else_is_read_the_long_way() {
        for result in others() {
            let line = reply(&result);
            assert!(parse(&line).is_none(), "{result}");
            assert_same(&line);
        }
    }

    #[test]
    fn every_envelope_is_read_as_rmcp_reads_it() {
        let deep = "[".repeat(130) + &"]".repeat(130);
        let lines = [
            r#"{"jsonrpc":"2.0","id":"a","result":{"content":[]}}"#,
            r#"{"result":{"content":[]},"id":1,"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":18446744073709551615,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","result":{"content":[]}}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{"content":[]}}"#,
            r#"{"id":1,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"error":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"more":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]},"result":{"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"content":[]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"a":1,"a":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","type":"text","text":""}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\ud800"}]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":1e999}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":-0}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":123456789012345678901234567890}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}} trailing"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}"#,
            r#"["2.0",1,{"content":[]}]"#,
            r#"[{"jsonrpc":"2.0","id":1,"result":{"content":[]}}]"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no","data":{}}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
            "null",
            "",
        ];
        for line in lines {
            assert_same(line.as_bytes());
        }
        assert_same(
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{deep}}}}}"#)
                .as_bytes(),
        );
        assert_same(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[],\"_meta\":{\"\xFF\":1}}}",
        );
    }

    /// Fields of any result there is, with a value that suits one of them, or not.
    fn result() -> impl Strategy<Value = Value> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        for result in ordinary().iter().chain(&others()) {
            for (name, value) in result.as_object().into_iter().flatten() {
                fields.push((name.clone(), value.clone()));
            }
        }
        let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
        let values: Vec<Value> = fields.iter().map(|(_, value)| value.clone()).collect();
        let suiting = prop::sample::select(fields);
        let wild = (prop::sample::select(names), prop::sample::select(values));
        prop::collection::vec(prop_oneof![9 => suiting, 1 => wild], 0..6)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn any_mixture_of_fields_is_read_as_rmcp_reads_it(result in result()) {
            assert_same(&reply(&result));
        }

        #[test]
        fn a_damaged_reply_is_read_as_rmcp_reads_it(
            result in prop::sample::select(ordinary()),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let mut line = reply(&result);
            for (at, byte) in damage {
                let at = at.index(line.len());
                line[at] = byte;
            }
            if is_cut {
                line.truncate(cut.index(line.len()));
            }
            assert_same(&line);
        }
    }
}
