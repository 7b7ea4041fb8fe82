//! Connector factories of a manager, one for each server, also for servers that a reload adds.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mcp_config::{Config, Entry, HttpServer, ServerConfig, Switches, Transport};
use mcp_pool_core::{Connector, client_info, rmcp::model::ClientConfig, source::ValueSource};

use crate::{
    connector::{ConnectorFactory, HeaderSources, Target},
    credentials::SharedSource,
    error::{Error, ErrorKind},
};

/// Headers whose values come from code, by server.
pub(super) type Sources = BTreeMap<Arc<str>, HeaderSources>;

/// Looks for the source of a header of a server.
pub(super) type FindSource =
    Arc<dyn Fn(&str, &HttpServer) -> Option<Arc<dyn ValueSource>> + Send + Sync>;

/// The headers that are looked for, at each server over HTTP.
pub(super) type FoundSources = BTreeMap<String, FindSource>;

/// What sessions declare to their servers: name, version, capabilities and extensions of the client.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    pub(super) everywhere: Option<ClientConfig>,
    pub(super) by_server: BTreeMap<Arc<str>, ClientConfig>,
}

impl Declarations {
    fn of(&self, server: &str) -> ClientConfig {
        let declared = self.by_server.get(server).or(self.everywhere.as_ref());
        declared.cloned().unwrap_or_else(client_info)
    }
}

pub(super) struct ConnectorFactories {
    connectors: BTreeMap<Arc<str>, Arc<dyn Connector>>,
    sources: Sources,
    found: FoundSources,
    declarations: Declarations,
    mocks: bool,
}

impl ConnectorFactories {
    /// # Errors
    /// `MCP_ENABLE_MOCKS`, where no mock was built in.
    pub(super) fn new(
        connectors: Vec<(Arc<str>, Arc<dyn Connector>)>,
        switches: Switches,
    ) -> Result<Self, Error> {
        if switches.enable_mocks {
            mock("")?;
            tracing::warn!("MCP_ENABLE_MOCKS: every server is replaced by a mock");
        }
        Ok(Self {
            connectors: connectors.into_iter().collect(),
            sources: Sources::new(),
            found: FoundSources::new(),
            declarations: Declarations::default(),
            mocks: switches.enable_mocks,
        })
    }

    /// # Errors
    /// A server that is not there, or cannot have headers; a name that no header has.
    pub(super) fn with_sources(mut self, sources: Sources, config: &Config) -> Result<Self, Error> {
        for (name, headers) in &sources {
            let wrong = |what: &str| Err(Error::new(ErrorKind::Config, what).of(name));
            let Some(entry) = config.servers.get(&**name) else {
                return wrong("a header is set, but there is no such server");
            };
            if self.connectors.contains_key(name) {
                return wrong("a header is set, but the server has a connector of its own");
            }
            // One that is disabled says so itself.
            let transport = entry.server().map(ServerConfig::transport);
            if matches!(transport, Ok(Transport::Stdio(_))) {
                return wrong("a header is set, but a stdio server has no headers");
            }
            if let Some(header) = headers.keys().find(|header| !is_token(header)) {
                return wrong(&format!("`{header}` is not a name a header can have"));
            }
        }
        self.sources = sources;
        Ok(self)
    }

    /// # Errors
    /// A name that no header has.
    pub(super) fn with_found(mut self, found: FoundSources) -> Result<Self, Error> {
        if let Some(header) = found.keys().find(|header| !is_token(header)) {
            let message = format!("`{header}` is not a name a header can have");
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.found = found;
        Ok(self)
    }

    /// # Errors
    /// A server that is not there.
    pub(super) fn with_declarations(
        mut self,
        declarations: Declarations,
        config: &Config,
    ) -> Result<Self, Error> {
        let mut named = declarations.by_server.keys();
        if let Some(name) = named.find(|name| !config.servers.contains_key(&***name)) {
            let message = "its client info is set, but there is no such server";
            return Err(Error::new(ErrorKind::Config, message).of(name));
        }
        self.declarations = declarations;
        Ok(self)
    }

    pub(super) fn factory(&self, name: &Arc<str>, entry: &Entry) -> ConnectorFactory {
        let mocked = if self.mocks { mock(name).ok() } else { None };
        let target = match (mocked, self.connectors.get(name), entry.server()) {
            (Some(mock), ..) => Target::Mock(mock),
            (None, Some(connector), _) => Target::Custom(Arc::clone(connector)),
            (None, None, Ok(server)) => Target::Config(Box::new(server.clone())),
            // Kept, so that asking for it says why it cannot be used.
            (None, None, Err(_)) => Target::Config(Box::new(ServerConfig::stdio("disabled"))),
        };
        let mut sources = HeaderSources::new();
        if let Target::Config(config) = &target
            && let Transport::Http(http) = config.transport()
        {
            let found = self.found.iter().filter_map(|(header, find)| {
                Some((header.clone(), SharedSource(find(name, http)?)))
            });
            sources.extend(found);
        }
        sources.extend(self.sources.get(name).cloned().unwrap_or_default());
        let client = self.declarations.of(name);
        ConnectorFactory::new(Arc::clone(name), target, client, sources)
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

#[cfg(feature = "in-process")]
#[allow(
    clippy::unnecessary_wraps,
    reason = "the same call with and without the feature"
)]
fn mock(server: &str) -> Result<Arc<dyn Connector>, Error> {
    Ok(crate::mock::connector(server))
}

#[cfg(not(feature = "in-process"))]
fn mock(_: &str) -> Result<Arc<dyn Connector>, Error> {
    Err(Error::new(
        ErrorKind::Config,
        "MCP_ENABLE_MOCKS is set, but there are no mocks: build mcp-pooled-tools with the feature `in-process`, or \
         unset the variable",
    ))
}

impl fmt::Debug for ConnectorFactories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorFactories")
            .field("connectors", &self.connectors.keys())
            .field("sources", &self.sources)
            .field("found", &self.found.keys())
            .field("mocks", &self.mocks)
            .finish()
    }
}
