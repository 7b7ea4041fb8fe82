//! Failures to get a token, without the secrets that an authorization server may have echoed.

use std::{collections::VecDeque, error::Error as StdError};

use rmcp::transport::auth::AuthError;

use crate::{redact::sanitize, source::SourceError};

/// Why there is no token.
#[derive(Debug)]
pub(super) enum Failure {
    /// A user has to consent: there is no token, or no way to renew it.
    ConsentNeeded,
    /// rmcp's part failed.
    Auth(AuthError),
    /// In words.
    Message(String),
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// A new consent may help: the grant has run out, or the client is not known any more.
    pub(super) fn wants_consent(&self) -> bool {
        match self {
            Self::ConsentNeeded => true,
            Self::Auth(AuthError::TokenRefreshRejected(_)) => true,
            // rmcp keeps no client secret in a store: a client that registered itself in an earlier run has lost it.
            Self::Auth(AuthError::TokenRefreshFailed(text)) => {
                text.contains("invalid_client") || text.contains("unauthorized_client")
            }
            _ => false,
        }
    }

    /// The failure in words, on one line. `secrets` are cut out of it: authorization servers quote what they were sent.
    pub(super) fn into_text(self, secrets: &Secrets) -> String {
        let text = match self {
            Self::ConsentNeeded => {
                "no user has consented yet, or the consent has run out; authorize again".to_owned()
            }
            Self::Auth(AuthError::TokenRefreshRejected(text)) => {
                format!("the consent was withdrawn or has run out; authorize again ({text})")
            }
            Self::Auth(error) => {
                let mut text = error.to_string();
                let mut cause = error.source();
                while let Some(error) = cause {
                    text = format!("{text}: {error}");
                    cause = error.source();
                }
                text
            }
            Self::Message(text) => text,
        };
        let text = sanitize(&text, |text| secrets.cut_from(text.to_owned()));
        format!("OAuth: {text}")
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::AuthorizationRequired => Self::ConsentNeeded,
            error => Self::Auth(error),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Message(error.to_string())
    }
}

/// What must not be shown.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    lasting: Vec<String>,
    passing: VecDeque<String>,
}

impl Secrets {
    /// A secret of the client.
    pub(super) fn add(&mut self, secret: impl Into<String>) {
        let secret = secret.into();
        if !self.lasting.contains(&secret) {
            self.lasting.push(secret);
        }
    }

    /// A token or a code. The last few are remembered.
    pub(super) fn add_passing(&mut self, secret: &str) {
        const MOST: usize = 16;
        if !self.passing.iter().any(|known| known == secret) {
            self.passing.truncate(MOST - 1);
            self.passing.push_front(secret.to_owned());
        }
    }

    fn cut_from(&self, text: String) -> String {
        let secrets = self.lasting.iter().chain(&self.passing);
        let mut shapes: Vec<_> = secrets
            .flat_map(|secret| [secret.clone(), as_in_a_form(secret)])
            .filter(|shape| !shape.is_empty())
            .collect();
        // The longest first: one may hold another.
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.len()));
        shapes
            .iter()
            .fold(text, |text, shape| text.replace(shape, "***"))
    }
}

fn as_in_a_form(text: &str) -> String {
    let mut url = reqwest::Url::parse("http://localhost").expect("a URL");
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authorization_server_says_is_quoted_on_one_line_that_no_terminal_obeys() {
        let failure = Failure::new("consent was refused: access_denied: \u{1b}[2Jno\nat all");
        assert_eq!(
            failure.into_text(&Secrets::default()),
            r"OAuth: consent was refused: access_denied: \u{1b}[2Jno at all"
        );
    }

    #[test]
    fn a_secret_is_cut_out_as_it_is_and_as_a_form_sends_it() {
        let mut secrets = Secrets::default();
        secrets.add("s3cret/+&");
        secrets.add("s3cret");
        let error =
            "invalid_client: client_secret=s3cret%2F%2B%26 is wrong, not s3cret/+& or s3cret";
        let failure = Failure::Auth(AuthError::ClientCredentialsError(error.into()));
        assert_eq!(
            failure.into_text(&secrets),
            "OAuth: Client credentials error: invalid_client: client_secret=*** is wrong, not *** or ***"
        );
    }
}
