//! The user of the scenarios: consents to everything, without a browser.

use mcp_pooled_tools::core::source::{
    AuthorizationCode, ConsentRequest, OAuth, Redirect, SourceError,
};
use reqwest::{header::LOCATION, redirect::Policy};

use crate::Context;

/// A client as a program for the desktop sets it up.
pub(crate) fn source(url: &str, context: &Context) -> OAuth {
    let mut code = AuthorizationCode::new("http://localhost:3000/callback", visit)
        .client_metadata_url("https://conformance-test.local/client-metadata.json")
        .client_name("mcp-pool-conformance");
    if let Some(id) = &context.client_id {
        code = code.client(id, context.client_secret.clone());
    }
    let oauth = OAuth::authorization_code(url, code);
    match &context.issuer {
        Some(issuer) => oauth.issuer(issuer),
        None => oauth,
    }
}

/// Visits the page, and returns where it redirects to.
async fn visit(consent: ConsentRequest) -> Result<Redirect, SourceError> {
    let failed =
        |error: reqwest::Error| SourceError::new("the page is not there").with_source(error);
    let browser = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()
        .map_err(failed)?;
    let page = browser.get(&consent.url).send().await.map_err(failed)?;
    let location = page
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    Redirect::from_url(location.ok_or_else(|| SourceError::new("the page does not redirect"))?)
}
