//! Clients that others wrote, against servers that others wrote: the official SDKs, oldest and newest, in both eras.
//!
//! `.ci/run` installs them and names them in variables; where a variable is not set the tests pass without having looked,
//! and say so. With `POOL_TEST_CLIENTS=required` they fail instead.

use std::{path::PathBuf, process::Stdio, time::Duration};

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    AggregatorSettings, ConnectionManager, PoolSettings, ServerConfig, config::Lifecycle,
};
use mcp_testkit::{HttpOptions, HttpServer};
use rmcp::model::{ClientConfig, Implementation};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::common::Served;

/// A variable of the gate.
pub(crate) fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) if std::env::var("POOL_TEST_CLIENTS").is_ok_and(|value| value == "required") => {
            panic!("{name} is not set")
        }
        Err(_) => {
            eprintln!("skipped: {name} is not set");
            None
        }
    }
}

/// The folder in which the gate installs programs, each in one of its own.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(variable("POOL_TEST_CLIENTS_IN")?).join(name))
}

pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

fn command(variable_name: &str) -> Option<ServerConfig> {
    let command = variable(variable_name)?;
    let mut words = command.split_whitespace();
    Some(ServerConfig::stdio(words.next()?).args(words))
}

/// What the manager of a gateway declares for its listings, so that no server hides a tool.
pub(crate) fn client_info() -> ClientConfig {
    let capabilities = json!({
        "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {},
    });
    ClientConfig::new(
        serde_json::from_value(capabilities).unwrap(),
        Implementation::new("gateway", "1"),
    )
}

/// The test server in this era, server-everything, mcp-server-time, and a FastMCP server.
async fn four_servers(test: &HttpServer, era: Lifecycle) -> Option<ConnectionManager> {
    let fastmcp = script("../../../mcp-pooled-tools/tests/servers/with_fastmcp.py");
    let fastmcp = ServerConfig::stdio(variable("POOL_TEST_PYTHON")?)
        .args([fastmcp.to_string_lossy().as_ref(), "stdio"]);
    let test = ServerConfig::http(test.url()).pool(PoolSettings::new().lifecycle(era));
    let builder = ConnectionManager::builder()
        .client_info(client_info())
        .server("test", test)
        .server("everything", command("POOL_TEST_EVERYTHING")?)
        .server("time", command("POOL_TEST_TIME")?)
        .server("fastmcp", fastmcp)
        .aggregator(AggregatorSettings::new().list_timeout(Duration::from_secs(60)))
        .defaults(PoolSettings::new().min_connections(0));
    Some(builder.build().await.unwrap())
}

/// What a client of each kind observes, one feature after the other.
fn expected() -> Value {
    json!({
        "server": "mcp-pool",
        "tools": 4,
        "echo": "héllo ☀",
        "time": "Europe/Berlin",
        "structured": {
            "city": "Bern", "celsius": 21.5, "words": ["sonnig", "☀", "\u{200b}"], "wind": { "n": 3, "s": null },
        },
        "image": ["image", "image/png", true],
        "links": 1,
        "tool error": true,
        "protocol error": [-32050, true, "because"],
        "unknown tool": -32602,
        "progress": [0, 1, 2, 3, 4],
        "cancel": ["cancelled", true],
        "prompts": [true, "Say hello to Ada."],
        "resources": [true, "A server for tests."],
        "templates": [true, "item 7"],
        "completion": ["Ruby", "Rust"],
        "roots": "file:///CLIENT",
        "sampling": "CLIENT model",
        "elicitation": "Ada",
        "elicitation with url": [true, "https://example.com/consent"],
        "side by side": true,
        "logging": true,
        "subscribe": true,
        "list changed": true,
    })
}

/// Runs a client and holds what it observed against what is expected.
async fn observe(mut client: Command, name: &str, differences: Value) {
    client
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = timeout(Duration::from_secs(180), client.output()).await;
    let output = ended.expect("the client ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(Ok(observed)) = said.lines().last().map(serde_json::from_str::<Value>) else {
        panic!("{said}{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut wrong = Vec::new();
    for (feature, expected) in expected().as_object().unwrap() {
        let expected = match &differences[feature] {
            Value::Null => expected.clone(),
            other => other.clone(),
        };
        let expected = match expected {
            Value::String(text) => json!(text.replace("CLIENT", name)),
            other => other,
        };
        // The client does not know the feature.
        if expected == json!("none") {
            continue;
        }
        let observed = &observed[feature];
        if !equal(observed, &expected) {
            wrong.push(format!("{feature}: {observed}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Numbers are compared by value: `1` and `1.0` are the same.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        _ => one == other,
    }
}

/// A gateway to four servers, the test server in each era.
async fn each(run: impl AsyncFn(String)) {
    for era in [Lifecycle::Initialize, Lifecycle::Discover] {
        let test = HttpServer::start(HttpOptions::default()).await;
        let Some(manager) = four_servers(&test, era).await else {
            return;
        };
        let quiet = ["mcp.test", "mcp.time", "mcp.fastmcp"];
        let gateway = Gateway::builder(manager).profile("quiet", quiet);
        let served = Served::start(gateway).await;
        run(served.url()).await;
        served.stop().await;
    }
}

/// Log messages of a modern server, on a session that clients share, do not reach the stream of a modern client's call.
fn not_yet(era: &str) -> Value {
    match era {
        "legacy" => json!({}),
        _ => json!({ "logging": "none" }),
    }
}

fn node(name: &str, folder: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.arg(script(name)).arg(folder).args(arguments);
    command
}

fn python(python: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg(script("sdk.py")).args(arguments);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typescript_sdk_that_first_spoke_streamable_http() {
    let Some(folder) = installed("sdk1-first") else {
        return;
    };
    each(async |url: String| {
        // It knows neither links nor elicitation.
        let differences =
            json!({ "links": "none", "elicitation": "none", "elicitation with url": "none" });
        let client = node("sdk1.mjs", folder.clone(), &[&url]);
        observe(client, "sdk1", differences).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typescript_sdk_at_the_end_of_its_first_line() {
    let Some(folder) = installed("sdk1") else {
        return;
    };
    each(async |url: String| {
        let client = node("sdk1.mjs", folder.clone(), &[&url]);
        observe(client, "sdk1", json!({})).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typescript_sdk_in_its_second_line_as_a_client_of_either_era() {
    let Some(folder) = installed("sdk2") else {
        return;
    };
    each(async |url: String| {
        for era in ["legacy", "2026-07-28"] {
            let client = node("sdk2.mjs", folder.clone(), &[&url, era]);
            observe(client, "sdk2", not_yet(era)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_as_a_client_of_either_era() {
    let Some(program) = variable("POOL_TEST_PYTHON") else {
        return;
    };
    each(async |url: String| {
        for era in ["legacy", "2026-07-28"] {
            let mut differences = not_yet(era);
            differences["server"] = json!("none");
            differences["list changed"] = json!("none");
            differences["cancel"] = json!(["CancelledError", true]);
            observe(python(&program, &[&url, era]), "python", differences).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_that_first_spoke_streamable_http() {
    let Some(program) = variable("POOL_TEST_PYTHON_FIRST") else {
        return;
    };
    each(async |url: String| {
        // Questions stop it, and it does not know links: see the script.
        let differences = json!({
            "tools": 3,
            "links": "none",
            "progress": "none",
            "cancel": "none",
            "prompts": [false, "Say hello to Ada."],
            "sampling": "none",
            "roots": "none",
            "elicitation": "none",
            "elicitation with url": "none",
            "subscribe": "none",
            "list changed": "none",
        });
        let url = format!("{url}/p/quiet");
        observe(python(&program, &[&url, "legacy"]), "python", differences).await;
    })
    .await;
}
