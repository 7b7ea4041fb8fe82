//! Connector factory: makes a connector from a server's configuration and an identity.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

use std::{collections::BTreeMap, fmt, sync::Arc};

use mcp_config::{EffectiveSettings, Secret, ServerConfig, Transport};
use mcp_pool_core::{
    Connected, Connector, EraMemory, Handshake, LifecycleMode, OpenError, OpenErrorKind, Phase,
    ServerListener, SessionHandler,
    connect::{BoxFuture, stdio::Stdio},
    rmcp::model::{
        ClientConfig, LoggingLevel, ProtocolVersion, ServerPeerInfo, SetLevelRequestParams,
    },
};
use parking_lot::Mutex;

use crate::{
    credentials::SharedSource, identity::Identity, notifications::Notifications, secrets::Secrets,
    subscription,
};

/// How a server is reached.
#[derive(Clone)]
pub(crate) enum Target {
    Config(Box<ServerConfig>),
    Custom(Arc<dyn Connector>),
    /// Stands in for the server, whatever it is.
    Mock(Arc<dyn Connector>),
}

/// Sources of header values that code has given, by header.
pub(crate) type HeaderSources = BTreeMap<String, SharedSource>;

/// What all pools of a server share.
#[derive(Clone)]
pub(crate) struct ConnectorFactory {
    pub(crate) name: Arc<str>,
    pub(crate) target: Target,
    pub(crate) era: EraMemory,
    /// What sessions declare, unless a handle declares something else.
    pub(crate) client: ClientConfig,
    sources: HeaderSources,
    #[cfg(feature = "http")]
    pub(crate) http: Arc<std::sync::OnceLock<mcp_pool_core::connect::http::HttpClient>>,
}

impl ConnectorFactory {
    pub(crate) fn new(
        name: Arc<str>,
        target: Target,
        client: ClientConfig,
        sources: HeaderSources,
    ) -> Self {
        Self {
            name,
            target,
            era: EraMemory::default(),
            client,
            sources,
            #[cfg(feature = "http")]
            http: Arc::default(),
        }
    }

    /// Whether code gives values of headers.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    pub(crate) fn is_mock(&self) -> bool {
        matches!(self.target, Target::Mock(_))
    }

    /// `stdio`, `http`, `custom` or `mock`.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.target {
            Target::Config(config) => match config.transport() {
                Transport::Stdio(_) => "stdio",
                Transport::Http(_) => "http",
                _ => "unknown",
            },
            Target::Custom(_) => "custom",
            Target::Mock(_) => "mock",
        }
    }

    pub(crate) fn handshake(
        &self,
        settings: &EffectiveSettings,
        info: ClientConfig,
        listener: Arc<dyn ServerListener>,
    ) -> Handshake {
        use mcp_config::Lifecycle;
        let mode = match settings.lifecycle {
            Lifecycle::Initialize => LifecycleMode::Initialize,
            Lifecycle::Discover => LifecycleMode::Discover,
            _ => LifecycleMode::Auto,
        };
        let handshake =
            Handshake::new(mode, self.era.clone(), SessionHandler::new(info)).listener(listener);
        let offered = settings.protocol_version.as_str();
        let mut known = ProtocolVersion::KNOWN_VERSIONS.iter();
        match known.find(|version| version.as_str() == offered) {
            Some(version) => handshake.protocol_version(version.clone()),
            None => handshake,
        }
    }

    /// The secrets that must not appear in a message about this server.
    pub(crate) fn secrets(&self, identity: Option<&Identity>) -> Secrets {
        let mut values = match &self.target {
            Target::Config(config) => config.secrets(),
            Target::Custom(_) | Target::Mock(_) => Vec::new(),
        };
        if let Some(identity) = identity {
            let headers = identity.headers().values();
            values.extend(headers.flat_map(|value| Secret::of_header(value.expose())));
            values.extend(identity.variables().values().cloned());
        }
        Secrets::new(values.into_iter().map(|secret| secret.expose().to_owned()))
    }

    pub(crate) fn connector(
        &self,
        identity: Option<&Identity>,
        settings: &EffectiveSettings,
        secrets: &Secrets,
    ) -> Result<Arc<dyn Connector>, OpenError> {
        let config = match &self.target {
            Target::Custom(connector) | Target::Mock(connector) => {
                return Ok(Arc::clone(connector));
            }
            Target::Config(config) => config,
        };
        let max_message_size = usize::try_from(settings.max_message_size).unwrap_or(usize::MAX);
        match config.transport() {
            Transport::Stdio(server) => {
                let mut stdio = Stdio::new(&server.command)
                    .name(Arc::clone(&self.name))
                    .args(&server.args)
                    .inherit_env(settings.inherit_env)
                    .max_message_size(max_message_size);
                for (name, value) in &server.env {
                    stdio = stdio.env(name, value.expose());
                }
                for (name, value) in identity.into_iter().flat_map(Identity::variables) {
                    stdio = stdio.env(name, value.expose());
                }
                if let Some(dir) = &server.cwd {
                    stdio = stdio.current_dir(dir);
                }
                Ok(Arc::new(stdio))
            }
            Transport::Http(server) => {
                self.http_connector(server, identity, settings, secrets, max_message_size)
            }
            _ => Err(unusable("this kind of transport is not known here")),
        }
    }

    #[cfg(feature = "http")]
    fn http_connector(
        &self,
        server: &mcp_config::HttpServer,
        identity: Option<&Identity>,
        settings: &EffectiveSettings,
        secrets: &Secrets,
        max_message_size: usize,
    ) -> Result<Arc<dyn Connector>, OpenError> {
        use crate::credentials::RedactedSource;
        use mcp_pool_core::connect::http::Http;
        let mut http = Http::new(&server.url)?
            .max_in_flight(settings.max_in_flight as usize)
            .max_message_size(max_message_size)
            .reopen_forgotten(settings.sharing != mcp_config::Sharing::Pinned);
        match self.http.get() {
            Some(client) => http = http.client(client.clone()),
            None => drop(self.http.set(http.shared_client())),
        }
        for (name, value) in &server.headers {
            http = http.header(name, value.expose())?;
        }
        for (name, from) in &server.headers_from {
            http = http.header_from(name, Arc::new(RedactedSource::configured(from, secrets)))?;
        }
        for (name, source) in &self.sources {
            http = http.header_from(
                name,
                Arc::new(RedactedSource::new(Arc::clone(&source.0), secrets)),
            )?;
        }
        for (name, value) in identity.into_iter().flat_map(Identity::headers) {
            http = http.header(name, value.expose())?;
        }
        for (name, source) in identity.into_iter().flat_map(Identity::sources) {
            http = http.header_from(
                name,
                Arc::new(RedactedSource::new(Arc::clone(source), secrets)),
            )?;
        }
        Ok(Arc::new(http))
    }

    #[cfg(not(feature = "http"))]
    #[allow(
        clippy::unused_self,
        reason = "the same call with and without the feature"
    )]
    fn http_connector(
        &self,
        _: &mcp_config::HttpServer,
        _: Option<&Identity>,
        _: &EffectiveSettings,
        _: &Secrets,
        _: usize,
    ) -> Result<Arc<dyn Connector>, OpenError> {
        Err(unusable(
            "the server is spoken to over HTTP: build mcp-pooled-tools with the feature `http` (or `tls`)",
        ))
    }
}

fn unusable(message: &str) -> OpenError {
    OpenError::new(OpenErrorKind::Config, Phase::Open, message)
}

/// Set-up of every new session of a pool, and what the server declared in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup(Arc<SetupState>);

#[derive(Debug, Default)]
struct SetupState {
    level: Mutex<Option<LoggingLevel>>,
    peer: Mutex<Option<Arc<ServerPeerInfo>>>,
}

impl Setup {
    /// The log level for sessions to come.
    pub(crate) fn set_level(&self, level: LoggingLevel) {
        *self.0.level.lock() = Some(level);
    }

    /// What the server said of itself when a session was last opened.
    pub(crate) fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        self.0.peer.lock().clone()
    }
}

/// A connector whose sessions are set up before their first call.
pub(crate) struct WithSetup {
    pub(crate) inner: Arc<dyn Connector>,
    pub(crate) setup: Setup,
    pub(crate) notifications: Arc<Notifications>,
}

impl Connector for WithSetup {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let connected = self.inner.connect(handshake).await?;
            let info = connected.peer().peer_info();
            self.notifications.tools.set_server(info.as_deref());
            subscription::begin(&connected, &self.notifications).await;
            *self.setup.0.peer.lock() = info;
            let level = *self.setup.0.level.lock();
            if let Some(level) = level {
                // A level that the server does not take is no reason not to use it.
                let _ = connected
                    .peer()
                    .set_level(SetLevelRequestParams::new(level))
                    .await;
            }
            Ok(connected)
        })
    }

    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        self.inner.credentials_changed()
    }
}

impl fmt::Debug for ConnectorFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorFactory")
            .field("name", &self.name)
            .field("kind", &self.kind())
            .field("headers_from", &self.sources.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;

    fn secrets(server: ServerConfig) -> Secrets {
        let target = Target::Config(Box::new(server));
        ConnectorFactory::new(
            "test".into(),
            target,
            mcp_pool_core::client_info(),
            HeaderSources::new(),
        )
        .secrets(None)
    }

    #[test]
    fn what_becomes_of_headers_and_of_a_urls_user_is_kept_out_of_messages() {
        let url = "http://me:p%40ss-word@127.0.0.1/mcp";
        let server = ServerConfig::http(url).header("X-Key", "ApiKey key-1234567");
        let secrets = secrets(server);
        for (said, shown) in [
            ("header Basic bWU6cEBzcy13b3Jk", "header ***"),
            ("credentials bWU6cEBzcy13b3Jk", "credentials ***"),
            ("wrong password p@ss-word", "wrong password ***"),
            ("bad key-1234567", "bad ***"),
        ] {
            assert_eq!(secrets.redact(said), shown, "{said}");
        }
    }
}
