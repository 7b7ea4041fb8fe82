//! Secret detection in arguments and URLs.
//!
//! People write `--api-key abc123` or `--header "Authorization: Bearer abc123"` into files. Detection by names and by the forms
//! of common tokens is best effort. Use a variable or `env` to guarantee masking.

use std::{borrow::Cow, ops::Range};

/// The arguments with their secrets masked.
pub(crate) fn redacted<'a>(args: &[&'a str]) -> Vec<Cow<'a, str>> {
    secrets(args)
        .into_iter()
        .zip(args)
        .map(|(ranges, arg)| masked(arg, ranges))
        .collect()
}

/// A URL with its secrets masked.
pub(crate) fn redacted_url(url: &str) -> String {
    masked(url, in_url(url)).into_owned()
}

fn masked(text: &str, secret: Vec<Range<usize>>) -> Cow<'_, str> {
    // From the end, so that what is before stays where it is.
    let from_the_end = secret.into_iter().rev();
    from_the_end.fold(Cow::Borrowed(text), |mut shown, range| {
        shown.to_mut().replace_range(range, "***");
        shown
    })
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

/// Whether the value of a variable or header of this name is a secret.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let pair = format!("{name}={value}");
    !of_one(&pair, Expected::Anything).0.is_empty()
}

/// Whether a URL holds a secret for sure: a password, or a parameter of a secret name. Any other parameter may be one.
pub(crate) fn is_secret_url(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    authority.contains('@') || !in_pairs(query).is_empty()
}

/// What the argument before says about the next one.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Anything,
    Secret,
    /// A secret, or a file.
    Key,
    Header,
}

fn of_one(arg: &str, expected: Expected) -> (Vec<Range<usize>>, Expected) {
    match expected {
        // A token may begin with a dash, and an option does not take an option.
        Expected::Secret if !arg.starts_with("--") => return (whole(arg, 0), Expected::Anything),
        Expected::Key if !arg.starts_with("--") => return (key(arg, 0), Expected::Anything),
        Expected::Header => return (header(arg, 0), Expected::Anything),
        _ => {}
    }
    let option = arg.starts_with('-');
    if let Some((name, value)) = arg.split_once('=')
        && is_name(name)
    {
        let at = name.len() + 1;
        let ranges = match meaning(name) {
            Expected::Secret => whole(value, at),
            Expected::Key => key(value, at),
            Expected::Header => header(value, at),
            // `--env=TOKEN=abc`
            Expected::Anything if option => shifted(of_one(value, Expected::Anything).0, at),
            Expected::Anything => by_its_looks(value, at),
        };
        return (ranges, Expected::Anything);
    }
    if option && is_name(arg) {
        return (Vec::new(), meaning(arg));
    }
    (by_its_looks(arg, 0), Expected::Anything)
}

fn is_name(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What an option of this name takes.
fn meaning(name: &str) -> Expected {
    let plain = plain(name);
    if name == "-H" || plain.ends_with("header") || plain.ends_with("headers") {
        Expected::Header
    } else if names_a_secret(&plain) {
        Expected::Secret
    } else if plain.ends_with("key") && !plain.ends_with("publickey") {
        Expected::Key
    } else {
        Expected::Anything
    }
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a name is that of a secret: `token`, `githubtoken`, `apikey`.
fn names_a_secret(plain: &str) -> bool {
    // A number of tokens is no token.
    let harmless = ["maxtokens", "tokenlimit", "compat", "path"];
    let secret = [
        "token",
        "tokens",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "authkey",
        "secret",
        "secrets",
        "password",
        "passwd",
        "pass",
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
    !harmless.iter().any(|end| plain.ends_with(end))
        && secret.iter().any(|end| plain.ends_with(end))
}

/// `Authorization: Bearer abc`: everything after the name.
fn header(text: &str, at: usize) -> Vec<Range<usize>> {
    match text.split_once(':') {
        Some((name, value)) => {
            let blanks = value.len() - value.trim_start().len();
            whole(value.trim_start(), at + name.len() + 1 + blanks)
        }
        None => whole(text, at),
    }
}

/// What may be a key, or the file of one.
fn key(text: &str, at: usize) -> Vec<Range<usize>> {
    let is_file = text.contains(['/', '\\']) || text.ends_with(".pem") || text.ends_with(".key");
    if is_file && !text.contains("://") {
        return Vec::new();
    }
    whole(text, at)
}

fn whole(text: &str, at: usize) -> Vec<Range<usize>> {
    // A reference says where the secret is, and not what it is.
    let mut rest = String::new();
    let mut parts = text.split("${");
    rest.push_str(parts.next().unwrap_or_default());
    for part in parts {
        rest.push_str(part.split_once('}').map_or("", |(_, after)| after));
    }
    let rest = rest.trim();
    if rest.is_empty()
        || SCHEMES
            .iter()
            .any(|scheme| rest.eq_ignore_ascii_case(scheme))
    {
        return Vec::new();
    }
    std::iter::once(at..at + text.len()).collect()
}

fn shifted(ranges: Vec<Range<usize>>, by: usize) -> Vec<Range<usize>> {
    let shift = |range: Range<usize>| range.start + by..range.end + by;
    ranges.into_iter().map(shift).collect()
}

/// Without a name: a token that shows by its form what it is, a URL with one in it, or a text with names in it.
fn by_its_looks(text: &str, at: usize) -> Vec<Range<usize>> {
    if text.contains("://") && !text.contains(char::is_whitespace) {
        return shifted(in_url(text), at);
    }
    let jwt = text.starts_with("eyJ") && text.matches('.').count() == 2;
    let known = |prefix: &str| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.len() >= 8 && !rest.contains(char::is_whitespace))
    };
    if jwt || PREFIXES.iter().any(|prefix| known(prefix)) {
        return whole(text, at);
    }
    if let Some(token) = text.strip_prefix("Bearer ") {
        return whole(token, at + "Bearer ".len());
    }
    shifted(in_pairs(text), at)
}

/// Values of secret names in `host=h password=abc`, `Server=s;Password=abc`, `{"githubToken": "abc"}`.
fn in_pairs(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (sign, _) in text.match_indices(['=', ':']) {
        if found.last().is_some_and(|last| sign < last.end) {
            continue;
        }
        let before = text[..sign].trim_end_matches(['"', '\'', ' ']);
        let name = before
            .rsplit(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_')))
            .next()
            .unwrap_or_default();
        if !matches!(meaning(name), Expected::Secret | Expected::Key) {
            continue;
        }
        let after = &text[sign + 1..];
        let value = after.trim_start_matches(['"', '\'', ' ']);
        let start = text.len() - value.len();
        let quoted = after.trim_start().starts_with(['"', '\'']);
        let ends = |c: char| match c {
            '"' | '\'' => true,
            ';' | ',' | '}' | '&' => !quoted,
            c => !quoted && c.is_whitespace(),
        };
        let mut end = value.find(ends).unwrap_or(value.len());
        // `Authorization: Bearer abc`
        if SCHEMES
            .iter()
            .any(|scheme| value[..end].eq_ignore_ascii_case(scheme))
            && value[end..].starts_with(' ')
        {
            end += 1 + value[end + 1..].find(ends).unwrap_or(value.len() - end - 1);
        }
        found.extend(whole(&value[..end], start));
    }
    found
}

/// The parts of a URL that are secret: what stands before the host, the query, and what looks like a key in the path.
pub(crate) fn in_url(url: &str) -> Vec<Range<usize>> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |end| authority + end);
    let query = url[end..].find('?').map_or(url.len(), |query| end + query);
    let mut found = Vec::new();
    if let Some(user) = url[authority..end].rfind('@') {
        found.extend(whole(&url[authority..authority + user], authority));
    }
    let mut at = end;
    for segment in url[end..query].split('/') {
        if is_random(segment) {
            found.push(at..at + segment.len());
        }
        at += segment.len() + 1;
    }
    if query < url.len() {
        found.extend(whole(&url[query + 1..], query + 1));
    }
    found
}

/// Long, of mixed letters and digits: generated.
fn is_random(segment: &str) -> bool {
    let count = |is: fn(&char) -> bool| segment.chars().filter(is).count();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=');
    segment.len() >= 20
        && segment.chars().all(plain)
        && count(char::is_ascii_digit) >= 3
        && count(char::is_ascii_alphabetic) >= 3
}

/// Words in front of a credential.
const SCHEMES: [&str; 3] = ["bearer", "basic", "token"];

/// Prefixes of tokens of common services.
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
        redacted(args).join(" ")
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
            (&["--key=sk-0123456789abc"], "--key=***"),
            (&["--model=sk-0123456789abc"], "--model=***"),
            (&["-e", "OPENAI_KEY=s3cret"], "-e OPENAI_KEY=***"),
            (
                &["-e", "SUPABASE_SERVICE_ROLE_KEY=eyJx"],
                "-e SUPABASE_SERVICE_ROLE_KEY=***",
            ),
            (&["--env=GITHUB_TOKEN=s3cret"], "--env=GITHUB_TOKEN=***"),
            (&["-e", "MYSQL_PASS=s3cret"], "-e MYSQL_PASS=***"),
            (&["--pass", "s3cret"], "--pass ***"),
            (&["-e", "API_TOKENS=s3cret,s3cret"], "-e API_TOKENS=***"),
            (&["--token", "-s3cret"], "--token ***"),
            (
                &["--auth-header=Authorization: Bearer s3cret"],
                "--auth-header=Authorization: ***",
            ),
            (
                &["--config", r#"{"githubToken": "s3cret", "a": 1}"#],
                r#"--config {"githubToken": "***", "a": 1}"#,
            ),
            (
                &["Server=db;Password=s3cret;Port=1"],
                "Server=db;Password=***;Port=1",
            ),
            (
                &["host=h password=s3cret dbname=d"],
                "host=h password=*** dbname=d",
            ),
            (
                &["curl -H 'Authorization: Bearer s3cret' x"],
                "curl -H 'Authorization: ***' x",
            ),
            (&["--token=${PREFIX}s3cret"], "--token=***"),
            (
                &["https://h/s/0a1b2c3d4e5f60718293/mcp"],
                "https://h/s/***/mcp",
            ),
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
    fn a_url_is_shown_without_its_password_keys_and_query() {
        for (url, expected) in [
            ("https://me:pw@h/a@b?c", "https://***@h/a@b?***"),
            ("https://h/mcp", "https://h/mcp"),
            (
                "https://h/${TOKEN}/mcp?${KEY}",
                "https://h/${TOKEN}/mcp?${KEY}",
            ),
            ("https://h/0123456789abcdef0123", "https://h/***"),
            (
                "https://h/modelcontextprotocol/servers",
                "https://h/modelcontextprotocol/servers",
            ),
            ("no url", "no url"),
        ] {
            assert_eq!(redacted_url(url), expected);
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
