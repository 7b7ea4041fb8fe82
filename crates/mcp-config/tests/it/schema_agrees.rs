//! The loader and the schema come to the same verdict on the shape of a file, whatever stands in it.

use crate::loader;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&mcp_config::schema()).unwrap());

/// What the loader finds wrong with a file of servers.
fn problems(file: &Value) -> Vec<String> {
    let error = match loader().text("f.json", file.to_string()).load() {
        Ok(config) => config.check().err(),
        Err(error) => Some(error),
    };
    let problems = error.iter().flat_map(|error| error.problems());
    problems.map(ToString::to_string).collect()
}

/// How large a time or a size is that stands there as a text is beyond a pattern.
fn is_how_large(problem: &str) -> bool {
    ["time", "size", "whole number", "part"]
        .iter()
        .any(|what| problem.contains(&format!("\" is not allowed, expected a {what}")))
}

fn agreed(file: &Value) -> Result<(), TestCaseError> {
    let problems = problems(file);
    if !problems.is_empty() && problems.iter().all(|problem| is_how_large(problem)) {
        return Ok(());
    }
    let refusal = SCHEMA.validate(file).map_err(|error| error.to_string());
    prop_assert_eq!(
        problems.is_empty(),
        refusal.is_ok(),
        "{file:#}\nthe loader: {problems:#?}\nthe schema: {refusal:#?}",
        file = file,
        problems = problems,
        refusal = refusal
    );
    Ok(())
}

/// A field that is left out, or holds one of these.
fn field(values: Value) -> impl Strategy<Value = Option<Value>> {
    let values = values.as_array().unwrap().clone();
    prop_oneof![3 => Just(None), 2 => select(values).prop_map(Some)]
}

fn table(fields: Vec<(&'static str, Value)>) -> impl Strategy<Value = Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, values)| field(values).prop_map(move |value| (name, value)))
        .collect();
    fields.prop_map(|fields| {
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect())
    })
}

/// One that mostly names its transport in a way that works, so that what is wrong elsewhere matters.
fn entry() -> impl Strategy<Value = Value> {
    let transports = json!([
        {"command": "x"}, {"command": "x"}, {"url": "https://h/mcp"}, {"httpUrl": "http://h"}, {},
        {"command": 7}, {"command": " "}, {"command": null}, {"command": ["x"]}, {"url": "localhost:80"},
        {"url": ["https://h"]}, {"url": null, "serverUrl": "https://h"}, {"url": "https://h", "httpUrl": 7},
        {"command": "x", "url": "https://h"}, {"command": "x", "url": {}}, {"command": [], "url": "https://h"},
    ]);
    let kinds = json!([
        "stdio",
        "STDIO",
        "local",
        "http",
        "HTTP",
        "streamable-http",
        "streamableHttp",
        "Streamable_HTTP",
        "remote",
        "sse",
        "ws",
        "",
        "-http",
        7,
        null,
        [],
    ]);
    let fields = table(vec![
        ("type", kinds),
        ("transport", json!(["stdio", "http", "ws", null, {}])),
        ("transportType", json!(["streamable-http", "sse", 1])),
        (
            "args",
            json!([[], ["a", 1, true], ["a", null], [[]], "a", {}, null]),
        ),
        (
            "env",
            json!([{}, {"A": "b", "B": 1, "C": false, "D": null}, {"A": []}, {"A=": "b"}, {"A=": null}, [], 7, null]),
        ),
        ("cwd", json!(["/", null, 7])),
        ("envFile", json!([null, []])),
        ("timeout", json!([30000, 0.5, "30000", null, true])),
        ("disabled", json!([false, null, "true", 0])),
        ("enabled", json!([true, null, "false", 1])),
        (
            "auth",
            json!(["token", "oauth", {"CLIENT_ID": "x"}, 7, null]),
        ),
        ("description", json!(["x", 7, null])),
        ("trust", json!([true])),
    ]);
    let off = prop_oneof![
        8 => Just(json!({})),
        1 => Just(json!({"disabled": true})),
        1 => Just(json!({"enabled": false})),
    ];
    let whole = (
        select(transports.as_array().unwrap().clone()),
        fields,
        prop::option::weighted(0.4, headers()),
        prop::option::weighted(0.4, pool()),
        off,
    );
    let whole = whole.prop_map(|(transport, fields, headers, pool, off)| {
        let mut entry = Map::new();
        for part in [fields, transport, off] {
            entry.extend(part.as_object().unwrap().clone());
        }
        entry.extend(headers.map(|headers| ("headers".to_owned(), headers)));
        entry.extend(pool.map(|pool| ("pool".to_owned(), pool)));
        Value::Object(entry)
    });
    prop_oneof![20 => whole, 1 => select(vec![json!(null), json!("npx"), json!([]), json!({})])]
}

fn headers() -> impl Strategy<Value = Value> {
    let source = table(vec![
        ("env", json!(["TOKEN", {"A": "b"}, 7, null])),
        ("file", json!(["/run/token", "", null, []])),
        (
            "command",
            json!([["op", "read", 7], [], ["op", null], "op read", null]),
        ),
        ("timeout", json!([5, "5s", 0, "soon", null])),
        ("prefix", json!(["Bearer ", null, 7])),
        ("prefx", json!(["Bearer "])),
    ]);
    let value = prop_oneof![
        select(vec![
            json!("text"),
            json!(1),
            json!(true),
            json!(null),
            json!([]),
            json!({})
        ]),
        source,
    ];
    let name = select(vec!["Authorization", "X-Y", "A B", ""]);
    prop_oneof![
        6 => prop::collection::btree_map(name, value, 0..3).prop_map(|headers| json!(headers)),
        1 => select(vec![json!(null), json!([]), json!("A: b")]),
    ]
}

/// Settings one at a time: two that contradict each other are another matter.
fn pool() -> impl Strategy<Value = Value> {
    let values = json!([
        0,
        1,
        7,
        -1,
        1.5,
        4096,
        5e9,
        "0",
        "1",
        " 7 ",
        "+3",
        "many",
        "4096",
        "16MiB",
        "2 kb",
        "5 parsecs",
        "500ms",
        "1h 30m",
        "0.5",
        "50%",
        "off",
        "OFF",
        true,
        false,
        "yes",
        "Off",
        "2",
        null,
        [],
        {},
        "pinned",
        "Pinned",
        "fail-fast",
        "FAIL_FAST",
        "shared",
        316_224_000,
        316_224_001,
        "",
    ]);
    let names: Vec<_> = mcp_config::settings()
        .into_iter()
        .map(|row| row.name)
        .collect();
    let setting = (select(names), select(values.as_array().unwrap().clone()));
    let setting = setting.prop_map(|(name, value)| match name.split_once('.') {
        Some((group, name)) => json!({group: {name: value}}),
        None => json!({name: value}),
    });
    prop_oneof![
        12 => setting,
        1 => select(vec![
            json!({}), json!([]), json!(null), json!({"max_conections": 1}), json!({"circuit_breaker": null}),
            json!({"circuit_breaker": {"failure_treshold": 1}}),
        ]),
    ]
}

fn servers() -> impl Strategy<Value = Value> {
    let name = select(vec!["a", "b.c", "$schema", "mcp-server"]);
    prop_oneof![
        10 => prop::collection::btree_map(name, entry(), 0..3).prop_map(|servers| json!(servers)),
        1 => select(vec![json!(null), json!([]), json!("x")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn on_an_entry(entry in entry()) {
        agreed(&json!({"mcpServers": {"a": entry}}))?;
    }

    #[test]
    fn on_where_the_servers_are(
        first in prop::option::of(servers()),
        second in prop::option::of(servers()),
        third in prop::option::of(servers()),
        theme in prop::option::of(Just("dark")),
    ) {
        let mut file = json!({});
        if let Some(servers) = first { file["mcpServers"] = servers; }
        if let Some(servers) = second { file["servers"] = servers; }
        if let Some(servers) = third { file["mcp"] = json!({"servers": servers, "allowed": []}); }
        if let Some(theme) = theme { file["theme"] = theme.into(); }
        agreed(&file)?;
    }

    #[test]
    fn on_a_file_that_is_the_table_itself(servers in servers()) {
        agreed(&servers)?;
    }

    #[test]
    fn on_any_value_of_a_setting(pool in pool()) {
        agreed(&json!({"mcpServers": {"a": {"command": "x", "pool": pool}}}))?;
    }
}
