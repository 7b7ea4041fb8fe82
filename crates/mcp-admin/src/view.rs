//! Response types of the API. They are its own, so that it stays the same when the pools change.

mod config;
mod pool;
mod status;

pub(crate) use config::{ServerDetail, ServerSettings, ServerView};
pub(crate) use pool::{Pool, PoolDetail};
pub(crate) use status::{
    AlertCounts, Drained, HealthCheck, Readiness, Reset, ServerHealth, Silenced, Status,
};

use serde::Serialize;
use utoipa::ToSchema;

/// The name of a server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Names {
    /// Its name.
    server: String,
    /// The same, for readers of earlier versions.
    server_name: String,
}

impl Names {
    pub(crate) fn new(server: String) -> Self {
        Self {
            server_name: server.clone(),
            server,
        }
    }
}
