//! Settings for pools of [Model Context Protocol](https://modelcontextprotocol.io) sessions.
//!
//! People already have an `.mcp.json`; this crate reads it as it is, in the dialect of whichever client wrote it,
//! and adds what a pool needs: settings from a file, from the environment and from code, laid over each other with
//! the origin of every value kept. Everything wrong is reported at once, each mistake with its place and its cure;
//! and what is wrong with one server costs that server only.
//!
//! ```
//! use mcp_config::{Loader, Transport};
//!
//! let config = Loader::new()
//!     .environment([("TOKEN", "hunter2"), ("MCP_POOL_MAX_CONNECTIONS", "5")])
//!     .text(
//!         ".mcp.json",
//!         r#"{
//!             "mcpServers": {
//!                 // comments and trailing commas are fine
//!                 "github": {
//!                     "type": "http",
//!                     "url": "https://mcp.example.com/mcp",
//!                     "headers": { "Authorization": "Bearer ${TOKEN}" },
//!                     "pool": { "call_timeout": "30s" },
//!                 },
//!                 "broken": { "command": "${NOT_SET}/server" },
//!             },
//!         }"#,
//!     )
//!     .load()?;
//!
//! let github = &config.servers["github"];
//! let Transport::Http(http) = github.server().unwrap().transport() else { unreachable!() };
//! assert_eq!(http.headers["Authorization"].expose(), "Bearer hunter2");
//! assert_eq!(http.headers["Authorization"].to_string(), "***");
//! assert_eq!(github.settings().max_connections, 5);
//!
//! let max = github.settings_with_origin().into_iter().find(|setting| setting.setting == "max_connections").unwrap();
//! assert_eq!(max.origin.to_string(), "MCP_POOL_MAX_CONNECTIONS");
//!
//! assert_eq!(
//!     config.servers["broken"].disabled().unwrap().to_string(),
//!     ".mcp.json: mcpServers.broken.command: variable NOT_SET is not set, set it, or write ${NOT_SET:-default}"
//! );
//! # Ok::<(), mcp_config::ConfigError>(())
//! ```
//!
//! # References in texts
//!
//! In `command`, `args`, `env`, `cwd`, `envFile`, `url` and `headers`:
//!
//! | form | stands for |
//! | --- | --- |
//! | `${VAR}`, `${env:VAR}` | the variable; unset, it disables the server and says so |
//! | `${VAR:-default}` | the variable, or the default if it is unset (an empty variable is set) |
//! | `${A:-${B}}` | defaults may hold references, up to 16 levels |
//! | `${workspaceFolder}`, `${workspaceFolderBasename}` | the folder of the project |
//! | `${userHome}` | `HOME`, or `USERPROFILE` |
//! | `${pathSeparator}`, `${/}` | `/`, or `\` on Windows |
//! | `${input:…}`, `${command:…}`, `${config:…}` | nothing outside an editor: disables the server and says so |
//!
//! Everything else, `$VAR` above all, stays as it is written; and what a variable holds is not expanded again.
//!
//! # Durations and sizes
//!
//! A duration is seconds as a number (`30`, `0.5`) or a text with units (`500ms`, `5m`, `1h 30m`); above zero, and
//! at most ten years. A size is bytes as a number, or a text such as `16MiB`. The field `timeout` of an entry is the
//! one exception: milliseconds, or seconds beside `autoApprove` or `alwaysAllow`, as the clients that write it say. A rate is a number from 0 to 1, or a text such as `50%`.

mod changes;
mod config;
mod diagnostic;
mod dialect;
mod duplicate_keys;
pub mod duration;
mod entry;
mod enums;
mod env_file;
mod environment;
mod expand;
mod fields;
mod file;
mod ineffective;
mod known_servers;
mod layers;
mod limits;
mod load;
mod name;
mod origin;
mod rate;
mod redacted;
#[cfg(feature = "schema")]
mod schema;
mod secret;
mod secret_scan;
mod server;
mod settings;
mod settings_file;
mod settings_macro;
mod value;
mod value_from;
#[cfg(feature = "watch")]
mod watch;

pub use changes::Changes;
pub use config::{Config, Disabled, Entry};
pub use diagnostic::{ConfigError, Problem};
pub use enums::{
    Fallback, Initialization, Lifecycle, OfferedVersion, Replay, Sharing, UnknownChoice, Validate,
};
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
