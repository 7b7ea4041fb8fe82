//! A loaded configuration: servers, each usable or disabled with its reason, and what holds for all of them.
//!
//! One bad server never stops the good ones: it is here too, under its name, with everything that is wrong with
//! it, so that asking for it later gives a reason and not "unknown server".

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::aggregator::{EffectiveAggregator, Exposure};
use crate::diagnostic::{ConfigError, Place, Problem};
use crate::enums::{Initialization, Sharing};
use crate::gateway::GatewayConfig;
use crate::layers::{Layer, LayerSource, explain, resolve};
use crate::limits::{GlobalLimits, Switches};
use crate::load::Loader;
use crate::origin::SettingOrigin;
use crate::server::ServerConfig;
use crate::settings::{EffectiveSettings, PoolSettings};

/// Everything that was configured.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// Every server that was named, usable or not.
    pub servers: BTreeMap<String, Entry>,
    /// Limits over all servers.
    pub limits: GlobalLimits,
    /// Where each of the limits came from.
    pub limits_with_origin: Vec<SettingOrigin>,
    /// How servers are merged into one.
    pub aggregator: EffectiveAggregator,
    /// Where each setting of that came from.
    pub aggregator_with_origin: Vec<SettingOrigin>,
    /// The gateway: where it listens, whom it serves, and within which limits.
    pub gateway: GatewayConfig,
    /// Where each setting of that came from.
    pub gateway_with_origin: Vec<SettingOrigin>,
    /// The effective settings of a server that sets none of its own.
    pub defaults: EffectiveSettings,
    /// Switches for debugging.
    pub switches: Switches,
    /// Things that look odd and stop nothing: ignored fields, variables that mean nothing here.
    pub notes: Vec<Problem>,
    /// The files this was read from, and those that were looked for: to follow for changes.
    pub files: Vec<PathBuf>,
}

/// One server by its name: usable, or disabled with the reason; and its settings.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Entry {
    name: String,
    source: String,
    description: Option<String>,
    #[serde(flatten)]
    state: State,
    unknown_fields: Vec<String>,
    settings: EffectiveSettings,
    #[serde(rename = "aggregator", skip_serializing_if = "Exposure::is_empty")]
    exposure: Exposure,
    #[serde(skip)]
    layers: LayerStack,
    #[serde(skip)]
    at: Place,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Server(Box<ServerConfig>),
    Disabled(Disabled),
}

/// Why a server cannot be used. It prints on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Disabled {
    /// Its file says so; this is where and how.
    SwitchedOff(String),
    /// Something is wrong with it: at least one problem.
    Invalid(Vec<Problem>),
}

/// The layers of one server: what lies below code, code, and what lies above. All servers share those that are of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerStack {
    pub(crate) below: Vec<Arc<Layer>>,
    pub(crate) code: PoolSettings,
    pub(crate) above: Vec<Arc<Layer>>,
}

/// What a loader knows of a server before its settings are resolved.
#[derive(Debug)]
pub(crate) struct UnresolvedEntry {
    pub(crate) name: String,
    pub(crate) at: Place,
    pub(crate) server: Option<ServerConfig>,
    pub(crate) description: Option<String>,
    pub(crate) switched_off: Option<String>,
    pub(crate) unknown_fields: Vec<String>,
    pub(crate) layers: LayerStack,
    pub(crate) problems: Vec<Problem>,
}

impl Config {
    /// Loads a file of servers, with `mcp-pool.toml` (or `.yaml`, `.json`) beside it and this process's environment.
    ///
    /// # Errors
    /// Everything that is wrong and concerns more than one server: a file that cannot be read, a wrong default, a
    /// misspelt variable. What is wrong with one server disables that server; if its `initialization` is `fail_fast`, it
    /// is an error too. An error, whatever its cause, also lists what is wrong with any server.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Loader::new()
            .process_environment()
            .file(path.as_ref())
            .load()
    }

    /// Loads the file that `MCP_CONFIG_PATH` names, or else `.mcp.json` in the current folder.
    ///
    /// # Errors
    /// As [`Config::from_file`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Loader::new().process_environment().discover().load()
    }

    /// Loads servers from a JSON text that errors call `name`, with this process's environment.
    ///
    /// # Errors
    /// As [`Config::from_file`].
    pub fn from_json_str(text: &str, name: &str) -> Result<Self, ConfigError> {
        Loader::new().process_environment().text(name, text).load()
    }

    /// Every server that can be used.
    pub fn usable(&self) -> impl Iterator<Item = (&str, &ServerConfig, &EffectiveSettings)> {
        self.servers
            .values()
            .filter_map(|entry| Some((entry.name(), entry.server().ok()?, entry.settings())))
    }

    /// Everything that is wrong with any server.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.servers.values().flat_map(Entry::problems)
    }

    /// Refuses a configuration in which anything is wrong with any server.
    ///
    /// # Errors
    /// All problems of all servers.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.problems().cloned().collect())
    }
}

impl Entry {
    /// Resolves a draft: its settings, and whether it can be used.
    pub(crate) fn finish(draft: UnresolvedEntry) -> Self {
        let UnresolvedEntry {
            name,
            at,
            server,
            description,
            switched_off,
            unknown_fields,
            layers,
            mut problems,
        } = draft;
        let source = at.source.clone();
        let settings = layers.resolve(&at, &mut problems);
        let exposure = server.as_ref().map(|server| server.exposed().clone());
        let state = match (switched_off, server) {
            (Some(reason), _) => State::Disabled(Disabled::SwitchedOff(reason)),
            (None, Some(server)) if problems.is_empty() => State::Server(Box::new(server)),
            (None, _) => State::Disabled(Disabled::Invalid(problems)),
        };
        Self {
            name,
            source,
            description,
            state,
            unknown_fields,
            settings,
            exposure: exposure.unwrap_or_default(),
            layers,
            at,
        }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it was read from, as it was named, or `code`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What its file says it is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The server, or why it cannot be used.
    ///
    /// # Errors
    /// If it is switched off, or anything is wrong with it.
    pub fn server(&self) -> Result<&ServerConfig, &Disabled> {
        match &self.state {
            State::Server(server) => Ok(server),
            State::Disabled(reason) => Err(reason),
        }
    }

    /// Whether it can be used.
    pub fn is_usable(&self) -> bool {
        matches!(self.state, State::Server(_))
    }

    /// Why it cannot be used, if so.
    pub fn disabled(&self) -> Option<&Disabled> {
        self.server().err()
    }

    /// Everything that is wrong with it; nothing if it is usable or switched off.
    pub fn problems(&self) -> &[Problem] {
        match &self.state {
            State::Disabled(Disabled::Invalid(problems)) => problems,
            _ => &[],
        }
    }

    /// Whether something is wrong with it, and it may not be left out.
    pub(crate) fn stops_the_start(&self) -> bool {
        !self.problems().is_empty() && self.settings.initialization == Initialization::FailFast
    }

    /// The settings its pool runs with.
    pub fn settings(&self) -> &EffectiveSettings {
        &self.settings
    }

    /// What is exposed of it where many servers are one.
    pub fn exposure(&self) -> &Exposure {
        &self.exposure
    }

    /// The same, each with its origin. Computed on every call.
    pub fn settings_with_origin(&self) -> Vec<SettingOrigin> {
        self.layers.explain(&self.at)
    }

    /// The reason of its `sharing`, if that comes from the table of [known servers](crate::known_servers).
    pub fn sharing_reason(&self) -> Option<&'static str> {
        self.layers.sharing_reason()
    }

    /// Its `sharing` if it is set anywhere, or known of the server; `None` if it is the built-in default.
    pub fn declared_sharing(&self) -> Option<Sharing> {
        self.layers.sets_sharing().then_some(self.settings.sharing)
    }

    /// Fields of its entry that mean nothing here.
    pub fn unknown_fields(&self) -> &[String] {
        &self.unknown_fields
    }

    /// Where a setting of it is to be mended.
    pub(crate) fn place_of(&self, found: &SettingOrigin) -> Place {
        found.origin.place(&self.at, &found.setting)
    }

    /// What code set for this server: by [`ServerConfig::pool`] and [`Entry::configure`]. A reload knows nothing of the
    /// latter; who wants to keep it configures the new entry with it.
    pub fn code_settings(&self) -> &PoolSettings {
        &self.layers.code
    }

    /// Changes settings from code, over everything that files and variables say. What is not set in `settings`
    /// stays as it was.
    ///
    /// # Errors
    /// Values that are not allowed, or that contradict others; nothing is changed then.
    pub fn configure(&mut self, settings: PoolSettings) -> Result<&EffectiveSettings, ConfigError> {
        let mut layers = self.layers.clone();
        layers.code = settings.over(layers.code);
        let mut problems = Vec::new();
        let settings = layers.resolve(&self.at, &mut problems);
        ConfigError::check(problems)?;
        self.layers = layers;
        self.settings = settings;
        Ok(&self.settings)
    }
}

impl LayerStack {
    fn resolve(&self, at: &Place, problems: &mut Vec<Problem>) -> EffectiveSettings {
        self.code.check(&Place::new("code", &at.path), problems);
        self.laid(|layers| resolve(layers, at, problems))
    }

    fn explain(&self, at: &Place) -> Vec<SettingOrigin> {
        self.laid(|layers| explain(layers, at))
    }

    fn sharing_reason(&self) -> Option<&'static str> {
        self.laid(|layers| {
            let mut layers = layers.iter().rev();
            let highest = layers.find(|layer| layer.settings.get("sharing").is_some())?;
            match highest.source {
                LayerSource::Known(known) => Some(known.reason),
                _ => None,
            }
        })
    }

    fn sets_sharing(&self) -> bool {
        self.laid(|layers| {
            let mut layers = layers.iter();
            layers.any(|layer| layer.settings.get("sharing").is_some())
        })
    }

    fn laid<T>(&self, then: impl FnOnce(&[&Layer]) -> T) -> T {
        let code = Layer {
            settings: self.code.clone(),
            source: LayerSource::Code,
        };
        let below = self.below.iter().map(Arc::as_ref);
        let above = self.above.iter().map(Arc::as_ref);
        then(&below.chain([&code]).chain(above).collect::<Vec<_>>())
    }
}

impl fmt::Display for Disabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff(reason) => write!(f, "switched off: {reason}"),
            Self::Invalid(problems) => {
                let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&lines.join("; "))
            }
        }
    }
}
