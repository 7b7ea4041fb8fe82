//! All tests of the crate but those that need a process of their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broken_files;
mod control_characters;
mod dialects;
mod docs;
#[cfg(feature = "edit")]
mod edit;
mod extremes;
mod gateway;
mod header_sources;
#[cfg(unix)]
mod not_utf8;
mod one_bad_server;
mod plain_secrets;
mod precedence;
mod round_trip;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "schema")]
mod schema_agrees;
mod unprivileged;
#[cfg(feature = "watch")]
mod watch;
mod zeroes;

/// A loader without the variables of this process, so that no test depends on where it runs.
fn loader() -> mcp_config::Loader {
    mcp_config::Loader::new().environment([("", ""); 0])
}
