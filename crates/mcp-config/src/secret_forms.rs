//! The forms in which a message may quote a secret.
//!
//! A server or a library repeats a header without its scheme, decodes `Basic` credentials, or percent-encodes what stands
//! in a URL. All forms are known in advance, so that redaction is a plain search.

use crate::base64;
use crate::secret::Secret;

impl Secret {
    /// The value of a header in every form in which a message may quote it: whole, without its scheme (`Bearer`, `Basic`,
    /// `ApiKey`), and the name and password that `Basic` encodes.
    ///
    /// ```
    /// use mcp_config::Secret;
    ///
    /// let forms = Secret::of_header("Bearer hunter2");
    /// assert_eq!(forms, ["Bearer hunter2", "hunter2"].map(Secret::new));
    /// ```
    pub fn of_header(value: &str) -> Vec<Self> {
        let mut forms = vec![Self::from(value)];
        let Some((scheme, credentials)) = value.trim().split_once(' ') else {
            return forms;
        };
        let credentials = credentials.trim();
        if !scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return forms;
        }
        forms.push(credentials.into());
        if scheme.eq_ignore_ascii_case("basic")
            && let Some(pair) = base64::decode(credentials)
        {
            let password = pair.split_once(':').map(|(_, password)| password.into());
            forms.extend(password);
            forms.push(pair.into());
        }
        forms
    }
}

/// The `Authorization` header that the user and password of a URL become.
pub(crate) fn basic_of_user(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let pair = format!("{}:{}", percent_decoded(name), percent_decoded(password));
    Some(format!("Basic {}", base64::encode(&pair)))
}

/// A value as a URL's path holds it.
pub(crate) fn percent_encoded(value: &str) -> String {
    let mut path = String::new();
    for byte in value.bytes() {
        match byte {
            b'"' | b'#' | b'<' | b'>' | b'?' | b'`' | b'{' | b'}' | 0..=b' ' | 0x7f.. => {
                path.push_str(&format!("%{byte:02X}"));
            }
            _ => path.push(char::from(byte)),
        }
    }
    path
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_quoted_whole_without_its_scheme_and_decoded() {
        for (header, forms) in [
            ("plain-key", &["plain-key"][..]),
            ("ApiKey key-1", &["ApiKey key-1", "key-1"]),
            (
                "Basic bWU6aHVudGVyMg==",
                &[
                    "Basic bWU6aHVudGVyMg==",
                    "bWU6aHVudGVyMg==",
                    "hunter2",
                    "me:hunter2",
                ],
            ),
            ("key=a b", &["key=a b"]),
        ] {
            let expected: Vec<_> = forms.iter().map(|form| Secret::from(*form)).collect();
            assert_eq!(Secret::of_header(header), expected, "{header}");
        }
    }

    #[test]
    fn the_user_of_a_url_becomes_a_header() {
        let header = basic_of_user("https://me:hunter%32@h/mcp");
        assert_eq!(header.as_deref(), Some("Basic bWU6aHVudGVyMg=="));
        assert_eq!(basic_of_user("https://h/a@b"), None);
        assert_eq!(percent_encoded("a b\u{e9}?"), "a%20b%C3%A9%3F");
    }
}
