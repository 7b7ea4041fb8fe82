//! Loading: from files, variables and code to one [`Config`].
//!
//! A loader reads what it was given, and the process's environment if it was given no other, so that a test, an embedding
//! program or a dry run can say exactly what is read. Order, the later wins:
//!
//! | for every server | for one server |
//! | --- | --- |
//! | built-in defaults | the `timeout` field of its entry |
//! | `[defaults]` of `mcp-pool.toml`, `.yaml` or `.json` | the `pool` table of its entry |
//! | `MCP_POOL_*`, `MCP_CIRCUIT_BREAKER_*` | `MCP_SERVER_<NAME>_<SETTING>` |
//! | code: [`Loader::defaults`] | code: [`ServerConfig::pool`], [`Entry::configure`](crate::Entry::configure) |
//!
//! A setting of one server wins over a setting of all servers, from any source: a server's own `pool` table wins over
//! [`Loader::defaults`]. The entry of a stateful server in [`known_servers`](crate::known_servers) lies between the columns,
//! that of a stateless one below both. Only the switches `MCP_SINGLE_CONNECTION` and `MCP_DISABLE_HEALTH_CHECKS` lie above both columns.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aggregator::{AggregatorSettings, Exposure};
use crate::config::{Config, Entry, LayerStack, UnresolvedEntry};
use crate::diagnostic::{ConfigError, Place, Problem, distinct};
use crate::environment::{CONFIG_PATH, Environment, server_prefix, switch_layers};
use crate::expand::Scope;
use crate::gateway::{self, GatewayConfig, GatewayLayer, GatewaySource};
use crate::known_servers::KnownServer;
use crate::layers::{Layer, LayerSource, resolve, resolve_table};
use crate::limits::LimitSettings;
use crate::origin::SettingOrigin;
use crate::server::ServerConfig;
use crate::settings::PoolSettings;
use crate::settings_file::{self, SettingsFile};
use crate::settings_macro::SettingsTable;
use crate::{dialect, entry, file, ineffective, name};

/// Gathers sources and loads them.
///
/// ```
/// use mcp_config::Loader;
///
/// let config = Loader::new()
///     .environment([("MCP_POOL_MAX_CONNECTIONS", "5")])
///     .text(".mcp.json", r#"{"mcpServers": {"time": {"command": "mcp-server-time"}}}"#)
///     .load()
///     .unwrap();
/// assert_eq!(config.servers["time"].settings().max_connections, 5);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a loader does nothing until `load` is called"]
pub struct Loader {
    environment: Option<Environment>,
    sources: Vec<Source>,
    discover: bool,
    settings_file: Option<PathBuf>,
    workspace: Option<PathBuf>,
    defaults: PoolSettings,
    limits: LimitSettings,
    aggregator: AggregatorSettings,
    exposures: BTreeMap<String, Exposure>,
    gateway: GatewayConfig,
    servers: Vec<(String, ServerConfig)>,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Text { name: String, text: String },
}

impl fmt::Debug for Source {
    /// Without the text: it may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text { name, .. } => f.debug_tuple("Text").field(name).finish(),
        }
    }
}

impl Loader {
    /// A loader with the variables of this process, unless [`environment`](Self::environment) gives others; no file, no
    /// server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses these variables, beside those given before, and not the process's own: `environment([("", ""); 0])` uses none.
    pub fn environment<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let environment = self.environment.get_or_insert_default();
        for (name, value) in variables {
            environment.set(name.into(), value.into());
        }
        self
    }

    /// Uses the variables of this process, as they are now, beside those given before. A loader that is given none reads
    /// them at each load.
    pub fn process_environment(mut self) -> Self {
        let environment = self.environment.get_or_insert_default();
        environment.extend(Environment::of_process());
        self
    }

    /// Adds a file of servers, and `mcp-pool.toml` (or `.yaml`, `.yml`, `.json`) beside it if there is one. Of several
    /// files that name the same server, the last one wins.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.push(Source::File(path.into()));
        self
    }

    /// Adds servers from a JSON text that errors call `name`.
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.sources.push(Source::Text {
            name: name.into(),
            text: text.into(),
        });
        self
    }

    /// Adds the file that `MCP_CONFIG_PATH` names, or else `.mcp.json` in the workspace folder, by default the current
    /// one.
    pub fn discover(mut self) -> Self {
        self.discover = true;
        self
    }

    /// Uses this settings file, instead of looking for one beside the servers' file.
    pub fn settings_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings_file = Some(path.into());
        self
    }

    /// What `${workspaceFolder}` stands for, and where relative `cwd` and `envFile` begin. By default the folder of the
    /// servers' file, or the one above it for files in `.vscode`, `.cursor` and their like.
    pub fn workspace_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.workspace = Some(path.into());
        self
    }

    /// Settings from code for every server: over `[defaults]` of the settings file and `MCP_POOL_*`, and under whatever
    /// is said of one server, be it in its own `pool` table.
    pub fn defaults(mut self, settings: PoolSettings) -> Self {
        self.defaults = settings.over(self.defaults);
        self
    }

    /// Limits from code, over those of files and variables.
    pub fn limits(mut self, limits: LimitSettings) -> Self {
        self.limits = limits.over(self.limits);
        self
    }

    /// Settings of the aggregate from code, over those of files and variables.
    pub fn aggregator(mut self, settings: AggregatorSettings) -> Self {
        self.aggregator = settings.over(self.aggregator);
        self
    }

    /// The gateway from code, over that of files and variables.
    pub fn gateway(mut self, gateway: GatewayConfig) -> Self {
        self.gateway = gateway.over(self.gateway);
        self
    }

    /// What is exposed of one server, whichever source names it, in place of what its entry says.
    pub fn expose(mut self, server: impl Into<String>, exposure: Exposure) -> Self {
        self.exposures.insert(server.into(), exposure);
        self
    }

    /// Adds a server from code. It replaces one of the same name in a file.
    pub fn server(mut self, name: impl Into<String>, server: ServerConfig) -> Self {
        self.servers.push((name.into(), server));
        self
    }

    /// Reads all sources and merges them.
    ///
    /// # Errors
    /// As [`Config::from_file`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        let environment = match &self.environment {
            Some(environment) => Cow::Borrowed(environment),
            None => Cow::Owned(Environment::of_process()),
        };
        let mut load = Load {
            loader: self,
            environment: &environment,
            problems: Vec::new(),
            notes: Vec::new(),
            files: Vec::new(),
            gateways: Vec::new(),
        };
        let config = load.run();
        if !load.problems.is_empty() || config.servers.values().any(Entry::stops_the_start) {
            load.problems.extend(config.problems().cloned());
        }
        ConfigError::check(distinct(load.problems))?;
        Ok(config)
    }

    /// Keeps to the variables as they are now.
    #[cfg(feature = "watch")]
    pub(crate) fn keep_environment(&mut self) {
        self.environment.get_or_insert_with(Environment::of_process);
    }

    fn sources(&self, environment: &Environment) -> Vec<Source> {
        let mut sources = self.sources.clone();
        if self.discover {
            let named = environment.get(CONFIG_PATH);
            sources.push(Source::File(match (named, &self.workspace) {
                (Some(path), _) => PathBuf::from(path),
                (None, Some(workspace)) => workspace.join(DEFAULT_FILE),
                (None, None) => PathBuf::from(DEFAULT_FILE),
            }));
        }
        sources
    }
}

/// One load under way.
struct Load<'a> {
    loader: &'a Loader,
    environment: &'a Environment,
    problems: Vec<Problem>,
    notes: Vec<Problem>,
    files: Vec<PathBuf>,
    /// The gateway in the servers' files.
    gateways: Vec<GatewayLayer>,
}

impl Load<'_> {
    fn run(&mut self) -> Config {
        let loader = self.loader;
        let sources = loader.sources(self.environment);
        let settings = self.settings(&sources);
        let base = self.base_layers(&settings);
        let switches = self.environment.switches(&mut self.problems);
        self.environment.misspelt(&mut self.problems);
        self.environment.not_utf8(&mut self.problems);
        let above: Vec<_> = switch_layers(switches).into_iter().map(Arc::new).collect();

        let before = self.problems.len();
        let all: Vec<_> = base.iter().chain(&above).map(Arc::as_ref).collect();
        let defaults = resolve(&all, &settings.at, &mut self.problems);
        let base_is_sound = self.problems.len() == before;

        let mut drafts = BTreeMap::new();
        for source in &sources {
            self.read_source(source, &mut drafts);
        }
        for (name, server) in &loader.servers {
            drafts.insert(name.clone(), draft_from_code(name, server));
        }
        for (name, exposure) in &loader.exposures {
            let at = Place::new("code", "").key(name).key("aggregator");
            match drafts.get_mut(name) {
                Some(draft) => {
                    exposure.check(&at, &mut draft.problems);
                    draft.server = draft
                        .server
                        .take()
                        .map(|server| server.exposure(exposure.clone()));
                }
                None => self
                    .problems
                    .push(at.problem("there is no server of this name")),
            }
        }
        let prefixes: Vec<String> = drafts.keys().map(|name| server_prefix(name)).collect();
        let mut servers = BTreeMap::new();
        for (name, mut draft) in drafts {
            let own = self
                .environment
                .server_layer(&name, &prefixes, &mut draft.problems);
            let below = std::mem::take(&mut draft.layers.below);
            let server = draft.server.as_ref();
            let known = server.and_then(|server| KnownServer::of(server.transport()));
            let (stateful, stateless) = match known {
                Some(known) if known.is_stateful() => (Some(known.layer()), None),
                known => (None, known.map(KnownServer::layer)),
            };
            draft.layers.below.extend(stateless);
            if base_is_sound {
                draft.layers.below.extend(base.iter().cloned());
            }
            draft.layers.below.extend(stateful);
            draft.layers.below.extend(below);
            draft.layers.below.extend(unless_empty(own));
            draft.layers.above.clone_from(&above);
            servers.insert(name, Entry::finish(draft));
        }
        self.environment
            .unknown_variables(&prefixes, &mut self.notes);
        let at = |table| settings.at.key(table);
        let (limits, limits_with_origin) =
            self.table(at("limits"), settings.limits.clone(), &loader.limits);
        let (aggregator, aggregator_with_origin) = self.table(
            at("aggregator"),
            settings.aggregator.clone(),
            &loader.aggregator,
        );
        let (gateway, gateway_with_origin) = self.gateway(settings, &servers);
        for entry in servers.values().filter(|entry| entry.is_usable()) {
            self.notes.extend(ineffective::notes(entry, &limits));
        }
        let (notes, files) = (
            std::mem::take(&mut self.notes),
            std::mem::take(&mut self.files),
        );
        Config {
            servers,
            limits,
            limits_with_origin,
            aggregator,
            aggregator_with_origin,
            gateway,
            gateway_with_origin,
            defaults,
            switches,
            notes,
            files,
        }
    }

    fn settings(&mut self, sources: &[Source]) -> SettingsFile {
        let folders = sources.iter().filter_map(|source| match source {
            Source::File(path) => Some(path.parent().unwrap_or(Path::new(""))),
            Source::Text { .. } => None,
        });
        let path = match &self.loader.settings_file {
            Some(path) => Some(path.clone()),
            None => settings_file::sibling_files(folders, &mut self.files, &mut self.problems),
        };
        match path {
            Some(path) => {
                self.files.push(path.clone());
                settings_file::read(&path, &mut self.problems, &mut self.notes)
            }
            None => SettingsFile::default(),
        }
    }

    fn base_layers(&mut self, settings: &SettingsFile) -> Vec<Arc<Layer>> {
        self.loader
            .defaults
            .check(&Place::new("code", "defaults"), &mut self.problems);
        let file = Layer {
            settings: settings.defaults.clone(),
            source: LayerSource::File(settings.at.key("defaults")),
        };
        let variables = self
            .environment
            .pool_layer(&mut self.problems, &mut self.notes);
        let code = Layer {
            settings: self.loader.defaults.clone(),
            source: LayerSource::CodeForAll,
        };
        [file, variables, code]
            .into_iter()
            .filter_map(unless_empty)
            .collect()
    }

    fn read_source(&mut self, source: &Source, drafts: &mut BTreeMap<String, UnresolvedEntry>) {
        let (name, text, workspace) = match source {
            Source::Text { name, text } => (
                name.clone(),
                Ok(text.clone()),
                self.loader.workspace.clone(),
            ),
            Source::File(path) => {
                self.files.push(path.clone());
                let workspace = self.loader.workspace.clone().or_else(|| workspace_of(path));
                (
                    path.to_string_lossy().into_owned(),
                    file::read(path),
                    workspace,
                )
            }
        };
        let format = file::Format::of(Path::new(&name));
        let root = match text.and_then(|text| file::parse(&text, format, &name, &mut self.notes)) {
            Ok(root) => root,
            Err(problem) => {
                let hint = "create it, or name another one in MCP_CONFIG_PATH";
                let missing =
                    self.loader.discover && matches!(source, Source::File(path) if !path.exists());
                return self
                    .problems
                    .push(if missing { problem.hint(hint) } else { problem });
            }
        };
        if let Some(table) = dialect::gateway(&root) {
            let at = Place::new(&name, dialect::GATEWAY);
            let layer = self.gateway_of(table, at, workspace.as_deref());
            self.gateways.push(layer);
        }
        let folder = self.loader.workspace.clone();
        let folder = folder.or_else(|| std::env::current_dir().ok());
        match dialect::find(&root, &name, folder.as_deref(), &mut self.notes) {
            Ok(tables) => {
                for table in tables {
                    let workspace = table.project.or(workspace.as_deref());
                    self.read_servers(&table, workspace, drafts);
                }
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    fn read_servers(
        &mut self,
        found: &dialect::ServerMap<'_>,
        workspace: Option<&Path>,
        drafts: &mut BTreeMap<String, UnresolvedEntry>,
    ) {
        if found.servers.len() > MOST_SERVERS {
            let message = format!("{} servers are too many", found.servers.len());
            self.problems.push(
                found
                    .at
                    .problem(message)
                    .hint(format!("at most {MOST_SERVERS} are read")),
            );
            return;
        }
        let scope = Scope::of(self.environment, workspace);
        for (name, value) in found.servers {
            let is_gateway = found.at.path.is_empty() && name == dialect::GATEWAY;
            if (name == "$schema" && !value.is_object())
                || (is_gateway && !dialect::looks_like_a_server(value))
            {
                continue;
            }
            let at = found.at.key(name);
            let mut parsed = entry::read(value, &at, &scope, workspace);
            name::check(name, &found.at, &mut parsed.problems);
            self.notes.append(&mut parsed.notes);
            self.files.append(&mut parsed.files);
            let left_out = found.left_out(name).map(str::to_owned);
            let mut below = Vec::new();
            if let Some(settings) = parsed.timeout {
                below.push(Arc::new(Layer {
                    settings,
                    source: LayerSource::Field(at.key("timeout")),
                }));
            }
            below.extend(unless_empty(Layer {
                settings: parsed.pool,
                source: LayerSource::File(at.key("pool")),
            }));
            drafts.insert(
                name.clone(),
                UnresolvedEntry {
                    name: name.clone(),
                    at,
                    server: parsed.server,
                    description: parsed.description,
                    switched_off: parsed.switched_off.or(left_out),
                    unknown_fields: parsed.unknown_fields,
                    layers: LayerStack {
                        below,
                        ..LayerStack::default()
                    },
                    problems: parsed.problems,
                },
            );
        }
    }

    /// A table of settings for all servers: from the settings file, the environment and code.
    fn table<S: SettingsTable>(
        &mut self,
        at: Place,
        file: S,
        code: &S,
    ) -> (S::Effective, Vec<SettingOrigin>) {
        code.check(&Place::new("code", &at.path), &mut self.problems);
        let file = Layer {
            settings: file,
            source: LayerSource::File(at),
        };
        let code = Layer {
            settings: code.clone(),
            source: LayerSource::Code,
        };
        let variables = self.environment.layer(&mut self.problems);
        resolve_table(&[file, variables, code], &mut self.problems)
    }

    /// The gateway of all sources: code, variables, the servers' files, the settings file.
    fn gateway(
        &mut self,
        settings: SettingsFile,
        servers: &BTreeMap<String, Entry>,
    ) -> (GatewayConfig, Vec<SettingOrigin>) {
        let code = self.loader.gateway.clone();
        code.settings
            .check(&Place::new("code", "gateway"), &mut self.problems);
        let get = |variable: &str| self.environment.get(variable);
        let variables = GatewayConfig::of_variables(get, &mut self.problems);
        let own = [
            (code, GatewaySource::Code),
            (variables, GatewaySource::Variables),
        ];
        let own = own.map(|(config, source)| GatewayLayer { config, source });
        let mut layers = Vec::from(own);
        layers.extend(std::mem::take(&mut self.gateways).into_iter().rev());
        if let Some(table) = &settings.gateway {
            let folder = Path::new(&settings.at.source).parent();
            let at = settings.at.key(dialect::GATEWAY);
            layers.push(self.gateway_of(table, at, folder));
        }
        layers.retain(|layer| layer.config != GatewayConfig::default());
        let servers: Vec<_> = servers.keys().map(String::as_str).collect();
        gateway::resolve(layers, &servers, &mut self.problems, &mut self.notes)
    }

    fn gateway_of(
        &mut self,
        table: &serde_json::Value,
        at: Place,
        folder: Option<&Path>,
    ) -> GatewayLayer {
        let scope = Scope::of(self.environment, folder);
        let folder = folder.unwrap_or(Path::new(""));
        let (problems, notes) = (&mut self.problems, &mut self.notes);
        let config = GatewayConfig::read(table, &at, &scope, folder, problems, notes);
        GatewayLayer {
            config,
            source: GatewaySource::File(at),
        }
    }
}

fn draft_from_code(name: &str, server: &ServerConfig) -> UnresolvedEntry {
    let at = Place::new("code", "").key(name);
    let mut problems = Vec::new();
    name::check(name, &Place::new("code", ""), &mut problems);
    server.check(&at, "url", &mut problems);
    UnresolvedEntry {
        name: name.to_owned(),
        at,
        server: Some(server.clone()),
        description: None,
        switched_off: None,
        unknown_fields: Vec::new(),
        layers: LayerStack {
            code: server.pool_settings().clone(),
            ..LayerStack::default()
        },
        problems,
    }
}

fn unless_empty(layer: Layer) -> Option<Arc<Layer>> {
    (!layer.settings.is_empty()).then(|| Arc::new(layer))
}

/// The folder a client would have open when it reads this file.
fn workspace_of(path: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(path).ok()?.parent()?.to_path_buf();
    let of_client = folder
        .file_name()
        .is_some_and(|name| CLIENT_FOLDERS.iter().any(|known| name == *known));
    if of_client {
        folder.parent().map(Path::to_path_buf)
    } else {
        Some(folder)
    }
}

const DEFAULT_FILE: &str = ".mcp.json";

/// Servers one file may name: each costs a few kilobytes once its settings are resolved.
const MOST_SERVERS: usize = 5_000;

const CLIENT_FOLDERS: &[&str] = &[".vscode", ".cursor", ".gemini", ".claude", ".github"];
