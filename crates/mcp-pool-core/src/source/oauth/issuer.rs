//! Issuer check: which authorization server may receive secrets.
//!
//! An MCP server names its authorization server by itself, and so could name any that would like to have a client's
//! secret. So a secret goes to one issuer alone: the one of the configuration, else the one that a user has consented at,
//! else one at the MCP server's own origin. The endpoints of that issuer come from its own metadata, which is fetched
//! where RFC 8414 puts it, and not from where the MCP server says.

use std::time::Duration;

use reqwest::Url;
use rmcp::transport::auth::AuthorizationMetadata;

use super::failure::Failure;

/// The issuer that secrets may be sent to, if `named` by the MCP server is that issuer.
///
/// `None` where no issuer is known and the one that was named may be used as it is.
///
/// # Errors
/// The MCP server names another one.
pub(super) fn checked<'a>(
    pinned: Option<&'a str>,
    named: Option<&str>,
    known_from: &str,
) -> Result<Option<&'a str>, Failure> {
    match (pinned, named) {
        (Some(pinned), Some(named)) if !is_same(pinned, named) => Err(Failure::new(format!(
            "the MCP server names the authorization server {named}, but {known_from} is {pinned}: \
             nothing was sent to {named}; if it is yours, set `issuer` to it"
        ))),
        (pinned, _) => Ok(pinned),
    }
}

/// A secret may be sent to an authorization server that only the MCP server itself has named: it is the same
/// server.
///
/// # Errors
/// It is another.
pub(super) fn at_origin_of(server: &str, named: Option<&str>) -> Result<(), Failure> {
    let Some(named) = named else {
        // Endpoints made up from the server's own URL.
        return Ok(());
    };
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    if origin(server).is_some_and(|own| origin(named) == Some(own)) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the MCP server names the authorization server {named}, and no configuration does: the client's secret was not \
         sent there; if it is yours, set `issuer` to it"
    )))
}

/// As RFC 8414 compares them: by their text. A path that is empty is the same as `/`.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let bare = |issuer: &str| match issuer.strip_suffix('/') {
        Some(bare) if Url::parse(bare).is_ok_and(|url| url.path() == "/") => bare.to_owned(),
        _ => issuer.to_owned(),
    };
    one == other || bare(one) == bare(other)
}

/// The metadata that an issuer publishes about itself.
///
/// # Errors
/// It publishes none, or that of another.
pub(super) async fn metadata(issuer: &str) -> Result<AuthorizationMetadata, Failure> {
    let url = Url::parse(issuer)
        .ok()
        .filter(|url| url.host_str().is_some())
        .ok_or_else(|| Failure::new(format!("the issuer `{issuer}` is not a URL")))?;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::new(format!("no HTTP client: {error}")))?;
    let mut trouble = "nothing is published there".to_owned();
    for place in well_known(&url) {
        match fetch(&client, place).await {
            Ok(Some(metadata)) => return usable(issuer, metadata),
            Ok(None) => {}
            Err(error) => trouble = error.without_url().to_string(),
        }
    }
    Err(Failure::new(format!(
        "no metadata of the authorization server {issuer}: {trouble}"
    )))
}

/// Where the metadata of an issuer may be, by RFC 8414 and by OpenID Connect Discovery.
fn well_known(issuer: &Url) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
    if !path.is_empty() {
        paths.push(format!("{path}{OPENID}"));
    }
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    paths.into_iter().map(at).collect()
}

async fn fetch(
    client: &reqwest::Client,
    url: Url,
) -> Result<Option<AuthorizationMetadata>, reqwest::Error> {
    /// Far more than any document has.
    const LONGEST: usize = 1024 * 1024;
    let mut response = client.get(url).send().await?;
    if !response.status().is_success() {
        return Ok(None);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            return Ok(None);
        }
    }
    Ok(serde_json::from_slice(&body).ok())
}

fn usable(issuer: &str, metadata: AuthorizationMetadata) -> Result<AuthorizationMetadata, Failure> {
    let said = metadata.issuer.as_deref().unwrap_or("none");
    if !is_same(issuer, said) {
        return Err(Failure::new(format!(
            "the metadata of the authorization server {issuer} is that of another issuer: {said}"
        )));
    }
    if issuer.starts_with("https:") && !metadata.token_endpoint.starts_with("https:") {
        return Err(Failure::new(format!(
            "the token endpoint of the authorization server {issuer} is not https"
        )));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_the_same_by_its_text_alone() {
        assert!(is_same("https://as.example", "https://as.example/"));
        for other in [
            "https://as.example/tenant/",
            "https://AS.example/tenant",
            "https://as.example:443/tenant",
            "http://as.example/tenant",
        ] {
            assert!(!is_same("https://as.example/tenant", other), "{other}");
        }
    }

    #[test]
    fn another_issuer_than_the_pinned_one_is_refused_and_named() {
        let (good, evil) = ("https://as.example", "https://evil.example");
        assert_eq!(
            checked(Some(good), Some(good), "`issuer`").unwrap(),
            Some(good)
        );
        assert_eq!(checked(Some(good), None, "`issuer`").unwrap(), Some(good));
        assert_eq!(checked(None, Some(evil), "`issuer`").unwrap(), None);
        let error = checked(Some(good), Some(evil), "`issuer`").unwrap_err();
        let text = error.into_text(&Default::default());
        assert!(text.contains(good) && text.contains(evil), "{text}");
    }

    #[test]
    fn without_a_pin_a_secret_goes_to_the_servers_own_origin_alone() {
        let server = "https://mcp.example/mcp";
        assert!(at_origin_of(server, None).is_ok());
        assert!(at_origin_of(server, Some("https://mcp.example/tenant")).is_ok());
        for other in [
            "https://as.example",
            "http://mcp.example",
            "https://mcp.example:8443",
            "x",
        ] {
            assert!(at_origin_of(server, Some(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn metadata_is_looked_for_at_every_place_that_the_standards_name() {
        let places = |issuer: &str| -> Vec<_> {
            let places = well_known(&Url::parse(issuer).unwrap()).into_iter();
            places.map(|url| url.path().to_owned()).collect()
        };
        assert_eq!(
            places("https://as.example/"),
            [
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            places("https://as.example/t/1"),
            [
                "/.well-known/oauth-authorization-server/t/1",
                "/.well-known/openid-configuration/t/1",
                "/t/1/.well-known/openid-configuration"
            ]
        );
    }
}
