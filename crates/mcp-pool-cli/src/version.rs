//! The version of this program, by which a daemon of another one is noticed.

use http::HeaderMap;

/// The header in which the daemon says its version.
pub(crate) const HEADER: &str = "mcp-pool-version";

/// The version of this program. A variable gives another, for tests.
pub(crate) fn own() -> String {
    std::env::var("POOL_TEST_VERSION").unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned())
}

/// What there is to say if the daemon that answered with these headers is of another version.
pub(crate) fn difference(headers: &HeaderMap) -> Option<String> {
    let daemon = headers.get(HEADER)?.to_str().ok()?;
    let own = own();
    (daemon != own).then(|| {
        format!(
            "mcp-pool is {own} and its daemon {daemon}\n\
             Fix: mcp-pool stop (the next client starts the daemon again)"
        )
    })
}
