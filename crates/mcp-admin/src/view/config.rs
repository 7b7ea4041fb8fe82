//! What is configured.

use mcp_pooled_tools as facade;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A server as it is configured.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerView {
    /// Its name.
    name: String,
    /// The file it was read from, or `code`.
    source: String,
    /// How it is reached: `stdio`, `http`, `custom` or `mock`.
    transport: &'static str,
    /// Why it cannot be used, if it cannot.
    disabled: Option<String>,
    /// Command, arguments, variables and folder, or URL and headers. Values that may be secret are `***`, and texts with
    /// variables in them are as their file wrote them.
    #[schema(value_type = Option<Object>)]
    definition: Option<Value>,
}

/// The settings of a server.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ServerSettings {
    /// Its name.
    server_name: String,
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
    /// Where it came from: a file and the path in it, a variable, `code`, `default`.
    origin: String,
}

impl ServerView {
    pub(crate) fn new(settings: facade::ServerSettings, transport: &'static str) -> Self {
        let definition = settings
            .server
            .and_then(|server| serde_json::to_value(server.transport()).ok());
        Self {
            name: settings.name,
            source: settings.source,
            transport,
            disabled: settings.disabled,
            definition,
        }
    }
}

impl ServerSettings {
    pub(crate) fn new(settings: facade::ServerSettings) -> Self {
        let each = settings.settings.into_iter();
        Self {
            server_name: settings.name,
            settings: each
                .map(|setting| Setting {
                    setting: setting.setting,
                    value: setting.value,
                    origin: setting.origin.to_string(),
                })
                .collect(),
        }
    }
}
