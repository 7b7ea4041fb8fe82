//! Identities: headers and variables of the user on whose behalf calls are made.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mcp_config::Secret;
use mcp_pool_core::source::ValueSource;

use crate::credentials::SharedSource;

/// A caller's credentials: headers for HTTP servers, variables for processes.
///
/// Sessions never cross identities: each has pools of its own, and two identities are the same only if everything
/// in them is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    name: String,
    headers: BTreeMap<String, Secret>,
    headers_from: BTreeMap<String, SharedSource>,
    env: BTreeMap<String, Secret>,
    /// Headers for one server alone.
    headers_at: BTreeMap<String, BTreeMap<String, Secret>>,
}

impl Identity {
    /// An identity with this name, which appears in status and log and must not be a secret.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            headers: BTreeMap::new(),
            headers_from: BTreeMap::new(),
            env: BTreeMap::new(),
            headers_at: BTreeMap::new(),
        }
    }

    /// Sends a bearer token with every request to an HTTP server.
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Sends a header with every request to an HTTP server, in place of a configured one of this name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.headers_from.remove(&name);
        self.headers.insert(name, value.into());
        self
    }

    /// Sends a header with every request to the server of this name, if it is reached over HTTP, in place of one of this name
    /// for all servers. To other servers the identity is the same without it, and shares their sessions.
    #[must_use]
    pub fn header_at(
        mut self,
        server: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<Secret>,
    ) -> Self {
        let headers = self.headers_at.entry(server.into()).or_default();
        headers.insert(name.into().to_ascii_lowercase(), value.into());
        self
    }

    /// What it is to one server.
    pub(crate) fn at(&self, server: &str) -> Self {
        let mut identity = self.clone();
        let own = std::mem::take(&mut identity.headers_at).remove(server);
        for (name, value) in own.unwrap_or_default() {
            identity = identity.header(name, value);
        }
        identity
    }

    /// Sends a header whose value `source` gives, in place of a configured one of this name. The source is asked when a
    /// session is opened for this identity, and again when the server has refused its value (401).
    ///
    /// Two identities with the same name are the same only if they have the very same source: clone the identity, or
    /// the [`Arc`].
    #[must_use]
    pub fn header_from(mut self, name: impl Into<String>, source: Arc<dyn ValueSource>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.headers.remove(&name);
        self.headers_from.insert(name, SharedSource(source));
        self
    }

    /// Sets a variable for a server's process, in place of a configured one of this name.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn headers(&self) -> &BTreeMap<String, Secret> {
        &self.headers
    }

    #[cfg(feature = "http")]
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&String, &Arc<dyn ValueSource>)> {
        let sources = self.headers_from.iter();
        sources.map(|(name, source)| (name, &source.0))
    }

    pub(crate) fn variables(&self) -> &BTreeMap<String, Secret> {
        &self.env
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("headers_from", &self.headers_from)
            .field("headers_at", &self.headers_at)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_its_name_and_what_was_set_for_it_last() {
        let alice = Identity::new("alice")
            .header("X-Key", "1")
            .header("x-key", "2")
            .bearer("token")
            .env("TOKEN", "3");
        assert_eq!(alice.name(), "alice");
        let lines = |values: &BTreeMap<String, Secret>| -> Vec<_> {
            let lines = values.iter();
            lines
                .map(|(name, value)| format!("{name}={}", value.expose()))
                .collect()
        };
        let headers = ["authorization=Bearer token", "x-key=2"];
        assert_eq!(lines(alice.headers()), headers);
        assert_eq!(lines(alice.variables()), ["TOKEN=3"]);
    }
}
