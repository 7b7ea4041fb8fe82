//! The server on standard input and output, with faults of a process.

use std::process::ExitCode;

use crate::{Hang, TestServer, grandchild, hostile, line_transport::HostProcess};

/// Serves until the client is done, and longer if the faults say so.
pub(crate) async fn serve(server: TestServer) -> ExitCode {
    begin_process(&server).await;
    if server.options.faults.hang == Some(Hang::BeforeHandshake) {
        std::future::pending::<()>().await;
    }
    let (reader, writer) = rmcp::transport::stdio_pipes();
    server.serve_streams(reader, writer, HostProcess::Own).await;
    ExitCode::SUCCESS
}

/// What a server process does before it serves anything.
pub(crate) async fn begin_process(server: &TestServer) {
    // The first to set it is the only one: a process serves one server.
    let _ = server.shared.host.set(HostProcess::Own);
    let faults = &server.options.faults;
    if let Some(message) = &faults.stderr {
        eprintln!("{message}");
    }
    if let Some(code) = faults.exit_at_start {
        std::process::exit(code.into());
    }
    if let Some(kind) = faults.grandchild {
        grandchild::spawn(server, kind, false).expect("this very binary can be run again");
    }
    if let Some(bytes) = faults.flood_stderr {
        let flood = tokio::task::spawn_blocking(move || hostile::flood(bytes));
        flood.await.expect("the flood does not panic");
    }
}

/// Takes SIGTERM without a reaction, from now on.
#[cfg(unix)]
pub(crate) fn ignore_sigterm() {
    use tokio::signal::unix::{SignalKind, signal};

    // tokio keeps the handler in place for the life of the process; the stream itself is not needed.
    let _stream = signal(SignalKind::terminate()).expect("SIGTERM may be handled");
}

/// Closes the pipe behind stdout; the descriptor stays valid, so that stray prints do no harm.
#[cfg(unix)]
pub(crate) fn point_stdout_at_nothing() {
    let nothing = std::fs::File::options().write(true).open("/dev/null");
    let nothing = nothing.expect("/dev/null can be opened");
    rustix::stdio::dup2_stdout(nothing).expect("stdout can be replaced");
}
