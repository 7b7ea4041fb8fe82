//! Uses the blocking API in async code. That is a mistake, but no reason to abort: the program gets an error each time, and
//! ends with an exit code of its own. `.ci/run abort` builds it with `panic = "abort"`, where a panic that is caught
//! elsewhere would end it.

use std::process::ExitCode;

use mcp_pooled_tools::{Error, ErrorKind, PoolSettings, ServerConfig, blocking};
use tokio::runtime::Builder;

/// What the program ends with if all went as it should.
const AS_IT_SHOULD: u8 = 42;

fn manager() -> Result<blocking::ConnectionManager, Error> {
    let builder = mcp_pooled_tools::ConnectionManager::builder()
        .server("test", ServerConfig::stdio("true"))
        .defaults(PoolSettings::new().min_connections(0));
    blocking::ConnectionManager::build(builder)
}

/// Each use that waits, in async code.
fn misuse(made_outside: &blocking::ConnectionManager) -> Vec<Result<(), Error>> {
    let tools = made_outside.tools("test");
    vec![
        manager().map(drop),
        tools.and_then(|tools| tools.list_all_tools()).map(drop),
        made_outside.check_health("test").map(drop),
        made_outside.shutdown(),
    ]
}

fn main() -> ExitCode {
    for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let (Ok(runtime), Ok(outside)) = (builder.enable_all().build(), manager()) else {
            return ExitCode::FAILURE;
        };
        // The manager is dropped there, too.
        let outcomes = runtime.block_on(async move { misuse(&outside) });
        for outcome in outcomes {
            match outcome {
                Err(error) if error.kind() == ErrorKind::Config => eprintln!("{error}"),
                other => {
                    eprintln!("not the error that it should be: {other:?}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::from(AS_IT_SHOULD)
}
