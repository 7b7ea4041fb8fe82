//! Everything at one moment, to be shown or sent.

use std::time::Duration;

use mcp_breaker::{Counts, State};
use mcp_pool_core::PoolStatus;
use serde::Serialize;

/// All servers of a manager at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ManagerStatus {
    /// Each server, in the order of their names.
    pub servers: Vec<ServerStatus>,
    /// Sessions over all servers, counting those being opened and those not yet dead.
    pub connections: usize,
    /// How many there may be.
    pub max_connections: usize,
}

/// A server at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// How it is reached: `stdio`, `http` or `custom`.
    pub transport: &'static str,
    /// Why it cannot be used, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// Its pools: one for callers without an identity, and one for each identity, once they have been asked for.
    pub pools: Vec<IdentityPool>,
}

/// The pool of one identity.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct IdentityPool {
    /// The identity's name; `None` for callers without.
    pub identity: Option<String>,
    /// The pool.
    #[serde(flatten)]
    pub pool: PoolStatus,
    /// Whether calls are let through to the server.
    pub circuit_breaker_state: State,
    /// What the breaker has seen.
    pub circuit_breaker: Counts,
    /// When the breaker lets the next call through, if it is open.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Calls made once more after a failure.
    pub retries: u64,
    /// Calls made beside the pool because it was full.
    pub fallbacks: u64,
}
