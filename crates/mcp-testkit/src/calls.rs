//! The well-behaved tools, and the dispatch of calls to all tools.

#![expect(
    deprecated,
    reason = "logging is deprecated in the protocol, and still in use"
)]

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
        JsonObject, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
    },
    service::RequestContext,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    TestServer, hostile,
    server_requests::{self, Round},
    tools,
};

pub(crate) type Context = RequestContext<RoleServer>;
pub(crate) type Answer = Result<CallToolResult, ErrorData>;

/// Runs one call to its end.
pub(crate) async fn call(
    server: &TestServer,
    request: CallToolRequestParams,
    context: Context,
    overlap: Overlap<'_>,
) -> Result<CallToolResponse, ErrorData> {
    let name = request.name.into_owned();
    let arguments = request.arguments.unwrap_or_default();
    let round = Round {
        responses: request.input_responses,
        state: request.request_state,
    };
    if name != "set_tools"
        && !server
            .shared
            .tools
            .read()
            .iter()
            .any(|tool| tool.name == name)
    {
        return Err(ErrorData::invalid_params(
            format!("unknown tool: {name}"),
            None,
        ));
    }
    server.shared.counters.call(&name);
    let faults = &server.options.faults;
    if faults.exit_mid_call.as_ref() == Some(&name) {
        return hostile::exit(server, 1).await.map(Into::into);
    }
    if faults.forbid_overlap && overlap.overlaps {
        return Ok(tool_error("another call is running on this server").into());
    }
    if name == "ask" {
        return server_requests::ask(arguments, round, &context).await;
    }
    answer(server, &name, arguments, &context)
        .await
        .map(Into::into)
}

async fn answer(
    server: &TestServer,
    name: &str,
    arguments: JsonObject,
    context: &Context,
) -> Answer {
    match name {
        "echo" => echo(&arguments),
        "sleep" => sleep(server, arguments, context).await,
        "count" => count(server, arguments),
        "counted" => counted(server, arguments),
        "spin" => spin(arguments),
        "fail" => fail(arguments),
        "tool_error" => read::<Message>(arguments).map(|it| tool_error(it.message)),
        "progress" => progress(server, arguments, context).await,
        "log" => log(arguments, context).await,
        "set_tools" => set_tools(server, arguments).await,
        "whoami" => whoami(server, arguments, context),
        "stats" => Ok(CallToolResult::structured(json!(server.stats()))),
        "add" => {
            read::<Sum>(arguments).map(|it| CallToolResult::structured(json!({"sum": it.a + it.b})))
        }
        "located" => read::<Located>(arguments).map(|it| text(it.region)),
        "big" => read::<Size>(arguments).map(|it| text("x".repeat(it.bytes))),
        _ => match hostile::call(server, name, &arguments).await {
            Some(answer) => answer,
            None => echo(&arguments),
        },
    }
}

/// Notices calls that run at the same time on one server.
pub(crate) struct Overlap<'a> {
    server: &'a TestServer,
    overlaps: bool,
}

impl<'a> Overlap<'a> {
    pub(crate) fn watch(server: &'a TestServer) -> Self {
        let overlaps = server.shared.calls_in_flight.fetch_add(1, Relaxed) > 0;
        if overlaps {
            server.shared.counters.overlapped();
        }
        Self { server, overlaps }
    }
}

impl Drop for Overlap<'_> {
    fn drop(&mut self) {
        self.server.shared.calls_in_flight.fetch_sub(1, Relaxed);
    }
}

/// Reads the arguments of a tool.
///
/// # Errors
///
/// Invalid params, naming what is missing or wrong.
pub(crate) fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ErrorData> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| ErrorData::invalid_params(format!("invalid arguments: {error}"), None))
}

pub(crate) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

pub(crate) fn tool_error(message: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(message)])
}

/// Waits, unless the call is cancelled or its client leaves; then it says so in the counters.
pub(crate) async fn rest(
    server: &TestServer,
    tool: &str,
    time: Duration,
    context: &Context,
) -> Result<(), ErrorData> {
    let begun = Instant::now();
    let client_left = async {
        match &server.connection {
            Some(connection) => connection.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = tokio::time::sleep(time) => return Ok(()),
        () = context.ct.cancelled() => {}
        () = client_left => {}
    }
    server.shared.counters.interrupted(tool, begun.elapsed());
    Err(ErrorData::internal_error("interrupted", None))
}

fn echo(arguments: &JsonObject) -> Answer {
    match arguments.get("message") {
        Some(Value::String(message)) => Ok(text(message)),
        _ => Err(ErrorData::invalid_params(
            "invalid arguments: message must be a string",
            None,
        )),
    }
}

async fn sleep(server: &TestServer, arguments: JsonObject, context: &Context) -> Answer {
    let Rest { ms, stubborn } = read(arguments)?;
    if stubborn {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        return Ok(text(format!("slept {ms} ms")));
    }
    rest(server, "sleep", Duration::from_millis(ms), context).await?;
    Ok(text(format!("slept {ms} ms")))
}

fn count(server: &TestServer, arguments: JsonObject) -> Answer {
    let Key { key } = read(arguments)?;
    let count = server
        .shared
        .call_counter
        .increment(&key, server.options.count_file.as_deref())
        .map_err(|error| ErrorData::internal_error(format!("cannot count: {error}"), None))?;
    Ok(text(count.to_string()))
}

fn counted(server: &TestServer, arguments: JsonObject) -> Answer {
    let Key { key } = read(arguments)?;
    Ok(text(server.shared.call_counter.of(&key).to_string()))
}

fn spin(arguments: JsonObject) -> Answer {
    let Millis { ms } = read(arguments)?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(ms) {
        std::hint::spin_loop();
    }
    Ok(text(format!("spun for {ms} ms")))
}

fn fail(arguments: JsonObject) -> Answer {
    let Failure {
        code,
        message,
        data,
    } = read(arguments)?;
    Err(ErrorData::new(ErrorCode(code), message, data))
}

async fn progress(server: &TestServer, arguments: JsonObject, context: &Context) -> Answer {
    let Steps { steps, ms } = read(arguments)?;
    for step in 1..=steps {
        rest(server, "progress", Duration::from_millis(ms), context).await?;
        let Some(token) = context.meta.get_progress_token() else {
            continue;
        };
        let report = ProgressNotificationParam::new(token, f64::from(step))
            .with_total(f64::from(steps))
            .with_message(format!("step {step} of {steps}"));
        // A client that left is noticed by the next rest.
        let _ = context.peer.notify_progress(report).await;
    }
    Ok(text(format!("{steps} steps")))
}

async fn log(arguments: JsonObject, context: &Context) -> Answer {
    let Message { message } = read(arguments)?;
    let record = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message));
    // As with progress: a client that left needs no log.
    let _ = context.peer.notify_logging_message(record).await;
    Ok(text("logged"))
}

async fn set_tools(server: &TestServer, arguments: JsonObject) -> Answer {
    let Names { names } = read(arguments)?;
    let tools = match &names {
        Some(names) => tools::named(names),
        None => tools::all(),
    };
    let count = tools.len();
    *server.shared.tools.write() = tools;
    server
        .shared
        .tools_changed
        .send_modify(|version| *version += 1);
    let peers = std::mem::take(&mut *server.shared.peers.lock());
    let mut living = Vec::new();
    for peer in peers {
        // A client that does not read must not hold up the others.
        let reported = tokio::time::timeout(NOTIFY_LIMIT, peer.notify_tool_list_changed()).await;
        if !matches!(reported, Ok(Err(_))) {
            living.push(peer);
        }
    }
    server.shared.peers.lock().extend(living);
    Ok(text(format!("{count} tools")))
}

fn whoami(server: &TestServer, arguments: JsonObject, context: &Context) -> Answer {
    let Asked { env, headers } = read(arguments)?;
    let env: BTreeMap<_, _> = env
        .into_iter()
        .map(|name| (std::env::var(&name).ok(), name))
        .map(|(value, name)| (name, value))
        .collect();
    Ok(CallToolResult::structured(json!({
        "pid": std::process::id(),
        "ppid": parent_id(),
        "session": server.session_number(),
        "cwd": std::env::current_dir().ok(),
        "argv": std::env::args().collect::<Vec<_>>(),
        "env": env,
        "headers": requested_headers(&headers, context),
        "meta": context.meta,
        "protocol": context.protocol_version().map(|version| version.to_string()),
    })))
}

#[cfg(unix)]
fn parent_id() -> Option<i32> {
    rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
}

#[cfg(not(unix))]
fn parent_id() -> Option<i32> {
    None
}

#[cfg(feature = "http")]
fn requested_headers(names: &[String], context: &Context) -> BTreeMap<String, Option<String>> {
    let parts = context.extensions.get::<http::request::Parts>();
    let value = |name: &str| {
        let value = parts?.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    names
        .iter()
        .map(|name| (name.clone(), value(name)))
        .collect()
}

#[cfg(not(feature = "http"))]
fn requested_headers(names: &[String], _: &Context) -> BTreeMap<String, Option<String>> {
    names.iter().map(|name| (name.clone(), None)).collect()
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

#[derive(Deserialize)]
struct Millis {
    ms: u64,
}

#[derive(Deserialize)]
struct Rest {
    ms: u64,
    #[serde(default)]
    stubborn: bool,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    key: String,
}

#[derive(Deserialize)]
struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct Steps {
    steps: u32,
    ms: u64,
}

#[derive(Deserialize)]
struct Names {
    names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    headers: Vec<String>,
}

#[derive(Deserialize)]
struct Sum {
    a: f64,
    b: f64,
}

#[derive(Deserialize)]
struct Located {
    region: String,
}

#[derive(Deserialize)]
pub(crate) struct Size {
    pub(crate) bytes: usize,
}

const NOTIFY_LIMIT: Duration = Duration::from_secs(1);
