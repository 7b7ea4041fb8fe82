//! Rules of the gateway's configuration.

use std::net::{IpAddr, SocketAddr};

use super::{GatewayConfig, GatewayToken};
use crate::diagnostic::{Place, Problem, nearest};

/// What may be wrong with single values.
pub(super) fn values(
    config: &GatewayConfig,
    place: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    let mut refuse = |name: &str, message: &str| {
        let rows = GatewayConfig::text_rows();
        let expects = rows
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.expects);
        let problem = place(name).problem(message);
        problems.push(match expects {
            Some(expects) => problem.hint(format!("expected {expects}")),
            None => problem,
        });
    };
    let is = |text: &Option<String>, rule: fn(&str) -> bool| text.as_deref().is_none_or(rule);
    if !is(&config.listen, |listen| parts(listen).is_some()) {
        refuse("listen", "not an address with a port");
    }
    if !is(&config.replica, is_replica) {
        refuse("replica", "not allowed as the name of a replica");
    }
    if !is(&config.public_url, is_origin) {
        refuse("public_url", "not a URL of a host");
    }
    if !is(&config.jwt_keys, |keys| {
        !keys.is_empty() && (!keys.starts_with("http://") || is_local_url(keys))
    }) {
        refuse(
            "jwt_keys",
            "keys must not come over the network without TLS",
        );
    }
    for (index, origin) in config.allowed_origins.iter().enumerate() {
        if !is_origin(origin) {
            let problem = place("allowed_origins")
                .index(index)
                .problem("not an origin");
            problems
                .push(problem.hint("expected such as https://app.example.com: no path, and no *"));
        }
    }
    for (name, token) in &config.tokens {
        let at = place("tokens").key(name);
        if name.is_empty() {
            problems.push(at.problem("a principal needs a name"));
        }
        match token {
            GatewayToken::Text(token) if token.expose().trim().chars().count() < MIN_TOKEN => {
                let problem = at.problem(format!(
                    "shorter than {MIN_TOKEN} characters, it can be guessed"
                ));
                problems.push(problem.hint("openssl rand -hex 32 makes one"));
            }
            GatewayToken::Text(token)
                if !token
                    .expose()
                    .trim()
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic()) =>
            {
                problems.push(
                    at.problem("holds characters that no header can have")
                        .hint("openssl rand -hex 32 makes one"),
                );
            }
            GatewayToken::From(from) => from.check(&at, problems),
            _ => {}
        }
    }
    for (server, names) in &config.forward_headers {
        for (index, name) in names.iter().enumerate() {
            if !is_forwardable(name) {
                let problem = place("forward_headers")
                    .key(server)
                    .index(index)
                    .problem("not a header that can be passed on");
                problems.push(problem.hint(
                    "headers of the connection, of the body and of the protocol (mcp-*) are the gateway's own",
                ));
            }
        }
    }
    for name in config.profiles.keys().filter(|name| !is_profile(name)) {
        let problem = place("profiles")
            .key(name)
            .problem("not allowed as the name of a profile");
        problems.push(
            problem.hint(
                "it stands in a URL: expected 1 to 64 of the characters a-z, A-Z, 0-9, _ and -",
            ),
        );
    }
}

/// What may be wrong with values that go together.
pub(super) fn together(
    config: &GatewayConfig,
    place: &dyn Fn(&str) -> Place,
    problems: &mut Vec<Problem>,
) {
    let jwt = [
        ("jwt_issuer", &config.jwt_issuer),
        ("jwt_audience", &config.jwt_audience),
        ("jwt_keys", &config.jwt_keys),
    ];
    if let Some((given, _)) = jwt.iter().find(|(_, value)| value.is_some()) {
        for (missing, _) in jwt.iter().filter(|(_, value)| value.is_none()) {
            let problem = place(given).problem(format!("{missing} is not set"));
            problems.push(problem.hint("JWTs need jwt_issuer, jwt_audience and jwt_keys"));
        }
    }
    let insecure = config.effective().insecure;
    let remote = config.public_url.as_deref().filter(|url| {
        let authority = url.split_once("://").map(|(_, authority)| authority);
        authority.is_some_and(|authority| !is_local_authority(authority))
    });
    if let (Some(url), false, false) = (remote, insecure, config.authenticates()) {
        // What comes through a proxy comes from this machine.
        let problem = place("public_url").problem(format!(
            "other machines could come through {url} without authentication"
        ));
        problems.push(problem.hint("set tokens or jwt_issuer, or state insecure = true"));
    }
    let exposed = config
        .listen
        .as_deref()
        .filter(|listen| !is_loopback(listen));
    let (Some(listen), false) = (exposed, insecure) else {
        return;
    };
    let tls = config
        .public_url
        .as_deref()
        .is_some_and(|url| url.starts_with("https://"));
    if !config.authenticates() {
        let problem = place("listen").problem(format!(
            "other machines could reach {listen} without authentication"
        ));
        problems.push(
            problem.hint("set tokens or jwt_issuer, listen on 127.0.0.1, or state insecure = true"),
        );
    } else if !tls {
        let problem = place("listen").problem(format!(
            "tokens for {listen} would cross the network without TLS"
        ));
        problems.push(problem.hint("put a proxy with TLS in front and name it in public_url, listen on 127.0.0.1, or state insecure = true"));
    }
}

/// References of profiles and keys of `forward_headers` that name no server.
pub(super) fn references(
    config: &GatewayConfig,
    place: &dyn Fn(&str) -> Place,
    servers: &[&str],
    notes: &mut Vec<Problem>,
) {
    let names_a_server = |reference: &str| {
        servers.iter().any(|server| {
            let within = |text: &str| {
                let rest = text.strip_prefix(server);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            within(reference) || reference.strip_prefix("mcp.").is_some_and(within)
        })
    };
    for server in config.forward_headers.keys() {
        if !servers.contains(&server.as_str()) {
            let note = place("forward_headers").key(server);
            let note = note.problem("no server has this name");
            notes.push(match nearest(server, servers.iter().copied()) {
                Some(near) => note.hint(format!("did you mean {near}?")),
                None => note,
            });
        }
    }
    for (name, list) in &config.profiles {
        for (index, reference) in list.iter().enumerate() {
            if names_a_server(reference) {
                continue;
            }
            let note = place("profiles")
                .key(name)
                .index(index)
                .problem("no server has this name");
            let server = reference.split('.').next().unwrap_or_default();
            notes.push(match nearest(server, servers.iter().copied()) {
                Some(near) => note.hint(format!("did you mean {near}?")),
                None => note,
            });
        }
    }
}

/// Whether it is the name of a header that says nothing of the message or its connection.
fn is_forwardable(name: &str) -> bool {
    const OWN: [&str; 16] = [
        "accept",
        "accept-encoding",
        "connection",
        "expect",
        "host",
        "keep-alive",
        "last-event-id",
        "origin",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !lower.is_empty()
        && lower.bytes().all(token)
        && !OWN.contains(&&*lower)
        && !lower.starts_with("mcp-")
        && !lower.starts_with("content-")
}

/// Host and port of an address.
fn parts(listen: &str) -> Option<(&str, u16)> {
    let (host, port) = listen.rsplit_once(':')?;
    let whole = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
    whole.then_some((host, port.parse().ok()?))
}

fn is_loopback(listen: &str) -> bool {
    match listen.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => parts(listen).is_some_and(|(host, _)| host == "localhost"),
    }
}

fn is_replica(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=16).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_profile(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// Scheme and host, and a slash at most.
fn is_origin(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.trim_end_matches('/'));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']) && host.is_ascii()
    })
}

fn is_local_url(url: &str) -> bool {
    url.strip_prefix("http://").is_some_and(is_local_authority)
}

/// Whether a host, and a port and a path behind it perhaps, is this machine.
fn is_local_authority(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Characters of a token, as many as cannot be guessed over a network.
const MIN_TOKEN: usize = 16;
