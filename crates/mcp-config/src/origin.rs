//! The origin of an effective value: a file and the path in it, a variable, code, or the built-in default.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::diagnostic::{Place, printable};
use crate::known_servers::KnownServer;
use crate::layers::LayerSource;

/// The layer an effective value comes from.
///
/// It prints as `default`, `mcp-pool.toml: defaults.max_connections`,
/// `MCP_POOL_MAX_CONNECTIONS`, `code`, `code, for all servers`, `follows max_connections`. It serialises as that text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File {
        /// The file as it was named.
        file: String,
        /// The path in it, such as `mcpServers.github.pool.max_connections`.
        path: String,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// The table of well-known servers: [`known_servers`](crate::known_servers).
    Known(&'static KnownServer),
    /// Code, for this server.
    Code,
    /// Code, for all servers: [`Loader::defaults`](crate::Loader::defaults).
    CodeForAll,
    /// The default gave way to another setting, or another setting implies the value.
    Follows(&'static str),
}

impl Origin {
    /// The origin of `setting` in this layer.
    pub(crate) fn of(layer: Option<&LayerSource>, setting: &str) -> Self {
        let file = |place: Place| Self::File {
            file: place.source,
            path: place.path,
        };
        match layer {
            None => Self::Default,
            Some(LayerSource::Known(known)) => Self::Known(known),
            Some(LayerSource::Code) => Self::Code,
            Some(LayerSource::CodeForAll) => Self::CodeForAll,
            Some(LayerSource::Field(place)) => file(place.clone()),
            Some(LayerSource::File(place)) => file(place.key_path(setting)),
            Some(LayerSource::Variables(names)) => Self::Variable(
                names
                    .get(setting)
                    .cloned()
                    .unwrap_or_else(|| "environment".to_owned()),
            ),
        }
    }

    /// Where to change `setting` of the server at `server`.
    pub(crate) fn place(&self, server: &Place, setting: &str) -> Place {
        match self {
            Self::File { file, path } => Place::new(file, path),
            Self::Variable(name) => Place::new("environment", name),
            Self::Code => Place::new("code", &server.path).key_path(setting),
            Self::CodeForAll => Place::new("code", "defaults").key_path(setting),
            Self::Default | Self::Known(_) | Self::Follows(_) => server.key_path(setting),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, path } => write!(f, "{}: {path}", printable(file.clone())),
            Self::Variable(name) => f.write_str(name),
            Self::Known(known) => write!(f, "known server {}: {}", known.name, known.reason),
            Self::Code => f.write_str("code"),
            Self::CodeForAll => f.write_str("code, for all servers"),
            Self::Follows(setting) => write!(f, "follows {setting}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An effective value with its origin.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SettingOrigin {
    /// The setting: `max_connections`, `circuit_breaker.failure_threshold`.
    pub setting: String,
    /// The value in force, as a file would hold it.
    pub value: serde_json::Value,
    /// Where it came from.
    pub origin: Origin,
}
