//! Tools that misbehave when called.
//!
//! In a process of its own the server breaks the process; inside the test's process it breaks the connection. Where rmcp owns
//! the transport (plain `serve`, HTTP), tools that need the streams return an error.

use std::{future::pending, io::Write, time::Duration};

use rmcp::{ErrorData, model::JsonObject};
use serde::Deserialize;

use crate::{
    Grandchild, TestServer,
    calls::{Answer, Size, read, text},
    grandchild,
    line_transport::Connection,
    stdout_noise,
};

/// Runs a hostile tool; `None` if there is none of this name.
pub(crate) async fn call(
    server: &TestServer,
    name: &str,
    arguments: &JsonObject,
) -> Option<Answer> {
    let arguments = arguments.clone();
    Some(match name {
        "exit" => exit_as_told(server, arguments).await,
        "freeze" => freeze(server, arguments).await,
        "close_stdout" => close_stdout(server).await,
        "garbage" => garbage(server, arguments).await,
        "huge_line" => huge_line(arguments),
        "flood_stderr" => flood_stderr(arguments).await,
        "spawn_grandchild" => spawn_grandchild(server, arguments),
        _ => return None,
    })
}

/// Ends the process, or the connection that stands for it; answers only where there is neither.
pub(crate) async fn exit(server: &TestServer, code: u8) -> Answer {
    if server.shared.owns_process() {
        std::process::exit(code.into());
    }
    connection(server)?.exit(code).await;
    // The reader is gone.
    Err(ErrorData::internal_error("exited", None))
}

async fn exit_as_told(server: &TestServer, arguments: JsonObject) -> Answer {
    let Exit {
        code,
        message,
        after_ms,
    } = read(arguments)?;
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    if let Some(message) = message {
        eprintln!("{message}");
    }
    exit(server, code).await
}

async fn freeze(server: &TestServer, arguments: JsonObject) -> Answer {
    match read::<Freeze>(arguments)?.how {
        How::Stdin => match &server.connection {
            Some(connection) => connection.freeze(),
            None => server.shared.hung.cancel(),
        },
        How::Stop if server.shared.owns_process() => stop_process(),
        How::Stop => return Err(unavailable("a process of its own")),
    }
    pending().await
}

#[cfg(unix)]
fn stop_process() {
    let stopped =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    stopped.expect("a process may always signal itself");
}

#[cfg(not(unix))]
fn stop_process() {}

async fn close_stdout(server: &TestServer) -> Answer {
    connection(server)?.close_output().await;
    Ok(text("this is not read"))
}

async fn garbage(server: &TestServer, arguments: JsonObject) -> Answer {
    let Lines { lines } = read(arguments)?;
    let connection = connection(server)?;
    for number in 0..lines {
        connection
            .write_raw(stdout_noise::line(number))
            .await
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    }
    Ok(text(format!("{lines} lines of garbage")))
}

fn huge_line(arguments: JsonObject) -> Answer {
    let Huge { bytes } = read(arguments)?;
    Ok(text("x".repeat(bytes)))
}

async fn flood_stderr(arguments: JsonObject) -> Answer {
    let Size { bytes } = read(arguments)?;
    let flood = tokio::task::spawn_blocking(move || flood(bytes));
    flood.await.expect("the flood does not panic");
    Ok(text(format!("{bytes} bytes on stderr")))
}

/// Writes to stderr, waiting while the pipe is full.
pub(crate) fn flood(bytes: usize) {
    let line = [&[b'e'; 99][..], b"\n"].concat();
    let mut stderr = std::io::stderr().lock();
    for start in (0..bytes).step_by(line.len()) {
        let length = line.len().min(bytes - start);
        // A closed stderr is no reason to stop serving.
        if stderr.write_all(&line[..length]).is_err() {
            return;
        }
    }
}

fn spawn_grandchild(server: &TestServer, arguments: JsonObject) -> Answer {
    let Spawn {
        heeds_stdin,
        holds_stdout,
    } = read(arguments)?;
    if !server.shared.owns_process() {
        return Err(unavailable("a process of its own"));
    }
    let kind = match heeds_stdin {
        true => Grandchild::HeedsStdin,
        false => Grandchild::IgnoresStdin,
    };
    let pid = grandchild::spawn(server, kind, holds_stdout)
        .map_err(|error| ErrorData::internal_error(format!("cannot spawn: {error}"), None))?;
    Ok(text(pid.to_string()))
}

fn connection(server: &TestServer) -> Result<&Connection, ErrorData> {
    server
        .connection
        .as_deref()
        .ok_or_else(|| unavailable("a transport of its own"))
}

fn unavailable(need: &str) -> ErrorData {
    ErrorData::invalid_request(format!("this server has not {need}"), None)
}

#[derive(Deserialize)]
struct Exit {
    #[serde(default)]
    code: u8,
    message: Option<String>,
    #[serde(default)]
    after_ms: u64,
}

#[derive(Deserialize)]
struct Freeze {
    #[serde(default)]
    how: How,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    #[default]
    Stdin,
    Stop,
}

#[derive(Deserialize)]
struct Lines {
    lines: usize,
}

#[derive(Deserialize)]
struct Huge {
    #[serde(default = "twenty_mebibytes")]
    bytes: usize,
}

/// Above the 16 MiB at which rmcp's transport drops a line.
fn twenty_mebibytes() -> usize {
    20 * 1024 * 1024
}

#[derive(Deserialize)]
struct Spawn {
    #[serde(default)]
    heeds_stdin: bool,
    #[serde(default)]
    holds_stdout: bool,
}
