#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs shows which feature an item needs

mod aggregator;
mod base64;
mod changes;
mod config;
mod diagnostic;
mod dialect;
mod duplicate_keys;
pub mod duration;
#[cfg(feature = "edit")]
mod edit;
mod entry;
mod enums;
mod env_file;
mod environment;
mod expand;
mod fields;
mod file;
mod gateway;
mod ineffective;
mod known_servers;
mod launcher;
mod layers;
mod limits;
mod load;
mod name;
mod origin;
mod plain_secrets;
mod rate;
mod redacted;
#[cfg(feature = "schema")]
mod schema;
mod secret;
mod secret_forms;
mod secret_scan;
mod server;
mod settings;
mod settings_file;
mod settings_macro;
mod value;
mod value_from;
#[cfg(feature = "watch")]
mod watch;

pub use aggregator::{AggregatorSettings, EffectiveAggregator, Exposure};
pub use changes::Changes;
pub use config::{Config, Disabled, Entry};
pub use diagnostic::{ConfigError, Problem, ProblemKind};
#[cfg(feature = "edit")]
pub use edit::Document;
pub use enums::{
    Fallback, Initialization, Lifecycle, OfferedVersion, Pins, Prefix, Replay, Sharing,
    UnknownChoice, Validate,
};
pub use gateway::{EffectiveGateway, GatewayConfig, GatewaySettings, GatewayToken};
pub use known_servers::{KnownServer, known_servers};
pub use limits::{GlobalLimits, LimitSettings, Switches};
pub use load::Loader;
pub use origin::{Origin, SettingOrigin};
pub use rate::Rate;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use secret::Secret;
pub use server::{HttpServer, ServerConfig, StdioServer, Transport};
pub use settings::{
    CircuitBreakerSettings, EffectiveCircuitBreaker, EffectiveSettings, PoolSettings, settings,
};
pub use settings_macro::Setting;
pub use value_from::{ValueCommand, ValueFrom, ValuePlace};
#[cfg(feature = "watch")]
pub use watch::{Reload, Watcher};
