//! Arguments that hold a secret although no variable stands in for it.
//!
//! People write `--api-key`, `abc123`, or `--header`, `Authorization: Bearer abc123` into the files of their clients. An
//! argument does not say what it is; what is told apart here are the forms in which tokens are given in practice. It is a
//! net with meshes: a variable, or `env`, is the way to keep a secret out of sight for certain.

use std::{borrow::Cow, ops::Range};

/// The arguments as they may be shown.
pub(crate) fn shown<'a>(args: &[&'a str]) -> Vec<Cow<'a, str>> {
    secrets(args)
        .into_iter()
        .zip(args)
        .map(|(ranges, arg)| {
            // From the end, so that what is before stays where it is.
            ranges
                .into_iter()
                .rev()
                .fold(Cow::Borrowed(*arg), |mut shown, range| {
                    shown.to_mut().replace_range(range, "***");
                    shown
                })
        })
        .collect()
}

/// The parts of each argument that are secret, in order.
pub(crate) fn secrets(args: &[&str]) -> Vec<Vec<Range<usize>>> {
    let mut expected = Expected::Anything;
    let mut found = Vec::new();
    for arg in args {
        let (ranges, next) = of_one(arg, expected);
        found.push(ranges);
        expected = next;
    }
    found
}

/// What the argument before says of the next one.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Anything,
    Secret,
    Header,
}

fn of_one(arg: &str, expected: Expected) -> (Vec<Range<usize>>, Expected) {
    // Options do not take options.
    match expected {
        Expected::Secret if !arg.starts_with('-') => return (whole(arg, 0), Expected::Anything),
        Expected::Header => return (header(arg, 0), Expected::Anything),
        _ => {}
    }
    if let Some((name, value)) = arg.split_once('=') {
        let at = name.len() + 1;
        let ranges = match meaning(name) {
            Expected::Secret => whole(value, at),
            Expected::Header => header(value, at),
            Expected::Anything => by_its_looks(arg, 0),
        };
        return (ranges, Expected::Anything);
    }
    if arg.starts_with('-') {
        return (Vec::new(), meaning(arg));
    }
    (by_its_looks(arg, 0), Expected::Anything)
}

/// What an option of this name takes.
fn meaning(name: &str) -> Expected {
    let bare = name.trim_start_matches(['-', '/']);
    if name == "-H" || bare.eq_ignore_ascii_case("header") || bare.eq_ignore_ascii_case("headers") {
        return Expected::Header;
    }
    if is_telling(bare) {
        Expected::Secret
    } else {
        Expected::Anything
    }
}

/// Whether what goes by this name is secret: `token`, `GITHUB_TOKEN`, `apiKey`, `x-api-key`.
fn is_telling(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    // A number of tokens, or the place where one is, is no token.
    let harmless = [
        "maxtokens",
        "tokens",
        "tokenlimit",
        "file",
        "path",
        "dir",
        "url",
        "name",
        "id",
    ];
    if harmless.iter().any(|end| plain.ends_with(end)) {
        return false;
    }
    let telling = [
        "token",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "authkey",
        "subscriptionkey",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "credential",
        "credentials",
        "authorization",
        "bearer",
        "cookie",
        "auth",
        "pat",
        "pwd",
    ];
    telling.iter().any(|end| plain.ends_with(end))
        && !["path", "compat", "format"].contains(&&*plain)
}

/// `Authorization: Bearer abc`: what comes after the name, whatever the name is.
fn header(text: &str, at: usize) -> Vec<Range<usize>> {
    match text.split_once(':') {
        Some((name, value)) => {
            let blanks = value.len() - value.trim_start().len();
            whole(value.trim_start(), at + name.len() + 1 + blanks)
        }
        None => whole(text, at),
    }
}

fn whole(text: &str, at: usize) -> Vec<Range<usize>> {
    // A reference says where the secret is, and not what it is.
    if text.is_empty() || text.contains("${") {
        return Vec::new();
    }
    std::iter::once(at..at + text.len()).collect()
}

/// Without a name: a token that shows by its form what it is, or a URL with one in it.
fn by_its_looks(text: &str, at: usize) -> Vec<Range<usize>> {
    if let Some(start) = text.find("://") {
        return in_url(text, start + 3, at);
    }
    let jwt = text.starts_with("eyJ") && text.matches('.').count() == 2;
    if jwt
        || PREFIXES.iter().any(|prefix| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.len() >= 8)
        })
    {
        return whole(text, at);
    }
    if let Some(token) = text.strip_prefix("Bearer ") {
        return whole(token, at + "Bearer ".len());
    }
    Vec::new()
}

/// What stands before the host, and the query.
fn in_url(url: &str, authority: usize, at: usize) -> Vec<Range<usize>> {
    let end = url[authority..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| authority + end);
    let mut found = Vec::new();
    if let Some(user) = url[authority..end].rfind('@') {
        found.extend(whole(&url[authority..authority + user], at + authority));
    }
    if let Some(query) = url.find('?') {
        found.extend(whole(&url[query + 1..], at + query + 1));
    }
    found
}

/// By which tokens of common services begin.
const PREFIXES: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "npm_",
    "pypi-",
    "hf_",
    "lin_api_",
    "ntn_",
    "secret_",
    "figd_",
    "dop_v1_",
    "shpat_",
    "SG.",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn as_shown(args: &[&str]) -> String {
        shown(args).join(" ")
    }

    #[test]
    fn secrets_are_found_in_the_forms_in_which_people_give_them() {
        for (args, expected) in [
            (&["--token", "s3cret"][..], "--token ***"),
            (&["--token=s3cret"], "--token=***"),
            (
                &["--api-key", "s3cret", "--port", "80"],
                "--api-key *** --port 80",
            ),
            (&["--apiKey=s3=cret="], "--apiKey=***"),
            (&["-e", "GITHUB_TOKEN=s3cret"], "-e GITHUB_TOKEN=***"),
            (
                &["-e", "DB_PASSWORD=s3cret", "image"],
                "-e DB_PASSWORD=*** image",
            ),
            (
                &["--header", "Authorization: Bearer s3cret"],
                "--header Authorization: ***",
            ),
            (
                &["--header", "Authorization:Bearer s3cret"],
                "--header Authorization:***",
            ),
            (&["-H", "X-Any: s3cret"], "-H X-Any: ***"),
            (&["--header=X-Key: s3cret"], "--header=X-Key: ***"),
            (&["--headers", "s3cret"], "--headers ***"),
            (&["https://h/mcp?key=s3cret"], "https://h/mcp?***"),
            (
                &["--url=https://me:s3cret@h/mcp"],
                "--url=https://***@h/mcp",
            ),
            (
                &["postgres://me:s3cret@db:5432/x"],
                "postgres://***@db:5432/x",
            ),
            (&["ghp_0123456789abcdef"], "***"),
            (&["--key-of-mine", "sk-0123456789"], "--key-of-mine ***"),
            (&["eyJhbGciOi.eyJzdWIi.c2ln"], "***"),
            (&["Bearer s3cret"], "Bearer ***"),
            (&["--secret", "s3cret"], "--secret ***"),
        ] {
            assert_eq!(as_shown(args), expected, "{args:?}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_readable() {
        for args in [
            &["-y", "@modelcontextprotocol/server-everything"][..],
            &["--max-tokens", "100"],
            &["--token-file", "/run/token"],
            &["--token", "--verbose"],
            &["--path", "/home/me", "--compat=1"],
            &["--allowed-directories=/srv", "stdio"],
            &["https://example.com/mcp"],
            &["run", "-i", "--rm", "image:latest"],
            &["--client-id", "me", "--auth-url=https://h/login"],
            &["sk-y", "--token="],
            &[
                "--token=${TOKEN}",
                "--header",
                "Authorization: Bearer ${TOKEN}",
            ],
        ] {
            assert_eq!(as_shown(args), args.join(" "));
        }
    }

    #[test]
    fn any_text_is_taken() {
        for text in [
            "",
            "=",
            "://",
            "?://@",
            "ü=ö",
            "--ü-token=ö",
            ":",
            "://?",
            "a://b@c@d?e?f",
        ] {
            for before in ["--token", "--header", "x"] {
                let shown = as_shown(&[before, text]);
                assert!(shown.starts_with(before), "{shown}");
            }
        }
    }
}
