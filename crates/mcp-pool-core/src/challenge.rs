//! The challenge of a server that wants authorization: the header `WWW-Authenticate` (RFC 9110, section 11.6.1), with
//! the parameters of RFC 6750 and RFC 9728. A consent flow starts from it.

use std::fmt;

use crate::redact::Redactor;

/// What a server said with a 401 or 403 about the authorization that it wants.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthChallenge {
    /// The authentication scheme as the server wrote it, `Bearer` most often.
    pub scheme: String,
    /// Where the server's protected resource metadata is (RFC 9728).
    pub resource_metadata: Option<String>,
    /// The scopes that the request needs, separated by spaces.
    pub scope: Option<String>,
    /// An error code of RFC 6750: `invalid_token`, `insufficient_scope`.
    pub error: Option<String>,
    /// The error in words for a developer.
    pub error_description: Option<String>,
    header: String,
}

impl AuthChallenge {
    /// Reads the value of `WWW-Authenticate`. Several challenges in one value are separated by commas: of these, a
    /// `Bearer` challenge is taken first, and among several the one that names the resource metadata.
    ///
    /// `None` if the value holds no challenge.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        for item in split_outside_quotes(header) {
            let (scheme, param) = split_item(item);
            if let Some(scheme) = scheme {
                challenges.push(Self {
                    scheme: scheme.to_owned(),
                    resource_metadata: None,
                    scope: None,
                    error: None,
                    error_description: None,
                    header: header.to_owned(),
                });
            }
            if let (Some(challenge), Some((name, value))) = (challenges.last_mut(), param) {
                challenge.set(name, value);
            }
        }
        let rank = |challenge: &Self| {
            let bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
            (!bearer, challenge.resource_metadata.is_none())
        };
        challenges.into_iter().min_by_key(rank)
    }

    /// The header's value as the server sent it, for a library that reads it itself.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether the credentials are good and only lack a scope.
    #[must_use]
    pub fn is_insufficient_scope(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }

    /// The same challenge without secrets in what is for people to read.
    pub(crate) fn redacted(self, redactor: &Redactor) -> Self {
        Self {
            error_description: self.error_description.map(|text| redactor.sanitize(&text)),
            ..self
        }
    }

    /// The first value of a parameter counts.
    fn set(&mut self, name: &str, value: String) {
        let field = match name.to_ascii_lowercase().as_str() {
            "resource_metadata" => &mut self.resource_metadata,
            "scope" => &mut self.scope,
            "error" => &mut self.error,
            "error_description" => &mut self.error_description,
            _ => return,
        };
        field.get_or_insert(value);
    }
}

/// Without the header, which holds the same once more.
impl fmt::Debug for AuthChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthChallenge")
            .field("scheme", &self.scheme)
            .field("resource_metadata", &self.resource_metadata)
            .field("scope", &self.scope)
            .field("error", &self.error)
            .field("error_description", &self.error_description)
            .finish_non_exhaustive()
    }
}

fn split_outside_quotes(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    header
        .split(move |c: char| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ',' => return !quoted,
                _ => {}
            }
            false
        })
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A scheme, a parameter, or a scheme and its first parameter.
fn split_item(item: &str) -> (Option<&str>, Option<(&str, String)>) {
    let end = item.find([' ', '\t', '=']).unwrap_or(item.len());
    let (token, rest) = (&item[..end], item[end..].trim_start());
    match rest.strip_prefix('=') {
        Some(value) => (None, Some((token, unquoted(value)))),
        None => {
            let param = rest.split_once('=');
            let param = param.map(|(name, value)| (name.trim_end(), unquoted(value)));
            (Some(token), param)
        }
    }
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let Some(quoted) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_bearer_challenge_are_read() {
        let header = r#"Bearer realm="a, b", resource_metadata="https://x/.well-known/oauth-protected-resource", error = insufficient_scope, scope="files:read files:write", error_description="say \"please\"""#;
        let challenge = AuthChallenge::parse(header).unwrap();
        assert_eq!(challenge.scheme, "Bearer");
        assert_eq!(
            challenge.resource_metadata.as_deref(),
            Some("https://x/.well-known/oauth-protected-resource")
        );
        assert_eq!(challenge.scope.as_deref(), Some("files:read files:write"));
        assert_eq!(
            challenge.error_description.as_deref(),
            Some(r#"say "please""#)
        );
        assert!(challenge.is_insufficient_scope());
        assert_eq!(challenge.header(), header);
    }

    #[test]
    fn among_several_challenges_the_bearer_with_metadata_is_taken() {
        for header in [
            r#"Basic realm="x", bearer resource_metadata=https://m"#,
            r#"Bearer error="invalid_token", Bearer resource_metadata="https://m", Negotiate abc=="#,
            r#"Negotiate, Bearer resource_metadata="https://m""#,
        ] {
            let challenge = AuthChallenge::parse(header).unwrap();
            assert_eq!(
                challenge.resource_metadata.as_deref(),
                Some("https://m"),
                "{header}"
            );
        }
    }

    #[test]
    fn a_bare_scheme_is_a_challenge_and_nothing_is_none() {
        assert_eq!(AuthChallenge::parse("Bearer").unwrap().scheme, "Bearer");
        assert_eq!(
            AuthChallenge::parse("Negotiate a1b2==").unwrap().scope,
            None
        );
        for nothing in ["", " , ,", "realm=x"] {
            assert_eq!(AuthChallenge::parse(nothing), None, "{nothing}");
        }
    }
}
