//! Configured servers and their settings.

use mcp_pooled_tools as facade;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Names;

/// A configured server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerView {
    /// Its name.
    server: String,
    /// The same, for readers of earlier versions.
    name: String,
    /// The file it was read from, or `code`.
    source: String,
    /// How it is reached: `stdio`, `http`, `custom` or `mock`.
    transport: &'static str,
    /// Why it cannot be used, if it cannot.
    disabled: Option<String>,
    /// Command, arguments, variables and folder, or URL and headers. Values that may be secret are `***`. References to
    /// variables are not expanded.
    #[schema(value_type = Option<Object>)]
    definition: Option<Value>,
}

/// A configured server with its settings and the last lines of its stderr.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerDetail {
    #[serde(flatten)]
    view: ServerView,
    /// The settings in force.
    settings: Vec<Setting>,
    /// The last lines of stderr, oldest first: of its youngest session, or else of the last process that failed to open.
    /// Secrets are `***`.
    stderr: Vec<String>,
}

/// The settings of a server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerSettings {
    #[serde(flatten)]
    names: Names,
    /// The settings in force.
    settings: Vec<Setting>,
}

/// A setting in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Setting {
    /// Its name, as a file would have it.
    setting: String,
    /// Its value, as a file would have it.
    #[schema(value_type = Value)]
    value: Value,
    /// Its origin: a file and the path in it, a variable, `code`, `default`.
    origin: String,
}

impl ServerView {
    pub(crate) fn new(settings: facade::ServerSettings, transport: &'static str) -> Self {
        let definition = settings
            .definition
            .and_then(|server| serde_json::to_value(server.transport()).ok());
        Self {
            server: settings.name.clone(),
            name: settings.name,
            source: settings.source,
            transport,
            disabled: settings.disabled,
            definition,
        }
    }
}

impl ServerDetail {
    pub(crate) fn new(
        settings: facade::ServerSettings,
        transport: &'static str,
        stderr: Vec<String>,
    ) -> Self {
        Self {
            settings: Setting::all(&settings),
            view: ServerView::new(settings, transport),
            stderr,
        }
    }
}

impl Setting {
    fn all(settings: &facade::ServerSettings) -> Vec<Self> {
        let each = settings.settings.iter();
        each.map(|setting| Self {
            setting: setting.setting.clone(),
            value: setting.value.clone(),
            origin: setting.origin.to_string(),
        })
        .collect()
    }
}

impl ServerSettings {
    pub(crate) fn new(settings: facade::ServerSettings) -> Self {
        Self {
            settings: Setting::all(&settings),
            names: Names::new(settings.name),
        }
    }
}
