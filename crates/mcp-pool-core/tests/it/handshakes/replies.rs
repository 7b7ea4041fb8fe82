//! Replies to `initialize` that are not quite right.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_invalid_reply_to_initialize_is_final_and_names_its_field() {
    let with = |field: &str, value: Value| {
        let mut result = initialized("2025-11-25");
        result[field] = value;
        result
    };
    let without = |field: &str| {
        let mut result = initialized("2025-11-25");
        result.as_object_mut().unwrap().remove(field);
        result
    };
    for (result, named) in [
        (
            with("capabilities", json!({"tools": []})),
            "`capabilities.tools`",
        ),
        (
            with("capabilities", json!({"tools": {"listChanged": "true"}})),
            "`capabilities.tools.listChanged`",
        ),
        (with("capabilities", json!(null)), "`capabilities`"),
        (
            with("capabilities", json!([])),
            "`capabilities`: it is an array, not an object",
        ),
        (
            with("capabilities", json!({"tools": true})),
            "`capabilities.tools`: it is a boolean, not an object",
        ),
        (
            with("serverInfo", json!({"name": "x"})),
            "`serverInfo.version` is missing",
        ),
        (with("protocolVersion", json!(1)), "`protocolVersion`"),
        (without("serverInfo"), "`serverInfo`"),
        (without("protocolVersion"), "`protocolVersion`"),
        (json!("ok"), "it is a text, not an object"),
    ] {
        let shown = result.to_string();
        let wire = Wire::new(move |_, message| match method(message) {
            "initialize" => reply(message, result.clone()),
            _ => legacy(message),
        });
        let error = failure(&wire).await;
        let text = error.to_string();
        assert_eq!(error.kind(), OpenErrorKind::Incompatible, "{shown}: {text}");
        assert!(
            text.contains("`initialize`") && text.contains(named),
            "{shown}: {text}"
        );
        assert!(!text.contains("struct"), "a type of Rust: {text}");
        assert_eq!(*wire.connections.lock(), 1, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_initialize_keeps_what_fits() {
    let tools = json!({"listChanged": true});
    for (field, value) in [
        ("instructions", json!(["a", "b"])),
        ("_meta", json!([])),
        (
            "serverInfo",
            json!({
                "name": "s", "version": "1", "title": null, "websiteUrl": 5,
                "icons": [{"src": "data:,", "sizes": "48x48"}],
            }),
        ),
        (
            "capabilities",
            json!({"tools": tools, "experimental": {"x": true}, "extensions": {"y": []}}),
        ),
        (
            "capabilities",
            json!({"tools": tools, "experimental": null, "completions": null, "prompts": {"listChanged": null}}),
        ),
    ] {
        let mut result = initialized("2025-11-25");
        result["capabilities"] = json!({"tools": tools});
        result[field] = value.clone();
        let wire = Wire::new(move |_, message| match method(message) {
            "initialize" => reply(message, result.clone()),
            _ => legacy(message),
        });
        let (pool, era) = open(&wire).await;
        assert_eq!(era, Era::Legacy, "{value}");
        let lease = pool.acquire().await.unwrap();
        let info = lease.peer().peer_info().unwrap();
        assert_eq!(
            info.server_info.as_ref().map(|info| &*info.name),
            Some("s"),
            "{value}"
        );
        let declared = info.capabilities.tools.clone().unwrap();
        assert_eq!(declared.list_changed, Some(true), "{value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_under_another_id_is_named() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => vec![Act::Send(
            json!({"jsonrpc": "2.0", "id": 9999, "result": initialized("2025-11-25")}),
        )],
        _ => legacy(message),
    });
    let text = failure(&wire).await.to_string();
    assert!(
        text.contains("`initialize`") && text.contains("9999"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_id_that_comes_back_as_text_is_the_same() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => {
            let id = message["id"].to_string();
            let result = initialized("2025-11-25");
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": id, "result": result}),
            )]
        }
        _ => legacy(message),
    });
    assert_eq!(open(&wire).await.1, Era::Legacy);
}
