//! Section Network: how far the way to a server goes.

use std::time::Duration;

use http::Uri;
use mcp_config::HttpServer;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{catalog, finding::Finding};

/// Credentials that are sent without encryption.
pub(super) fn check(name: &str, server: &HttpServer) -> Option<Finding> {
    let uri: Uri = server.url.parse().ok()?;
    let host = uri.host()?;
    let with_secrets = !server.headers.is_empty() || !server.headers_from.is_empty();
    if uri.scheme_str() != Some("http") || is_loopback(host) || !with_secrets {
        return None;
    }
    let message = format!("headers go to {host} without encryption");
    let found = catalog::PLAIN_HTTP.found(message).of(name);
    Some(found.fix("write https:// in its url"))
}

/// Why there is no way to a server that did not open: `None` if its host accepts connections, or a proxy is between.
pub(super) async fn diagnose(name: &str, server: &HttpServer) -> Option<Finding> {
    if PROXIES.iter().any(|name| std::env::var_os(name).is_some()) {
        return None;
    }
    let uri: Uri = server.url.parse().ok()?;
    let host = uri.host()?;
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unknown = |why: String| {
        let found = catalog::UNKNOWN_HOST.found(format!("the host {host} is not known"));
        let fix = format!("check the url and the network: getent hosts {host}");
        Some(found.of(name).cause(why).fix(fix))
    };
    let addresses = match timeout(LIMIT, lookup_host((bare, port))).await {
        Err(_) => return unknown(format!("no answer within {} s", LIMIT.as_secs())),
        Ok(Err(error)) => return unknown(error.to_string()),
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
    };
    let why = match timeout(LIMIT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", LIMIT.as_secs()),
    };
    let found = catalog::NO_CONNECTION.found(format!("no connection to {host}, port {port}"));
    let fix = "start the server, or check the port in its url and the firewall";
    Some(found.of(name).cause(why).fix(fix))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

const LIMIT: Duration = Duration::from_secs(3);
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];
