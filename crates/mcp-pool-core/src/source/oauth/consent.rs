//! The part of the authorization code flow that a user takes: a page is shown, and the browser comes back.

use std::{fmt, future::Future};

use reqwest::Url;

use crate::{future::BoxFuture, source::SourceError};

/// A consent that is wanted of a user.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsentRequest {
    /// The page to open in the user's browser.
    pub url: String,
    /// The authorization server that asks, as its metadata names it. `None` for a server without metadata.
    pub issuer: Option<String>,
    /// The authorization server that the user consented at before, where the MCP server now names another one.
    pub previous_issuer: Option<String>,
    /// The scopes that are asked for. Empty: the authorization server chooses.
    pub scopes: Vec<String>,
}

/// Without the parameters of the page, which hold the state that binds the answer to this request.
impl fmt::Debug for ConsentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("ConsentRequest")
            .field("url", &page)
            .field("issuer", &self.issuer)
            .field("previous_issuer", &self.previous_issuer)
            .field("scopes", &self.scopes)
            .finish()
    }
}

/// Where the authorization server sent the browser after the user had consented.
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    pub(super) code: String,
    pub(super) state: String,
    pub(super) issuer: Option<String>,
}

impl Redirect {
    /// The parameters `code` and `state` of the redirect.
    pub fn new(code: impl Into<String>, state: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            state: state.into(),
            issuer: None,
        }
    }

    /// The parameter `iss` of the redirect (RFC 9207). An authorization server that announces it must send it, and its
    /// redirect is refused without.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Reads all three from the URL that the browser was sent to. A path and query alone will do, as an HTTP server sees
    /// them.
    ///
    /// # Errors
    /// The user or the authorization server refused (`error`), or a parameter is missing.
    pub fn from_url(url: &str) -> Result<Self, SourceError> {
        let base = Url::parse("http://localhost").expect("a URL");
        let url = base
            .join(url)
            .map_err(|_| SourceError::new("the redirect is not a URL"))?;
        let find = |wanted: &str| {
            let mut pairs = url.query_pairs();
            pairs
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        if let Some(error) = find("error") {
            let description = find("error_description").map(|text| format!(": {text}"));
            let description = description.unwrap_or_default();
            return Err(SourceError::new(format!(
                "consent was refused: {error}{description}"
            )));
        }
        let needed = |name: &str| {
            find(name).ok_or_else(|| SourceError::new(format!("the redirect has no `{name}`")))
        };
        Ok(Self {
            code: needed("code")?,
            state: needed("state")?,
            issuer: find("iss"),
        })
    }
}

impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Shows a page and waits for the redirect.
pub(super) type Ask =
    Box<dyn Fn(ConsentRequest) -> BoxFuture<'static, Result<Redirect, SourceError>> + Send + Sync>;

pub(super) fn boxed<F, Fut>(ask: F) -> Ask
where
    F: Fn(ConsentRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Redirect, SourceError>> + Send + 'static,
{
    Box::new(move |request| Box::pin(ask(request)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_read_from_a_url_or_from_what_a_server_sees_of_it() {
        for url in [
            "http://localhost:3000/callback?code=a%2Bb&state=s&iss=https%3A%2F%2Fas.example",
            "/callback?state=s&iss=https://as.example&code=a%2Bb",
        ] {
            let redirect = Redirect::from_url(url).unwrap();
            assert_eq!(
                redirect,
                Redirect::new("a+b", "s").issuer("https://as.example")
            );
            assert!(!format!("{redirect:?}").contains("a+b"));
        }
    }

    #[test]
    fn a_refusal_and_a_missing_parameter_say_so() {
        let refused = "/?error=access_denied&error_description=the+user+said+no&state=s";
        let error = Redirect::from_url(refused).unwrap_err();
        assert_eq!(
            error.to_string(),
            "consent was refused: access_denied: the user said no"
        );
        let error = Redirect::from_url("/?code=1").unwrap_err();
        assert_eq!(error.to_string(), "the redirect has no `state`");
    }
}
