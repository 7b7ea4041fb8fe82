//! The gateway: where it listens, whom it serves, and within which limits.
//!
//! Its table `gateway` stands in the settings file and beside the servers in theirs. Numbers and words are settings like
//! those of a pool. Texts, lists and tables lie beside them; a higher layer replaces a text or a list, and adds to a table.

mod check;
mod token;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
#[cfg(feature = "schema")]
use serde_json::Map;
use serde_json::{Value, json};

use crate::diagnostic::{ConfigError, MOST_PROBLEMS, Place, Problem};
use crate::enums::Pins;
use crate::expand::Scope;
use crate::fields::Fields;
use crate::origin::{Origin, SettingOrigin};
use crate::redacted::Templates;
use crate::settings_macro::{Setting, SettingsTable, settings};
use crate::value::{self, SettingValue, shown};

pub use token::GatewayToken;

settings! {
    /// A layer of the settings of the gateway that are numbers or words: those that are set, and no others.
    partial GatewaySettings;
    /// Settings of the gateway that are numbers or words.
    effective EffectiveGateway;
    variables "MCP_GATEWAY_";
    /// Whether it may listen to other machines without authentication or without TLS in front.
    insecure: bool = false, value::FLAG;
    /// How long a client's session may rest, without a call under way or an open stream, before it expires.
    session_idle: Duration = Duration::from_secs(24 * 3600), value::TIME;
    /// Sessions of clients in use at once.
    max_sessions: u32 = 4_096, value::COUNT_FROM_1;
    /// Sessions of clients in use at once for each principal.
    max_sessions_per_principal: u32 = 256, value::COUNT_FROM_1;
    /// Requests a minute for each principal; 0 for no limit. As many may come at once.
    rate_limit: u32 = 0, value::COUNT;
    /// What happens when a tool is not what it was at its first use.
    pins: Pins = Pins::Warn, value::PINS;
    /// Whether clients get tools that search and call, instead of the whole list.
    tool_search: bool = false, value::FLAG;
    /// Whether the audit file holds the arguments of calls, and not their hash alone.
    audit_arguments: bool = false, value::FLAG;
    /// Size at which the audit file is rotated. Four older ones are kept.
    audit_max_size: u64 = 64 << 20, value::SIZE;
}

/// A text of the configuration: a path is taken from the folder of the file that names it.
trait Text: Sized {
    fn of(text: String, folder: &Path) -> Self;
    fn shown(&self) -> Value;
}

impl Text for String {
    fn of(text: String, _: &Path) -> Self {
        text
    }

    fn shown(&self) -> Value {
        self.as_str().into()
    }
}

impl Text for PathBuf {
    fn of(text: String, folder: &Path) -> Self {
        folder.join(text)
    }

    fn shown(&self) -> Value {
        self.to_string_lossy().into()
    }
}

macro_rules! config {
    ($(#[$meta:meta])* struct $Config:ident; $($(#[doc = $doc:literal])+ $name:ident: $type:ty, $expects:literal;)+) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct $Config {
            /// The settings that are set; [`GatewayConfig::effective`] has the rest.
            #[serde(flatten)]
            pub settings: GatewaySettings,
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
            /// Host names that clients may ask for, beside addresses, `localhost` and the host of `public_url`.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub allowed_hosts: Vec<String>,
            /// Origins whose pages may use the gateway, such as `https://app.example.com`.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub allowed_origins: Vec<String>,
            /// Bearer tokens by the name of their principal.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub tokens: BTreeMap<String, GatewayToken>,
            /// Selections by name: references such as `time` and `time.get_current_time`.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub profiles: BTreeMap<String, Vec<String>>,
            /// Globs of the tools that a principal may use, as `server.tool`. `*` is the entry of principals without one; who
            /// has neither may use every tool.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub allow: BTreeMap<String, Vec<String>>,
            /// Names of request headers of a client that are passed on, by the server over HTTP that receives them. Clients
            /// that send different values share no session with that server.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub forward_headers: BTreeMap<String, Vec<String>>,
        }

        impl $Config {
            fn set_text(&mut self, name: &str, text: String, folder: &Path) {
                match name {
                    $(stringify!($name) => self.$name = Some(Text::of(text, folder)),)+
                    _ => unreachable!("only names of the table are read"),
                }
            }

            fn get_text(&self, name: &str) -> Option<Value> {
                match name {
                    $(stringify!($name) => self.$name.as_ref().map(Text::shown),)+
                    _ => None,
                }
            }

            fn texts_over(&mut self, upper: &Self) {
                $(if upper.$name.is_some() {
                    self.$name.clone_from(&upper.$name);
                })+
            }

            fn text_rows() -> Vec<Setting> {
                vec![$(Setting {
                    name: stringify!($name).to_owned(),
                    variable: concat!("MCP_GATEWAY_", stringify!($name)).to_ascii_uppercase(),
                    default: Value::Null,
                    unit: "text".to_owned(),
                    expects: $expects,
                    schema: json!({"type": "string", "minLength": 1}),
                    description: [$($doc),+].map(str::trim).join(" "),
                },)+]
            }
        }
    };
}

config! {
    /// The configuration of the gateway, of one source or of all.
    ///
    /// ```
    /// use mcp_config::{GatewayConfig, GatewaySettings, GatewayToken};
    ///
    /// let mut gateway = GatewayConfig::default();
    /// gateway.settings = GatewaySettings::new().rate_limit(600);
    /// gateway.tokens.insert("alice".to_owned(), GatewayToken::text("a-long-random-token"));
    /// assert!(gateway.validate().is_ok());
    /// assert!(!format!("{gateway:?}").contains("random"));
    /// ```
    struct GatewayConfig;
    /// Address and port of streamable HTTP; 127.0.0.1:9888 if neither this nor a socket is set.
    listen: String, "an address and a port, such as 127.0.0.1:9888";
    /// Path of a Unix socket on which the gateway listens, too.
    socket: PathBuf, "a path";
    /// The URL under which clients reach the gateway, if a proxy is in front. `https` states that the proxy has TLS.
    public_url: String, "a URL that begins with https:// or http://, without a path";
    /// Name of this replica, with which the session ids that it makes begin.
    replica: String, "1 to 16 of the characters a-z, 0-9 and -";
    /// File of the keys that seal session ids, made at the first start. Without one, no session outlasts a restart.
    key_file: PathBuf, "a path";
    /// Issuer of the JWTs that are accepted.
    jwt_issuer: String, "the claim iss of its tokens";
    /// Audience that a JWT must name: this gateway.
    jwt_audience: String, "a claim aud";
    /// URL or file of the keys (JWKS) of the issuer.
    jwt_keys: String, "a URL that begins with https:// or, on this machine, http://, or a path";
    /// File of the hashes of tools at their first use. Without one, they are forgotten at the end.
    pins_file: PathBuf, "a path";
    /// File to which each call is written as a line of JSON.
    audit_file: PathBuf, "a path";
}

/// The configuration of one source, and where that is.
pub(crate) struct GatewayLayer {
    pub(crate) config: GatewayConfig,
    pub(crate) source: GatewaySource,
}

pub(crate) enum GatewaySource {
    File(Place),
    Variables,
    Code,
}

impl GatewaySource {
    fn place(&self, name: &str) -> Place {
        match self {
            Self::File(at) => at.key(name),
            Self::Variables => Place::new("environment", variable(name)),
            Self::Code => Place::new("code", "gateway").key(name),
        }
    }

    fn origin(&self, name: &str) -> Origin {
        match self {
            Self::File(at) => {
                let place = at.key(name);
                Origin::File {
                    file: place.source,
                    path: place.path,
                }
            }
            Self::Variables => Origin::Variable(variable(name)),
            Self::Code => Origin::Code,
        }
    }
}

impl GatewayConfig {
    /// Every setting that is set, and the built-in default for the rest.
    pub fn effective(&self) -> EffectiveGateway {
        self.settings.allowed().fill()
    }

    /// Every setting that a variable can hold, as rows for documentation.
    pub fn rows() -> Vec<Setting> {
        let texts = Self::text_rows().into_iter();
        texts.chain(GatewaySettings::rows()).collect()
    }

    /// Where it listens for streamable HTTP, if it does.
    pub fn address(&self) -> Option<&str> {
        let default = self.socket.is_none().then_some(DEFAULT_ADDRESS);
        self.listen.as_deref().or(default)
    }

    /// Whether a client must say who it is: there is a token, or an issuer of JWTs.
    pub fn authenticates(&self) -> bool {
        !self.tokens.is_empty() || self.jwt_issuer.is_some()
    }

    /// This over `lower`: what is set here wins.
    #[must_use]
    pub fn over(self, mut lower: Self) -> Self {
        lower.texts_over(&self);
        let list = |upper: Vec<String>, lower: Vec<String>| {
            if upper.is_empty() { lower } else { upper }
        };
        Self {
            settings: self.settings.over(lower.settings.clone()),
            allowed_hosts: list(self.allowed_hosts, std::mem::take(&mut lower.allowed_hosts)),
            allowed_origins: list(
                self.allowed_origins,
                std::mem::take(&mut lower.allowed_origins),
            ),
            tokens: joined(self.tokens, std::mem::take(&mut lower.tokens)),
            profiles: joined(self.profiles, std::mem::take(&mut lower.profiles)),
            allow: joined(self.allow, std::mem::take(&mut lower.allow)),
            forward_headers: joined(
                self.forward_headers,
                std::mem::take(&mut lower.forward_headers),
            ),
            ..lower
        }
    }

    /// Holds the configuration against all rules.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let place = |name: &str| GatewaySource::Code.place(name);
        self.settings
            .check(&Place::new("code", "gateway"), &mut problems);
        check::values(self, &place, &mut problems);
        check::together(self, &place, &mut problems);
        ConfigError::check(problems)
    }

    /// Reads the table `gateway` of a file, collecting everything that is wrong with it. Relative paths are those of `folder`.
    pub(crate) fn read(
        table: &Value,
        at: &Place,
        scope: &Scope<'_>,
        folder: &Path,
        problems: &mut Vec<Problem>,
        notes: &mut Vec<Problem>,
    ) -> Self {
        let mut config = Self::default();
        let Some(table) = table.as_object() else {
            let message = format!("{} is not allowed, expected a table", shown(table));
            problems.push(at.problem(message));
            return config;
        };
        let mut fields = Fields::new(table, at, scope);
        let texts = Self::text_rows();
        for (name, value) in table {
            let templates = &mut Templates::default();
            match name.as_str() {
                "allowed_hosts" => config.allowed_hosts = fields.list(name, templates),
                "allowed_origins" => config.allowed_origins = fields.list(name, templates),
                "tokens" => config.tokens = token::read(&mut fields, folder),
                "profiles" => config.profiles = lists(&mut fields, name),
                "allow" => config.allow = lists(&mut fields, name),
                "forward_headers" => config.forward_headers = lists(&mut fields, name),
                _ if texts.iter().any(|row| row.name == *name) => {
                    match fields.text(name, templates) {
                        Some(text) if text.trim().is_empty() => {
                            let problem = at.key(name).problem("the text is empty");
                            fields.problems.push(problem.hint("remove it"));
                        }
                        Some(text) => config.set_text(name, text, folder),
                        None => {}
                    }
                }
                _ => match config.settings.set(name, value) {
                    Some(Ok(())) => {}
                    Some(Err(message)) => fields.problems.push(at.key(name).problem(message)),
                    None => {
                        let rows: Vec<_> = Self::rows().into_iter().map(|row| row.name).collect();
                        let known = rows.iter().map(String::as_str).chain(TABLES);
                        let problem = Problem::unknown(&at.key(name), "setting", name, known);
                        fields.problems.push(problem);
                    }
                },
            }
        }
        problems.append(&mut fields.problems);
        notes.append(&mut fields.notes);
        config
    }

    /// Reads `MCP_GATEWAY_LISTEN` and its like.
    pub(crate) fn of_variables<'a>(
        get: impl Fn(&str) -> Option<&'a str>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut config = Self::default();
        for row in Self::text_rows() {
            if let Some(text) = get(&row.variable) {
                config.set_text(&row.name, text.trim().to_owned(), Path::new(""));
            }
        }
        for row in GatewaySettings::rows() {
            if let Some(text) = get(&row.variable)
                && let Some(Err(message)) = config.settings.set(&row.name, &text.into())
            {
                problems.push(Place::new("environment", row.variable).problem(message));
            }
        }
        config
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.settings.get(name).or_else(|| self.get_text(name))
    }
}

/// Lays the layers over each other, the highest first, and tells where each setting came from.
pub(crate) fn resolve(
    layers: Vec<GatewayLayer>,
    servers: &[&str],
    problems: &mut Vec<Problem>,
    notes: &mut Vec<Problem>,
) -> (GatewayConfig, Vec<SettingOrigin>) {
    let before = problems.len();
    let mut config = GatewayConfig::default();
    for layer in &layers {
        let place = |name: &str| layer.source.place(name);
        check::values(&layer.config, &place, problems);
        check::references(&layer.config, &place, servers, notes);
        config = config.over(layer.config.clone());
    }
    let setter = |name: &str| layers.iter().find(|layer| layer.config.get(name).is_some());
    if problems.len() == before {
        let place = |name: &str| {
            let layer = setter(name).or(layers.first());
            layer.map_or(Place::new("gateway", name), |layer| {
                layer.source.place(name)
            })
        };
        check::together(&config, &place, problems);
    }
    let effective = GatewaySettings::from(config.effective());
    let origins = GatewayConfig::rows().into_iter().map(|row| SettingOrigin {
        value: effective
            .get(&row.name)
            .or_else(|| config.get_text(&row.name))
            .unwrap_or_default(),
        origin: setter(&row.name).map_or(Origin::Default, |layer| layer.source.origin(&row.name)),
        setting: row.name,
    });
    let origins = origins.collect();
    (config, origins)
}

/// A table of lists of texts.
fn lists(fields: &mut Fields<'_>, name: &str) -> BTreeMap<String, Vec<String>> {
    let at = fields.at.key(name);
    let table = match fields.get(name) {
        Some(Value::Object(table)) => table,
        Some(other) => {
            fields.wrong_kind(&at, other, "a table of lists");
            return BTreeMap::new();
        }
        None => return BTreeMap::new(),
    };
    let mut within = fields.within(table, &at);
    let lists = table.keys().map(|key| {
        let list = within.list(key, &mut Templates::default());
        (key.clone(), list)
    });
    let lists = lists.collect();
    let (problems, notes) = (within.problems, within.notes);
    fields.problems.extend(problems);
    fields.notes.extend(notes);
    lists
}

fn joined<V>(upper: BTreeMap<String, V>, mut lower: BTreeMap<String, V>) -> BTreeMap<String, V> {
    lower.extend(upper);
    lower
}

fn variable(name: &str) -> String {
    format!("MCP_GATEWAY_{}", name.to_ascii_uppercase())
}

const DEFAULT_ADDRESS: &str = "127.0.0.1:9888";

/// Names in the table that are neither texts nor settings.
const TABLES: [&str; 6] = [
    "allowed_hosts",
    "allowed_origins",
    "tokens",
    "profiles",
    "allow",
    "forward_headers",
];

/// The table as a JSON Schema.
#[cfg(feature = "schema")]
pub(crate) fn schema(settings: Map<String, Value>) -> Value {
    let described = |mut schema: Value, what: &str| {
        schema["description"] = what.into();
        json!({"anyOf": [schema, {"type": "null"}]})
    };
    let list = || json!({"type": "array", "items": {"$ref": "#/$defs/Scalar"}});
    let lists =
        || json!({"type": "object", "additionalProperties": {"anyOf": [list(), {"type": "null"}]}});
    let mut properties = settings;
    for row in GatewayConfig::text_rows() {
        properties.insert(row.name, described(row.schema, &row.description));
    }
    let tables = [
        (
            "allowed_hosts",
            list(),
            "Host names that clients may ask for, beside addresses, localhost and that of public_url.",
        ),
        (
            "allowed_origins",
            list(),
            "Origins whose pages may use the gateway.",
        ),
        (
            "tokens",
            token::schema(),
            "Bearer tokens by the name of their principal.",
        ),
        (
            "profiles",
            lists(),
            "Selections by name: references such as time and time.get_current_time.",
        ),
        (
            "allow",
            lists(),
            "Globs of the tools that a principal may use, as server.tool; * for principals without an entry.",
        ),
        (
            "forward_headers",
            lists(),
            "Names of request headers of a client that are passed on, by server.",
        ),
    ];
    for (name, schema, what) in tables {
        properties.insert(name.to_owned(), described(schema, what));
    }
    json!({
        "type": "object",
        "description": "The gateway: where it listens, whom it serves, and within which limits.",
        "additionalProperties": false,
        "properties": properties,
    })
}
