//! What the API says, in types of its own: what the pools are made of may change, and this not.

mod config;
mod pool;
mod status;

pub(crate) use config::{ServerDetail, ServerSettings, ServerView};
pub(crate) use pool::{Pool, PoolDetail};
pub(crate) use status::{
    AlertCounts, Drained, HealthCheck, Readiness, Reset, ServerHealth, Silenced, Status,
};

use std::time::Duration;

/// To the millisecond: more is noise.
fn seconds(duration: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "centuries of milliseconds fit")]
    let milliseconds = duration.as_millis() as f64;
    milliseconds / 1000.0
}
