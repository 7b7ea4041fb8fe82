//! Status of all servers at one moment, for display and JSON.

use std::{ops::Deref, time::Duration};

use mcp_breaker::{Counts, State};
use mcp_config::{EffectiveSettings, Entry, ServerConfig, SettingOrigin};
use serde::{Serialize, Serializer};

use crate::connector::{ConnectorFactory, Target};

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
    /// How often a changed configuration has been taken over since the manager was made.
    pub reloads: u64,
    /// What was wrong with the last changed configuration: none of it was taken over, or all but the servers it names.
    /// Gone when one is taken over whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reload_error: Option<String>,
}

/// A server at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its name.
    pub server: String,
    /// The same, under the name that it has always had here.
    pub name: String,
    /// How it is reached: `stdio`, `http`, `custom`, or `mock` where `MCP_ENABLE_MOCKS` replaces it.
    pub transport: &'static str,
    /// Why it cannot be used, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// Its pools: one for callers without an identity, and one for each identity, once they have been asked for.
    pub pools: Vec<PoolStatus>,
}

/// The pool of one identity at one moment. Derefs to what the pool alone says of itself.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The identity's name; `None` for callers without.
    pub identity: Option<String>,
    /// The pool.
    #[serde(flatten)]
    pub pool: mcp_pool_core::SessionPoolStatus,
    /// The reason of its `sharing`, if that comes from the table of known servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing_reason: Option<&'static str>,
    /// Sessions in whatever state.
    pub total_connections: u32,
    /// Sessions that are ready and unused.
    pub available_connections: u32,
    /// Openings that failed for good, and sessions that broke.
    pub connection_errors: u64,
    /// Probes that were not answered.
    pub health_check_failures: u64,
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

/// The settings of a server, with where each of them came from.
///
/// Shown or sent as JSON it holds no secret: values of headers and variables are `***`, texts are as their file wrote
/// them.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerSettings {
    /// The server's name.
    pub server: String,
    /// The same, under the name that it has always had here.
    pub name: String,
    /// The file it was read from, or `code`.
    pub source: String,
    /// How it is reached; `None` if it is disabled, or reached by a connector of the program's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<ServerConfig>,
    /// Why it cannot be used, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// The settings.
    #[serde(skip)]
    pub effective: EffectiveSettings,
    /// The same, each by its name, with its origin.
    pub settings: Vec<SettingOrigin>,
}

impl ServerSettings {
    pub(crate) fn of(entry: &Entry, factory: &ConnectorFactory) -> Self {
        let definition = match factory.target {
            Target::Custom(_) => None,
            _ => entry.server().ok().cloned(),
        };
        Self {
            server: entry.name().to_owned(),
            name: entry.name().to_owned(),
            source: entry.source().to_owned(),
            definition,
            disabled: entry.disabled().map(ToString::to_string),
            effective: entry.settings().clone(),
            settings: entry.settings_with_origin(),
        }
    }
}

/// Serialises a duration in seconds.
pub(crate) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Deref for PoolStatus {
    type Target = mcp_pool_core::SessionPoolStatus;

    fn deref(&self) -> &Self::Target {
        &self.pool
    }
}
