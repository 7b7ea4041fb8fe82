//! Under which names a status API may be asked for.
//!
//! A page from anywhere can have a browser look up a name of its own as 127.0.0.1, and then read what listens there as if it
//! were its own (DNS rebinding). It cannot do so without a name. So an address is always taken, `localhost` too, and any
//! other name only if somebody has said that it is ours.

use std::{collections::BTreeSet, net::IpAddr};

use axum::http::{HeaderMap, Uri, header, uri::Authority};

/// The names that are ours, beside addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(BTreeSet<String>);

impl Hosts {
    pub(crate) fn allow(&mut self, host: &str) {
        let host = host.split_once("://").map_or(host, |(_, rest)| rest);
        let authority = host.split(['/', '?', '#']).next().unwrap_or_default();
        let name = authority.parse::<Authority>();
        self.0
            .insert(normal(name.as_ref().map_or(authority, Authority::host)));
    }

    /// Whether a request may be for us. `Err` tells the name that is not ours.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        // HTTP/2 has it in the URI.
        let asked_for = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => one(headers, header::HOST.as_str()),
        };
        // Browsers always say it; HTTP/1.0 probes do not.
        if asked_for.is_none() && !headers.contains_key(header::HOST) {
            return Ok(());
        }
        let host = asked_for.and_then(|authority| authority.parse::<Authority>().ok());
        match host {
            Some(host) if self.is_ours(host.host()) => Ok(()),
            Some(host) => Err(host.host().to_owned()),
            None => Err(String::new()),
        }
    }

    /// Whether a request that changes something comes from a page of ours, or from no page at all. `Err` tells the
    /// stranger.
    pub(crate) fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let Some(origin) = one(headers, header::ORIGIN.as_str()) else {
            return Err("several".into());
        };
        let parsed = origin.parse::<Uri>().ok();
        let Some(page) = parsed.as_ref().and_then(Uri::authority) else {
            return Err(origin.to_owned());
        };
        let ours = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => one(headers, header::HOST.as_str()),
        };
        // A proxy in front may have put another name in the place of the one that is listed.
        let listed = self.0.contains(&normal(page.host()));
        if listed || ours.is_some_and(|ours| ours.eq_ignore_ascii_case(page.as_str())) {
            Ok(())
        } else {
            Err(origin.to_owned())
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = normal(host);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok()
            || self.0.contains(&host)
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

/// Without the brackets of an IPv6 address, the dot of the root, and capitals.
fn normal(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        hosts.allow("https://Status.example.com:8443/pool");
        hosts
    }

    #[test]
    fn names_of_others_are_refused() {
        let uri = Uri::from_static("/");
        for (host, taken) in [
            ("localhost", true),
            ("LOCALHOST:9888", true),
            ("localhost.:9888", true),
            ("pool.localhost", true),
            ("127.0.0.1:9888", true),
            ("[::1]:9888", true),
            ("10.1.2.3", true),
            ("status.example.com:443", true),
            ("evil.example.com", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("", false),
            ("a b", false),
        ] {
            let checked = hosts().check(&uri, &headers(&[("host", host)]));
            assert_eq!(checked.is_ok(), taken, "{host}");
        }
        assert!(hosts().check(&uri, &headers(&[])).is_ok(), "no browser's");
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(hosts().check(&uri, &two).is_err());
    }

    #[test]
    fn http_2_names_the_host_in_the_uri() {
        let ours = Uri::from_static("http://localhost/metrics");
        let other = Uri::from_static("http://evil.example/metrics");
        assert!(hosts().check(&ours, &headers(&[])).is_ok());
        assert!(
            hosts()
                .check(&other, &headers(&[("host", "localhost")]))
                .is_err()
        );
    }

    #[test]
    fn pages_of_others_change_nothing() {
        let uri = Uri::from_static("/");
        for (host, origin, taken) in [
            ("localhost:9888", "http://localhost:9888", true),
            ("127.0.0.1:9888", "http://127.0.0.1:9888", true),
            // What a proxy that speaks TLS makes of it.
            ("10.0.0.7:9888", "https://status.example.com", true),
            ("localhost:9888", "http://localhost:3000", false),
            ("localhost:9888", "http://evil.example", false),
            ("127.0.0.1:9888", "http://6.6.6.6", false),
            ("localhost:9888", "null", false),
            ("localhost:9888", "", false),
        ] {
            let headers = headers(&[("host", host), ("origin", origin)]);
            let checked = hosts().check_origin(&uri, &headers);
            assert_eq!(checked.is_ok(), taken, "{origin} at {host}");
        }
        assert!(
            hosts()
                .check_origin(&uri, &headers(&[("host", "localhost")]))
                .is_ok()
        );
    }
}
