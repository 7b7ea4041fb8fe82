//! All tests of the crate but those that need a process of their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod aggregator;
mod aggregator_catalogue;
mod aggregator_clients;
mod aggregator_missing;
mod aggregator_notifications;
mod aggregator_processes;
mod aggregator_raw;
mod aggregator_reload;
mod blocking;
mod breaker;
mod breaker_held;
mod breaker_recovery;
mod breaker_settings;
mod cancellation;
mod common;
mod configuration;
mod configuration_log;
mod configure;
mod control;
mod credentials;
mod deadline;
mod death;
mod declarations;
mod drop_in;
mod errors;
mod fallback;
mod handlers;
#[cfg(unix)]
mod header_sources;
mod health;
mod herd;
mod initialization;
mod killed;
mod limits;
mod list_subscriptions;
mod lists;
mod log_levels;
mod metrics;
mod notifications;
mod oauth;
mod odd_results;
mod options;
mod param_headers;
mod pending;
mod pools;
#[path = "../../../mcp-metrics/tests/it/common/mod.rs"]
mod prometheus;
mod real_http_servers;
mod real_servers;
mod reload;
mod reload_servers;
mod replay;
mod replay_unsent;
mod scope_clients;
mod scoped_handlers;
mod sharing;
mod shutdown;
mod side_by_side;
mod spans;
mod state_lost;
mod switches;
mod tasks_and_rounds;
mod tool_lists;
mod trace_context;
mod validation;
