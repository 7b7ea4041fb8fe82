//! The bearer token.

use std::fmt;

use mcp_pooled_tools::Secret;
use subtle::ConstantTimeEq;

use crate::error::{Error, MIN_TOKEN};

/// A bearer token that may be guessed by nobody. Shows itself as `***`.
#[derive(Clone)]
pub struct Token(Secret);

impl Token {
    /// Takes a token of at least sixteen characters, without the blanks around it that files and variables come with.
    ///
    /// # Errors
    /// [`Error::WeakToken`] if it is shorter, [`Error::UnspeakableToken`] if a header cannot bear it.
    pub fn new(token: impl Into<Secret>) -> Result<Self, Error> {
        let token = token.into();
        let token = token.expose().trim();
        let length = token.chars().count();
        if length < MIN_TOKEN {
            return Err(Error::WeakToken { length });
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::UnspeakableToken);
        }
        Ok(Self(token.into()))
    }

    /// Whether an `Authorization` header bears the token. How long that takes tells its length and nothing else.
    pub(crate) fn is_borne_by(&self, authorization: &[u8]) -> bool {
        let mut parts = authorization.splitn(2, |byte| *byte == b' ');
        let (Some(scheme), Some(token)) = (parts.next(), parts.next()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer")
            && token.trim_ascii().ct_eq(self.0.expose().as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_taken() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        for (header, taken) in [
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
            assert_eq!(token.is_borne_by(header.as_bytes()), taken, "{header}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }

    #[test]
    fn what_can_be_guessed_is_refused() {
        for (weak, characters) in [("", 0), ("  \n", 0), ("geheim", 6), ("012345678901234", 15)] {
            let error = Token::new(weak).unwrap_err();
            assert!(
                matches!(error, Error::WeakToken { length } if length == characters),
                "{error:?}"
            );
        }
    }

    #[test]
    fn what_no_header_can_bear_is_refused() {
        for token in [
            "0123456789abcdef ghi",
            "0123456789abcdef\u{7}",
            "ü123456789abcdef",
        ] {
            let error = Token::new(token).unwrap_err();
            assert!(matches!(error, Error::UnspeakableToken), "{error:?}");
        }
    }
}
