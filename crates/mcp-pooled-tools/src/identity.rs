//! On whose behalf calls are made.

use std::{collections::BTreeMap, fmt};

use mcp_config::Secret;

/// A caller's credentials: headers for HTTP servers, variables for processes.
///
/// Sessions never cross identities: each has pools of its own, and two identities are the same only if everything
/// in them is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    name: String,
    headers: BTreeMap<String, Secret>,
    env: BTreeMap<String, Secret>,
}

impl Identity {
    /// An identity with this name, which appears in status and log and must not be a secret.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            headers: BTreeMap::new(),
            env: BTreeMap::new(),
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
        self.headers
            .insert(name.into().to_ascii_lowercase(), value.into());
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

    pub(crate) fn variables(&self) -> &BTreeMap<String, Secret> {
        &self.env
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish()
    }
}
