//! URIs of resources that more than one server has.
//!
//! A URI is passed on unchanged while one server has it. Else it names its server: `mcp+<server>:` and the original,
//! percent-encoded. Of a template the text stays as it is, because encoding it would change what it expands to; the two
//! are told apart by the colon that every URI has and no encoded one. A `ui://` URI keeps its scheme, because hosts look
//! at nothing else to know a user interface.

/// The URI `uri` of `server`, under which no other server's can be meant.
pub(crate) fn wrap(server: &str, uri: &str) -> String {
    let server = encoded_server(server);
    match uri.strip_prefix(UI) {
        Some(rest) => format!("{UI}{MARK}{server}/{}", percent_encoded(rest)),
        None => format!("{MARK}{server}:{}", percent_encoded(uri)),
    }
}

/// The same of a template, whose expressions stay what they are.
pub(crate) fn wrap_template(server: &str, template: &str) -> String {
    format!("{MARK}{}:{template}", encoded_server(server))
}

/// Server and original of a wrapped URI, or of one that a wrapped template expanded to.
pub(crate) fn unwrap(uri: &str) -> Option<(String, String)> {
    if let Some(rest) = uri.strip_prefix(UI) {
        let (server, rest) = rest.strip_prefix(MARK)?.split_once('/')?;
        return Some((
            decoded_server(server)?,
            format!("{UI}{}", percent_decoded(rest)?),
        ));
    }
    let (server, rest) = uri.strip_prefix(MARK)?.split_once(':')?;
    let original = if rest.contains(':') {
        rest.to_owned()
    } else {
        percent_decoded(rest)?
    };
    Some((decoded_server(server)?, original))
}

/// A server's name as a part of a scheme, which has neither case nor underscores: other bytes become `+` and two digits.
fn encoded_server(server: &str) -> String {
    let mut encoded = String::with_capacity(server.len());
    for byte in server.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("+{byte:02x}")),
        }
    }
    encoded
}

fn decoded_server(encoded: &str) -> Option<String> {
    decoded(encoded, b'+')
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Option<String> {
    decoded(text, b'%')
}

/// `None` if an escape lacks its digits, or the bytes are no text.
fn decoded(text: &str, escape: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != escape {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

const MARK: &str = "mcp+";
const UI: &str = "ui://";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrapped_uri_names_its_server_and_holds_the_original() {
        for (server, uri, wrapped) in [
            ("git", "file:///a b", "mcp+git:file%3A%2F%2F%2Fa%20b"),
            ("My_Server", "x://1", "mcp++4dy+5f+53erver:x%3A%2F%2F1"),
            ("apps", "ui://w/a.html", "ui://mcp+apps/w%2Fa.html"),
        ] {
            assert_eq!(wrap(server, uri), wrapped);
            assert_eq!(unwrap(wrapped), Some((server.to_owned(), uri.to_owned())));
        }
    }

    #[test]
    fn what_a_wrapped_template_expands_to_keeps_its_encoding() {
        let template = wrap_template("git", "repo://{owner}/{+path}");
        let expanded = template
            .replace("{owner}", "a%2Fb")
            .replace("{+path}", "c/d");
        let original = "repo://a%2Fb/c/d".to_owned();
        assert_eq!(unwrap(&expanded), Some(("git".to_owned(), original)));
    }

    #[test]
    fn what_nobody_wrapped_is_left_alone() {
        for uri in [
            "file:///x",
            "mcp+git",
            "mcp+g+zz:x%3A",
            "mcp+git:x%3",
            "ui://w/a",
            "ui://mcp+w",
        ] {
            assert_eq!(unwrap(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_wrapped_comes_out_again(server in "\\PC{1,20}", uri in "(ui://)?\\PC{0,40}") {
            let wrapped = wrap(&server, &uri);
            prop_assert!(wrapped.is_ascii());
            prop_assert_eq!(unwrap(&wrapped), Some((server, uri)));
        }
    }
}
