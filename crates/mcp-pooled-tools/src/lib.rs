#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod aggregator;
pub mod blocking;
mod call;
mod client;
mod connector;
mod credentials;
mod direct;
mod error;
mod events;
mod global;
mod identity;
mod lists;
mod manager;
#[cfg(feature = "in-process")]
mod mock;
mod monitor;
mod notifications;
mod operation;
mod pending;
mod pinned;
mod reply;
mod request;
mod request_options;
mod scope;
mod scope_handler;
mod secrets;
mod server;
mod server_pool;
mod status;
mod subscription;
mod telemetry;
mod temporary;
mod tool_cache;
mod tool_list;
mod tools;
mod trace;
mod validation;

pub use rmcp;

pub use aggregator::{
    AggregateNotification, AggregateNotifications, Aggregator, FromServer, ListChange, ListChanges,
    Listing, Missing, Pattern, ToolTarget, forget_lists, known_tools,
};
pub use client::{BoxFuture, Client, Tools};
pub use direct::DirectTools;
pub use error::{Error, ErrorKind};
pub use events::{Event, EventStream};
pub use global::{pooled_tools, shutdown};
pub use identity::Identity;
pub use manager::{
    ConnectionManager, ConnectionManagerBuilder, Drained, HealthReport, Probe, Reset,
};
pub use mcp_breaker as breaker;
pub use mcp_config as config;
pub use mcp_config::{
    AggregatorSettings, Exposure, Fallback, GatewayConfig, GatewaySettings, GatewayToken,
    Initialization, Lifecycle, LimitSettings, OfferedVersion, PoolSettings, Prefix, Replay, Secret,
    ServerConfig, Sharing, Validate,
};
pub use mcp_metrics as metrics;
pub use mcp_metrics::{
    Alert, AlertEvent, AlertKind, AlertRules, HealthRules, HealthStatus, Metrics, Summary,
};
pub use mcp_pool_core as core;
pub use mcp_pool_core::{
    AuthChallenge, CloseReason, Connections, Phase, RawParams, SessionState, SessionStatus,
};
pub use notifications::{Notification, NotificationStream};
pub use pending::PendingRequest;
pub use pinned::PinnedSession;
pub use reply::{Reply, ReplyKind};
pub use request::Request;
pub use request_options::RequestOptions;
pub use scope_handler::Attribution;
/// The name of [`RequestOptions`] where tools are called.
pub type CallOptions = RequestOptions;
pub use status::{ManagerStatus, PoolStatus, ServerSettings, ServerStatus};
pub use tools::PooledTools;
pub use trace::TraceContext;
