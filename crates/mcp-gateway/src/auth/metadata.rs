//! Protected resource metadata (RFC 9728) and the challenge that leads to it.
//!
//! Clients look for the metadata at the root and at the place that the resource's path is inserted into; both are served.

use http::{HeaderMap, HeaderValue, header};
use mcp_pooled_tools::GatewayConfig;
use serde_json::{Value, json};

use super::Denied;

/// The place of the metadata of the whole host, and what stands before the path of one resource.
pub(crate) const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of the resource at `path`, where an issuer of tokens is configured.
pub(crate) fn metadata(config: &GatewayConfig, headers: &HeaderMap, path: &str) -> Option<Value> {
    let issuer = config.jwt_issuer.as_ref()?;
    Some(json!({
        "resource": format!("{}{path}", base(config, headers)),
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "mcp-pool",
    }))
}

/// The `WWW-Authenticate` header for a request to `path`.
pub(crate) fn challenge(
    config: &GatewayConfig,
    headers: &HeaderMap,
    path: &str,
    denied: &Denied,
) -> HeaderValue {
    let mut parts = Vec::new();
    if config.jwt_issuer.is_some() {
        let base = base(config, headers);
        parts.push(format!("resource_metadata=\"{base}{WELL_KNOWN}{path}\""));
    }
    if let Denied::Invalid(why) = denied {
        parts.push("error=\"invalid_token\"".to_owned());
        parts.push(format!("error_description=\"{why}\""));
    }
    let challenge = format!("Bearer {}", parts.join(", "));
    HeaderValue::from_str(challenge.trim_end()).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// Scheme and host under which the client knows the gateway. The host was checked before.
fn base(config: &GatewayConfig, headers: &HeaderMap) -> String {
    match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let host = headers.get(header::HOST);
            let host = host.and_then(|host| host.to_str().ok());
            format!("http://{}", host.unwrap_or("localhost"))
        }
    }
}
