use rmcp::model::{CallToolResult, ContentBlock, ListToolsResult};
use serde_json::json;

use super::*;

const MIB: usize = 1024 * 1024;

fn decoded(text: impl AsRef<[u8]>) -> Decoded {
    decode(text.as_ref(), 16 * MIB)
}

fn of_result(result: &Value) -> Decoded {
    decoded(json!({"jsonrpc": "2.0", "id": 7, "result": result}).to_string())
}

fn result(decoded: &Decoded) -> ServerResult {
    match &decoded.message {
        Some(JsonRpcMessage::Response(response)) => {
            assert_eq!(response.id, RequestId::Number(7));
            response.result.clone()
        }
        other => panic!("no response: {other:?}"),
    }
}

fn call(decoded: &Decoded) -> CallToolResult {
    match result(decoded) {
        ServerResult::CallToolResult(result) => result,
        other => panic!("no result of a tool call: {other:?}"),
    }
}

fn tools(decoded: &Decoded) -> ListToolsResult {
    match result(decoded) {
        ServerResult::ListToolsResult(list) => list,
        other => panic!("no list of tools: {other:?}"),
    }
}

fn error(text: impl AsRef<[u8]>) -> ErrorData {
    match decoded(text).message {
        Some(JsonRpcMessage::Error(error)) => {
            assert_eq!(error.id, Some(RequestId::Number(7)));
            error.error
        }
        other => panic!("no error: {other:?}"),
    }
}

fn texts(result: &CallToolResult) -> Vec<&str> {
    let texts = result.content.iter().filter_map(ContentBlock::as_text);
    texts.map(|text| text.text.as_str()).collect()
}

#[test]
fn text_that_is_not_unicode_is_read_with_replacements() {
    let line = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"caf\xe9\"}]}}";
    assert_eq!(texts(&call(&decoded(line))), ["caf\u{fffd}"]);
    let line =
        br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a\ud83d b"}]}}"#;
    let decoded = decoded(line);
    assert_eq!(texts(&call(&decoded)), ["a\u{fffd} b"]);
    assert!(!decoded.exact);
}

#[test]
fn a_reply_that_cannot_be_decoded_ends_its_call_with_the_reason() {
    let deep = r#"{"a":"#.repeat(150) + "1" + &"}".repeat(150);
    for (line, reason) in [
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"v":NaN}}}"#
                .into(),
            "it is not JSON: expected value at line 1",
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"v":1e400}}}"#
                .into(),
            "it is not JSON: number out of range",
        ),
        (
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"structuredContent":{deep}}}}}"#),
            "it is nested more than 125 levels deep",
        ),
        (
            r#"{"id":7,"result":{"content":[]}}"#.into(),
            r#"it lacks "jsonrpc": "2.0""#,
        ),
        (
            r#"{"jsonrpc":"1.0","id":7,"result":{"content":[]}}"#.into(),
            r#"it lacks "jsonrpc": "2.0""#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7}"#.into(),
            "it has neither a result nor an error",
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"te"#.into(),
            "it breaks off",
        ),
        (
            format!(
                r#"{{"jsonrpc":"2.0","id":7,"result":[{}0]}}"#,
                r#"{"":0},"#.repeat(MIB)
            ),
            "it holds too many values (max_message_size)",
        ),
    ] {
        let error = error(line);
        let message = format!("the server's reply could not be decoded: {reason}");
        assert!(error.message.starts_with(&message), "{}", error.message);
    }
}

#[test]
fn a_null_beside_result_or_error_is_none() {
    let ok = decoded(r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]},"error":null}"#);
    assert_eq!(call(&ok).content, []);
    let error =
        error(r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":-32000,"message":"boom"}}"#);
    assert_eq!((error.code.0, &*error.message), (-32000, "boom"));
}

#[test]
fn an_error_in_another_shape_keeps_the_words_of_the_server() {
    for (sent, code, message, data) in [
        (json!("it broke"), 0, "it broke", None),
        (
            json!({"code": "E_FAIL", "message": "it broke"}),
            0,
            "it broke (E_FAIL)",
            Some(json!({"code": "E_FAIL", "message": "it broke"})),
        ),
        (
            json!({"code": -32000}),
            -32000,
            "the server gave no message",
            None,
        ),
        (
            json!({"code": -32000.0, "message": "it broke", "data": [1]}),
            -32000,
            "it broke",
            Some(json!([1])),
        ),
        (
            json!({"code": 99_999_999_999_u64, "message": "it broke", "data": 1}),
            0,
            "it broke (99999999999)",
            Some(json!(1)),
        ),
        (json!(["a", 1]), 0, r#"["a",1]"#, None),
    ] {
        let error = error(json!({"jsonrpc": "2.0", "id": 7, "error": sent}).to_string());
        assert_eq!((error.code.0, &*error.message), (code, message), "{sent}");
        assert_eq!(error.data, data, "{sent}");
    }
}

#[test]
fn a_batch_of_one_message_is_that_message() {
    let one = r#" [ {"jsonrpc":"2.0","id":7,"result":{"content":[]}} ] "#;
    assert_eq!(call(&decoded(one)).content, []);
    let two = r#"[{"jsonrpc":"2.0","id":7,"result":{}},{"jsonrpc":"2.0","id":8,"result":{}}]"#;
    assert!(decoded(two).message.is_none());
}

#[test]
fn noise_is_no_message() {
    for line in [
        "",
        "listening on stdio",
        "[info] started",
        "{",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":null}"#,
        r#"{"id":null,"error":"database"}"#,
        r#"{"level":"error","id":7,"error":"database"}"#,
        "{\"message\":\"caf\u{e9}\"}",
        "[]",
        "null",
    ] {
        let decoded = decoded(line);
        assert!(decoded.message.is_none() && !decoded.exact, "{line}");
    }
}

#[test]
fn a_block_without_a_type_here_reaches_the_caller_as_its_json() {
    for modern in [false, true] {
        for block in [
            json!({"type": "hologram", "data": "AA=="}),
            json!({"type": "json", "json": {"doi": "10.1/x"}}),
            json!({"type": "resource_link", "uri": "ui://demo", "mimeType": "text/html"}),
            json!({"type": "text", "text": null}),
            json!({"type": "image", "data": "AA=="}),
            json!({"text": "no type"}),
        ] {
            let mut sent =
                json!({"content": [{"type": "text", "text": "kept"}, block], "isError": false});
            if modern {
                sent["resultType"] = json!("complete");
            }
            let result = call(&of_result(&sent));
            assert_eq!(result.is_error, Some(false));
            assert_eq!(texts(&result), ["kept", &block.to_string()]);
            let meta = result.content[1].as_text().unwrap().meta.clone().unwrap();
            assert_eq!(meta.get(UNDECODED_CONTENT), Some(&block["type"]));
        }
    }
}

#[test]
fn a_block_whose_optional_fields_do_not_fit_keeps_the_rest() {
    let annotations = json!({"audience": ["everyone"], "priority": 5});
    let sent = json!({"content": [{"type": "text", "text": "hi", "annotations": annotations, "_meta": {"a": 1}}]});
    let result = call(&of_result(&sent));
    assert_eq!(texts(&result), ["hi"]);
    let meta = result.content[0].as_text().unwrap().meta.clone().unwrap();
    assert_eq!(meta.get("a"), Some(&json!(1)));
    assert_eq!(meta[DROPPED_FIELDS], json!({"annotations": annotations}));
}

#[test]
fn content_that_is_no_list_is_a_list_of_one() {
    let sent = json!({"content": {"type": "text", "text": "alone"}});
    assert_eq!(texts(&call(&of_result(&sent))), ["alone"]);
    assert_eq!(
        texts(&call(&of_result(&json!({"content": "bare"})))),
        ["bare"]
    );
}

#[test]
fn a_result_of_another_type_is_left_alone() {
    for kind in ["input_required", "task", "of the future"] {
        let sent = json!({"resultType": kind, "content": [{"type": "hologram"}]});
        let decoded = of_result(&sent);
        assert!(decoded.exact, "{kind}");
        assert!(!matches!(result(&decoded), ServerResult::CallToolResult(_)));
    }
}

#[test]
fn a_faulty_tool_is_left_out_and_named() {
    let good = json!({"name": "good", "inputSchema": {"type": "object"}});
    for (faulty, note) in [
        (
            json!({"name": "bad"}),
            "tool `bad` left out: `inputSchema` is missing",
        ),
        (
            json!({"name": "bad", "inputSchema": null}),
            "tool `bad` left out: `inputSchema` is null",
        ),
        (
            json!({"name": "bad", "inputSchema": true}),
            "tool `bad` left out: `inputSchema` is a boolean",
        ),
        (
            json!({"inputSchema": {}}),
            "tool `number 2` left out: `name` is missing",
        ),
        (json!("bad"), "tool `number 2` left out: it is a text"),
    ] {
        for modern in [false, true] {
            let mut sent = json!({"tools": [good, faulty, good]});
            if modern {
                sent["resultType"] = json!("complete");
            }
            let decoded = of_result(&sent);
            let names: Vec<_> = tools(&decoded)
                .tools
                .into_iter()
                .map(|tool| tool.name)
                .collect();
            assert_eq!(names, ["good", "good"], "{faulty}");
            assert_eq!(decoded.notes, [note]);
        }
    }
}

#[test]
fn a_tool_loses_optional_fields_that_do_not_fit_and_stays() {
    let sent = json!({"tools": [{
        "name": "echo",
        "description": "echoes",
        "inputSchema": {"type": "object", "properties": [], "required": []},
        "annotations": {"readOnlyHint": "true", "title": 5},
        "icons": [{"src": "x", "sizes": "any"}],
        "_meta": [],
    }], "_meta": [], "cacheScope": "session", "ttlMs": 1500.5});
    let decoded = of_result(&sent);
    let list = tools(&decoded);
    let tool = &list.tools[0];
    assert_eq!(tool.description.as_deref(), Some("echoes"));
    assert!(tool.annotations.is_none() && tool.icons.is_none() && tool.meta.is_none());
    assert!(list.cache_scope.is_none() && list.ttl_ms.is_none());
    assert_eq!(
        decoded.notes,
        [
            "tool `echo`: `_meta` cannot be decoded, ignored",
            "tool `echo`: `annotations` cannot be decoded, ignored",
            "tool `echo`: `icons` cannot be decoded, ignored",
            "the result: `_meta` cannot be decoded, ignored",
            "the result: `cacheScope` is a text, ignored",
            "the result: `ttlMs` is a number, ignored",
        ]
    );
}

#[test]
fn the_other_lists_keep_their_good_items() {
    for (list, good, faulty, noun) in [
        (
            "prompts",
            json!({"name": "a"}),
            json!({"name": 1}),
            "prompt",
        ),
        (
            "resources",
            json!({"uri": "a:b", "name": "a"}),
            json!({"uri": "a:b"}),
            "resource",
        ),
        (
            "resourceTemplates",
            json!({"uriTemplate": "a:{b}", "name": "a"}),
            json!({"name": "b"}),
            "resource template",
        ),
    ] {
        let decoded = of_result(&json!({list: [faulty, good], "nextCursor": "c"}));
        let shown = serde_json::to_value(result(&decoded)).unwrap();
        assert_eq!(shown[list], json!([good]));
        assert_eq!(shown["nextCursor"], "c");
        assert!(decoded.notes[0].starts_with(noun), "{:?}", decoded.notes);
    }
}

#[test]
fn prompts_and_resources_keep_what_cannot_be_decoded_as_text() {
    let block = json!({"type": "hologram"});
    let decoded = of_result(&json!({"messages": [
        {"role": "user", "content": {"type": "text", "text": "hi"}},
        {"role": "assistant", "content": block},
    ]}));
    let ServerResult::GetPromptResult(prompt) = result(&decoded) else {
        panic!("no prompt")
    };
    let text = prompt.messages[1].content.as_text().unwrap();
    assert_eq!(text.text, block.to_string());

    let contents = json!({"uri": "a:b", "stream": 1});
    let decoded = of_result(&json!({"contents": [{"uri": "a:a", "text": "hi"}, contents]}));
    let ServerResult::ReadResourceResult(read) = result(&decoded) else {
        panic!("no contents")
    };
    let shown = serde_json::to_value(&read.contents[1]).unwrap();
    assert_eq!(shown["uri"], "a:b");
    assert_eq!(shown["text"], contents.to_string());
}

#[test]
fn notes_are_few_and_on_one_line() {
    let faulty = json!({"name": "a\n\u{1b}[2J"});
    let decoded = of_result(&json!({"tools": vec![faulty; 1_000]}));
    assert_eq!(decoded.notes.len(), lenient::MAX_NOTES);
    assert_eq!(
        decoded.notes[0],
        r"tool `a \u{1b}[2J` left out: `inputSchema` is missing"
    );
}

fn parsed<T: DeserializeOwned>(result: &Value) -> (Result<T, ServiceError>, Vec<String>) {
    parse_here(&serde_json::value::to_raw_value(result).unwrap())
}

#[test]
fn what_a_tool_returned_without_content_is_its_content() {
    for (sent, shown) in [
        (json!({"success": true}), r#"{"success":true}"#),
        (
            json!({"toolResult": {"old": 1}}),
            r#"{"toolResult":{"old":1}}"#,
        ),
        (json!("done"), "done"),
    ] {
        let (result, notes) = parsed::<CallToolResult>(&sent);
        assert_eq!(texts(&result.unwrap()), [shown]);
        assert_eq!(notes.len(), 1);
    }
    for other in [
        json!(null),
        json!({"resultType": "input_required"}),
        json!({"task": {"taskId": "1"}}),
    ] {
        assert!(parsed::<CallToolResult>(&other).0.is_err(), "{other}");
    }
}

#[test]
fn a_result_of_an_unknown_type_says_so() {
    let sent = json!({"content": [{"type": "text", "text": "ok"}], "resultType": "final"});
    let ServiceError::McpError(error) = parsed::<CallToolResult>(&sent).0.unwrap_err() else {
        panic!("no error of the reply");
    };
    let reason = "the server's reply could not be decoded: `resultType` is unknown: final";
    assert_eq!(error.message, reason);
}

#[test]
fn a_result_of_another_kind_names_what_does_not_fit() {
    let (result, _) = parsed::<ListToolsResult>(&json!({"tools": {"echo": {}}}));
    let ServiceError::McpError(error) = result.unwrap_err() else {
        panic!("no error of the reply");
    };
    let reason = "the server's reply could not be decoded: `tools`: it is an object, not an array";
    assert_eq!(error.message, reason);
}

#[test]
fn half_a_surrogate_pair_does_not_keep_a_result_from_its_type() {
    let json = r#"{"content":[{"type":"text","text":"a\ud83d b"}]}"#;
    let raw = RawValue::from_string(json.to_owned()).unwrap();
    let (result, notes) = parse_here::<CallToolResult>(&raw);
    assert_eq!(texts(&result.unwrap()), ["a\u{fffd} b"]);
    assert!(notes.is_empty());
}
