//! Request headers of a client that are passed on, to the servers that `forward_headers` names.
//!
//! They are a part of the client's identity and of the name of its scope, so that clients which send different values share
//! neither a session with that server nor a session of the gateway.

use std::{collections::BTreeMap, fmt};

use http::HeaderMap;
use mcp_pooled_tools::{GatewayConfig, Identity};

use crate::keys::{hash, short};

/// Values by server and name of the header.
#[derive(Clone, Default)]
pub(crate) struct Forwarded(BTreeMap<String, BTreeMap<String, String>>);

impl Forwarded {
    /// What a request with these headers passes on. A header that came several times is passed on as one.
    pub(crate) fn of(config: &GatewayConfig, headers: &HeaderMap) -> Self {
        let mut forwarded = BTreeMap::new();
        for (server, names) in &config.forward_headers {
            let values = names.iter().filter_map(|name| {
                let name = name.to_ascii_lowercase();
                let values = headers.get_all(&name).iter().map(|value| value.to_str());
                let values: Vec<_> = values.collect::<Result<_, _>>().ok()?;
                (!values.is_empty()).then(|| (name, values.join(", ")))
            });
            let values: BTreeMap<_, _> = values.collect();
            if !values.is_empty() {
                forwarded.insert(server.clone(), values);
            }
        }
        Self(forwarded)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The identity, which has these headers at their servers.
    pub(crate) fn identity(&self, mut identity: Identity) -> Identity {
        for (server, values) in &self.0 {
            for (name, value) in values {
                identity = identity.header_at(server, name, value.as_str());
            }
        }
        identity
    }

    /// The name of a scope, which is another for other values.
    pub(crate) fn scope(&self, scope: String) -> String {
        if self.is_empty() {
            return scope;
        }
        let parts = self.0.iter().flat_map(|(server, values)| {
            let values = values.iter().flat_map(|(name, value)| [name, value]);
            [server].into_iter().chain(values).chain([&END])
        });
        let parts: Vec<_> = parts.map(String::as_bytes).collect();
        format!("{scope}{SEPARATOR}{}", short(&hash(&parts)))
    }
}

/// The name of a scope within another, which is its [`base`].
pub(crate) fn within(base: &str, scope: &str) -> String {
    format!("{base}{SEPARATOR}{scope}")
}

/// The name of a scope without what [`Forwarded::scope`] and [`within`] have added.
pub(crate) fn base(scope: &str) -> &str {
    scope.split(SEPARATOR).next().unwrap_or(scope)
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarded(***)")
    }
}

/// In no name of a scope.
const SEPARATOR: char = '+';
/// Keeps the headers of a server from the next server; no header's name.
static END: String = String::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_values_are_another_scope_and_what_is_not_named_is_not_passed_on() {
        let mut config = GatewayConfig::default();
        let names = vec!["X-Tenant".to_owned()];
        config.forward_headers.insert("files".to_owned(), names);
        let of = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter();
            let headers = headers.map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            Forwarded::of(&config, &headers.collect())
        };
        let scope = |headers: &[(&'static str, &str)]| of(headers).scope("s".to_owned());
        assert!(of(&[("authorization", "Bearer a"), ("x-other", "b")]).is_empty());
        assert_eq!(scope(&[("x-other", "b")]), "s");
        let (one, other) = (scope(&[("x-tenant", "a")]), scope(&[("x-tenant", "b")]));
        assert_ne!(one, other);
        assert_eq!((base(&one), base("s")), ("s", "s"));
        assert_eq!(one, scope(&[("x-tenant", "a"), ("x-other", "b")]));
    }
}
