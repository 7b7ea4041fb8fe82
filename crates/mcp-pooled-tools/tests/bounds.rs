//! Replies that would take gigabytes to keep or to check cost a bounded amount of memory, and end in time.
//!
//! In a program of their own, because memory is that of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::Path, time::Duration};

use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, PooledTools, ServerConfig, config::Validate,
};
use mcp_testkit::memory::MemoryWatch;
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::timeout};

const MIB: usize = 1024 * 1024;

/// 64 MiB and four times the largest message.
const ALLOWED: usize = 64 * MIB + 4 * 16 * MIB;

/// Memory is that of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A legacy server as a shell script. `$id` is that of the request, and the folder holds what it sends.
async fn server(folder: &Path, on_list: &str) -> (ConnectionManager, PooledTools) {
    let script = format!(
        r#"
page=0
while read -r line; do
  id=${{line#*'"id":'}}; id=${{id%%[,\}}]*}}
  case $line in
  *'"server/discover"'*) printf '{{"jsonrpc":"2.0","id":%s,"error":{{"code":-32601,"message":"no"}}}}\n' "$id";;
  *'"initialize"'*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"s","version":"1"}}}}}}\n' "$id";;
  *'"tools/list"'*) page=$((page + 1)); {on_list};;
  *'"tools/call"'*) printf '{{"jsonrpc":"2.0","id":%s,"result":' "$id"; cat result; echo '}}';;
  esac
done"#
    );
    let manager = ConnectionManager::builder()
        .server(
            "test",
            ServerConfig::stdio("sh")
                .args(["-c", &script])
                .current_dir(folder),
        )
        .defaults(PoolSettings::new().validate(Validate::Both))
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    (manager, tools)
}

/// One page with one tool.
const ONE: &str =
    r#"printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[' "$id"; cat tool; echo ']}}'"#;
/// A page of the same tool, and always another one behind it.
const ENDLESS: &str = r#"printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[' "$id"; cat tool; printf '],"nextCursor":"%s"}}\n' $page"#;

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

async fn measured<T>(name: &str, work: impl Future<Output = T>) -> T {
    let watch = MemoryWatch::begin();
    let outcome = timeout(Duration::from_secs(60), work).await;
    let grown = watch.grown();
    println!("{name}: {} MiB", grown / MIB);
    assert!(grown < ALLOWED, "{name}: {} MiB", grown / MIB);
    outcome.expect("it ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_large_pages_without_end_is_bounded() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let description = "x".repeat(15 * MIB);
    let tool = json!({"name": "large", "description": description, "inputSchema": {}});
    write(folder.path(), "tool", &tool);
    drop(tool);
    let (manager, tools) = server(folder.path(), ENDLESS).await;
    let listed = measured("pages of 15 MiB", tools.list_all_tools()).await;
    let kept = listed.unwrap().len();
    assert!((1..=5).contains(&kept), "{kept} tools of 15 MiB");
    manager.shutdown().await;
}

/// Each level refers to the next one twice: 2 kB of schema, and a thousand million nodes.
fn doubling() -> Value {
    const LEVELS: usize = 30;
    let mut defs = Map::new();
    for level in 0..LEVELS {
        let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
        defs.insert(format!("l{level}"), json!({ "allOf": [next, next] }));
    }
    defs.insert(format!("l{LEVELS}"), json!({ "type": "object" }));
    json!({ "$ref": "#/$defs/l0", "$defs": defs })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_doubles_without_end_holds_no_call_up() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let tool = json!({"name": "doubling", "inputSchema": doubling(), "outputSchema": doubling()});
    write(folder.path(), "tool", &tool);
    write(
        folder.path(),
        "result",
        &json!({"content": [], "structuredContent": {}}),
    );
    let (manager, tools) = server(folder.path(), ONE).await;
    measured("a schema that doubles", async {
        tools.list_all_tools().await.unwrap();
        tools.call("doubling", json!({})).await.unwrap();
    })
    .await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_result_that_breaks_a_large_schema_everywhere_is_told_in_few_words() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let allowed: Vec<String> = (0..2_000)
        .map(|number| format!("allowed-{number}"))
        .collect();
    let schema = json!({"type": "object", "properties": {"all": {"items": {"enum": allowed}}}});
    let tool = json!({"name": "wrong", "inputSchema": {"type": "object"}, "outputSchema": schema});
    write(folder.path(), "tool", &tool);
    let all = vec!["none of them"; 40_000];
    write(
        folder.path(),
        "result",
        &json!({"content": [], "structuredContent": {"all": all}}),
    );
    let (manager, tools) = server(folder.path(), ONE).await;
    let called = measured("a result that is wrong everywhere", async {
        tools.list_all_tools().await.unwrap();
        tools.call("wrong", json!({})).await
    })
    .await;
    if let Err(error) = called {
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
        assert!(
            error.to_string().len() < 16 * 1024,
            "{}",
            error.to_string().len()
        );
    }
    manager.shutdown().await;
}
