#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

pub mod alert;
mod buckets;
pub mod catalog;
mod family;
pub mod health;
mod histogram;
#[cfg(feature = "listener")]
mod listener;
#[cfg(feature = "otel")]
mod otel;
mod outcome;
mod prometheus;
mod publish;
mod registry;
mod series;
mod server;
mod snapshot;
mod window;

pub use alert::{Alert, AlertEvent, AlertKind, AlertRules, Alerts};
pub use catalog::{Kind, Metric};
pub use health::{Health, HealthRules, HealthStatus};
#[cfg(feature = "listener")]
pub use listener::PrometheusListener;
pub use outcome::{BreakerState, CallOutcome, Judgement};
pub use prometheus::Prometheus;
pub use publish::Publisher;
pub use registry::{Metrics, MetricsBuilder};
pub use server::{PoolGauges, PoolLoad, ServerMetrics};
pub use snapshot::{
    GlobalMetrics, Quantiles, ServerSnapshot, Summary, ToolSnapshot, WindowSnapshot,
};
