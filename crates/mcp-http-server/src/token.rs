//! Bearer tokens, and who holds which.

use std::{fmt, sync::Arc};

use http::{HeaderMap, header};
use subtle::ConstantTimeEq;

/// Sixteen random characters of an alphabet of 64 are 96 bits, which cannot be guessed over a network.
const MIN_LENGTH: usize = 16;

/// A bearer token that is too long to be guessed. `Debug` shows `***`.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why a text is not accepted as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It could be guessed.
    #[error(
        "the token is too short: {length} characters where at least {MIN_LENGTH} are needed; `openssl rand -hex 32` \
         makes one"
    )]
    TooShort {
        /// Its characters.
        length: usize,
    },
    /// It holds blanks, control characters or letters beyond ASCII.
    #[error(
        "the token holds characters that are not allowed in a header; `openssl rand -hex 32` makes one without"
    )]
    InvalidCharacter,
}

/// Tokens by the name of their holder.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(Arc<str>, Token)>);

/// Why a request is not authenticated: to be answered with 401 and `WWW-Authenticate: Bearer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthorized {
    /// The request has no bearer token.
    #[error("this needs the header `Authorization: Bearer <token>`")]
    Missing,
    /// No holder has this token.
    #[error("this is not the token")]
    Unknown,
}

impl Token {
    /// A token of at least sixteen visible ASCII characters. Blanks around it, as files and variables have them, are
    /// removed.
    ///
    /// # Errors
    /// [`TokenError`] if it is shorter or has other characters.
    pub fn new(token: impl AsRef<str>) -> Result<Self, TokenError> {
        let token = token.as_ref().trim();
        let length = token.chars().count();
        if length < MIN_LENGTH {
            return Err(TokenError::TooShort { length });
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::InvalidCharacter);
        }
        Ok(Self(token.into()))
    }

    /// Whether it is this one. The time it takes depends on the length only.
    fn is(&self, token: &[u8]) -> bool {
        token.ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Tokens {
    /// No token: no request is authenticated.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the token of a holder, who may have several.
    #[must_use]
    pub fn with(mut self, holder: impl AsRef<str>, token: Token) -> Self {
        self.0.push((holder.as_ref().into(), token));
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The holder of the bearer token in a request's headers.
    ///
    /// # Errors
    /// [`Unauthorized`] if there is no such token.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<&str, Unauthorized> {
        let given = headers.get(header::AUTHORIZATION);
        let token = bearer(given.ok_or(Unauthorized::Missing)?.as_bytes());
        let token = token.ok_or(Unauthorized::Unknown)?;
        let mut found = None;
        // All are compared: the time must not tell which one it is.
        for (holder, known) in &self.0 {
            if known.is(token) {
                found = Some(&**holder);
            }
        }
        found.ok_or(Unauthorized::Unknown)
    }
}

/// The token in the value of an `Authorization` header: what follows `Bearer`, in upper or lower case.
#[must_use]
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let blank = authorization.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = authorization.split_at(blank);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticate(tokens: &Tokens, authorization: &str) -> Result<String, Unauthorized> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        tokens.authenticate(&headers).map(str::to_owned)
    }

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        let tokens = Tokens::new().with("operator", token.clone());
        for (header, accepted) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer  0123456789abcdef", true),
            ("Bearer 0123456789abcde", false),
            ("Bearer 0123456789abcdef0", false),
            ("Bearer 0123456789ABCDEF", false),
            ("Basic 0123456789abcdef", false),
            ("0123456789abcdef", false),
            ("Bearer", false),
            ("", false),
        ] {
            assert_eq!(authenticate(&tokens, header).is_ok(), accepted, "{header}");
        }
        assert_eq!(
            tokens.authenticate(&HeaderMap::new()),
            Err(Unauthorized::Missing)
        );
        assert_eq!(format!("{token:?}"), "Token(***)");
        assert!(authenticate(&Tokens::new(), "Bearer 0123456789abcdef").is_err());
    }

    #[test]
    fn a_token_names_its_holder() {
        let mut tokens = Tokens::new();
        for (holder, token) in [
            ("alice", "a-token-of-alice-1"),
            ("bob", "a-token-of-bob-123"),
            ("alice", "a-token-of-alice-2"),
        ] {
            tokens = tokens.with(holder, Token::new(token).unwrap());
        }
        for (token, holder) in [
            ("a-token-of-alice-1", Ok("alice".to_owned())),
            ("a-token-of-bob-123", Ok("bob".to_owned())),
            ("a-token-of-alice-2", Ok("alice".to_owned())),
            ("a-token-of-carol-1", Err(Unauthorized::Unknown)),
        ] {
            assert_eq!(authenticate(&tokens, &format!("Bearer {token}")), holder);
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_is_refused() {
        for (weak, characters) in [("", 0), ("  \n", 0), ("geheim", 6), ("012345678901234", 15)] {
            let length = characters;
            assert_eq!(
                Token::new(weak).unwrap_err(),
                TokenError::TooShort { length }
            );
        }
    }

    #[test]
    fn a_token_that_no_header_can_hold_is_refused() {
        for token in [
            "0123456789abcdef ghi",
            "0123456789abcdef\u{7}",
            "ü123456789abcdef",
        ] {
            assert_eq!(Token::new(token).unwrap_err(), TokenError::InvalidCharacter);
        }
    }
}
