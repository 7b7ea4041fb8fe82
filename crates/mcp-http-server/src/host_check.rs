//! Checks of the `Host` and `Origin` headers, against pages from elsewhere.
//!
//! A page can have the browser resolve its own host name to 127.0.0.1 and then read what listens there as its own (DNS
//! rebinding). It needs a name for that, so addresses and `localhost` are always accepted, and other names only if they are
//! allowed. A page can also send requests to a server whose responses it cannot read; those carry its origin.

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, HeaderName, Request, Uri, header, uri::Authority};

/// The host names of a server, beside addresses and `localhost`, and the origins whose pages may use it.
///
/// [`check_host`](Self::check_host) belongs on every request, [`check_origin`](Self::check_origin) on those that change
/// something.
#[derive(Clone, Debug, Default)]
pub struct HostCheck {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
}

/// The request asks for a host that is not this server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{host}` is not a name of this service: ask for it by its address or as localhost, or have the name allowed \
     (`allow_host`)"
)]
#[non_exhaustive]
pub struct ForeignHost {
    /// The name; empty if there is none that can be read.
    pub host: String,
}

/// The request comes from a page of another site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page from `{origin}` may not change anything here")]
#[non_exhaustive]
pub struct ForeignOrigin {
    /// The site, as the request names it.
    pub origin: String,
}

impl HostCheck {
    /// Accepts addresses and `localhost` only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts this host name, too. Of a URL pages of its origin are accepted as well, as behind a proxy that replaces the
    /// name by another.
    pub fn allow_host(&mut self, host: &str) {
        let rest = host.split_once("://").map(|(_, rest)| rest);
        if rest.is_some() {
            self.origins.extend(origin(host));
        }
        let rest = rest.unwrap_or(host);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = authority.parse::<Authority>();
        let name = name.as_ref().map_or(authority, Authority::host);
        self.hosts.insert(normal(name));
    }

    /// Accepts pages of this origin, such as `https://app.example.com:8443`. That its scripts can read the responses is a
    /// matter of CORS headers.
    pub fn allow_origin(&mut self, page: &str) {
        let other = || page.trim_end_matches('/').to_ascii_lowercase();
        self.origins.insert(origin(page).unwrap_or_else(other));
    }

    /// Whether a request asks for this server.
    ///
    /// # Errors
    /// [`ForeignHost`] if it asks for another, or for several.
    pub fn check_host<B>(&self, request: &Request<B>) -> Result<(), ForeignHost> {
        let host = requested_host(request.uri(), request.headers());
        // Browsers always send it; HTTP/1.0 probes do not.
        if host.is_none() && !request.headers().contains_key(header::HOST) {
            return Ok(());
        }
        let host = host.and_then(|authority| authority.parse::<Authority>().ok());
        match host {
            Some(host) if self.is_known(host.host()) => Ok(()),
            host => Err(ForeignHost {
                host: host.map_or_else(String::new, |host| host.host().to_owned()),
            }),
        }
    }

    /// Whether a request comes from a page of this server, from one of an allowed origin, or from no page.
    ///
    /// # Errors
    /// [`ForeignOrigin`] if it comes from another page.
    pub fn check_origin<B>(&self, request: &Request<B>) -> Result<(), ForeignOrigin> {
        let headers = request.headers();
        if !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        let page = single(headers, &header::ORIGIN);
        let foreign = || {
            let origin = page.unwrap_or("several").to_owned();
            ForeignOrigin { origin }
        };
        let named = page.ok_or_else(foreign)?;
        let page = origin(named).unwrap_or_else(|| named.to_ascii_lowercase());
        let own = requested_host(request.uri(), headers);
        if self.origins.contains(&page) || own.is_some_and(|own| self.is_own(own, &page)) {
            return Ok(());
        }
        Err(foreign())
    }

    /// Whether a page is of the host and port that a request asks for. Only a known URL says by which scheme these are
    /// reached: a proxy may be what ends TLS.
    fn is_own(&self, own: &str, page: &str) -> bool {
        let by = |scheme: &str| origin(&format!("{scheme}://{own}"));
        let [plain, encrypted] = ["http", "https"].map(by);
        let known = |origin: &Option<String>| {
            let origin = origin.as_ref();
            origin.is_some_and(|origin| self.origins.contains(origin))
        };
        let is_known = known(&plain) || known(&encrypted);
        !is_known && [plain, encrypted].iter().flatten().any(|own| own == page)
    }

    fn is_known(&self, host: &str) -> bool {
        let host = normal(host);
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok()
            || self.hosts.contains(&host)
    }
}

/// Host and port that a request asks for. HTTP/2 has them in the URI.
fn requested_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => single(headers, &header::HOST),
    }
}

/// The value of a header that is there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

/// Scheme, host and port of a URL as browsers write them, if it has these.
fn origin(url: &str) -> Option<String> {
    let url = url.parse::<Uri>().ok()?;
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let default = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some(
        match authority.port_u16().filter(|port| Some(*port) != default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        },
    )
}

/// In lower case, without the brackets of an IPv6 address and the dot of the root.
fn normal(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    bare.unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn check() -> HostCheck {
        let mut check = HostCheck::new();
        check.allow_host("https://Status.example.com:8443/pool");
        check.allow_host("127.0.0.1:9888");
        check.allow_host("pool.example.com");
        check.allow_origin("https://app.example.com:8443/");
        check
    }

    #[test]
    fn names_of_other_hosts_are_refused() {
        for (host, accepted) in [
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
            ("app.example.com", false),
            ("", false),
            ("a b", false),
        ] {
            let checked = check().check_host(&request("/", &[("host", host)]));
            assert_eq!(checked.is_ok(), accepted, "{host}");
        }
        assert!(check().check_host(&request("/", &[])).is_ok(), "no browser");
        let two = request("/", &[("host", "localhost"), ("host", "evil.example")]);
        assert!(check().check_host(&two).is_err());
    }

    #[test]
    fn http_2_names_the_host_in_the_uri() {
        let own = request("http://localhost/metrics", &[]);
        assert!(check().check_host(&own).is_ok());
        let other = request("http://evil.example/metrics", &[("host", "localhost")]);
        assert!(check().check_host(&other).is_err());
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (host, origin, accepted) in [
            ("localhost:9888", "http://localhost:9888", true),
            ("127.0.0.1:9888", "http://127.0.0.1:9888", true),
            ("pool.example.com", "https://pool.example.com", true),
            ("pool.example.com", "http://pool.example.com:80", true),
            ("pool.example.com:443", "https://pool.example.com", true),
            ("pool.example.com", "https://pool.example.com:8443", false),
            ("127.0.0.1:9888", "http://127.0.0.1:5173", false),
            ("127.0.0.1:9888", "http://127.0.0.1", false),
            ("[::1]:9888", "http://[::1]:9888", true),
            // A proxy that ends TLS.
            ("10.0.0.7:9888", "https://status.example.com:8443", true),
            ("10.0.0.7:9888", "https://status.example.com", false),
            ("10.0.0.7:9888", "http://status.example.com:8443", false),
            (
                "status.example.com:8443",
                "http://status.example.com:8443",
                false,
            ),
            (
                "status.example.com:8443",
                "https://status.example.com:8443",
                true,
            ),
            ("10.0.0.7:9888", "https://App.example.com:8443", true),
            ("10.0.0.7:9888", "https://app.example.com", false),
            ("10.0.0.7:9888", "https://app.example.com:9443", false),
            ("10.0.0.7:9888", "http://app.example.com:8443", false),
            ("localhost:9888", "http://localhost:3000", false),
            ("localhost:9888", "http://evil.example", false),
            ("127.0.0.1:9888", "http://6.6.6.6", false),
            ("localhost:9888", "null", false),
            ("localhost:9888", "", false),
        ] {
            let request = request("/", &[("host", host), ("origin", origin)]);
            let checked = check().check_origin(&request);
            assert_eq!(checked.is_ok(), accepted, "{origin} at {host}");
        }
        let no_page = request("/", &[("host", "localhost")]);
        assert!(check().check_origin(&no_page).is_ok());
    }
}
