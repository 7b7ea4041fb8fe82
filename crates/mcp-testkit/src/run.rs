//! The main function of the binary.

use std::process::ExitCode;

use crate::{Options, ServeOn, TestServer, grandchild, options::Action, stdio, usage};

/// The argument that makes any binary a test server, by [`is_server_invocation`].
pub(crate) const SERVER_ARGUMENT: &str = "--mcp-testkit-server";

/// Whether this process was asked to be a test server: `--mcp-testkit-server` is its first argument.
///
/// A test or bench binary that asks this first can start itself as its own server:
///
/// ```
/// fn main() -> std::process::ExitCode {
///     if mcp_testkit::is_server_invocation() {
///         return mcp_testkit::main();
///     }
///     // the binary's own work
///     std::process::ExitCode::SUCCESS
/// }
/// ```
pub fn is_server_invocation() -> bool {
    std::env::args().nth(1).as_deref() == Some(SERVER_ARGUMENT)
}

/// Reads this process's command line and is the server it describes.
pub fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    args.next_if(|first| first == SERVER_ARGUMENT);
    match Options::parse(args) {
        Ok(options) => run(options),
        Err(error) => {
            eprintln!("mcp-testkit: {error}");
            ExitCode::from(2)
        }
    }
}

/// Is the server that the options describe, until it ends.
///
/// # Panics
///
/// Inside a tokio runtime: it brings its own.
pub fn run(options: Options) -> ExitCode {
    match options.action {
        Some(Action::Help) => {
            print!("{}", usage::TEXT);
            return ExitCode::SUCCESS;
        }
        Some(Action::Grandchild(kind)) => {
            return grandchild::live(kind, options.max_lifetime.as_secs());
        }
        None => {}
    }
    let mut builder = match options.faults.single_threaded {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let code = runtime.block_on(serve(options));
    // A read of stdin that blocks a thread must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn serve(options: Options) -> ExitCode {
    #[cfg(unix)]
    if options.faults.ignore_sigterm {
        stdio::ignore_sigterm();
    }
    let max_lifetime = options.max_lifetime;
    let transport = options.transport.clone();
    let server = TestServer::with_options(options);
    tokio::select! {
        code = serve_on(transport, server) => code,
        () = tokio::time::sleep(max_lifetime) => {
            eprintln!("mcp-testkit: giving up after {max_lifetime:?}");
            ExitCode::from(124)
        }
    }
}

async fn serve_on(transport: ServeOn, server: TestServer) -> ExitCode {
    match transport {
        ServeOn::Stdio => stdio::serve(server).await,
        #[cfg(feature = "http")]
        ServeOn::Http(serving) => crate::http::serve_process(serving, server).await,
        #[cfg(not(feature = "http"))]
        ServeOn::Http(_) => {
            eprintln!("mcp-testkit: built without HTTP, needs the feature `http`");
            ExitCode::from(2)
        }
    }
}
