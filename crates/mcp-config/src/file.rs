//! Files: from a path to a tree of values.
//!
//! A configuration is a small text file. Anything else at that path (a folder, a device, a video) is refused before it is
//! read, and nothing is read beyond [`LARGEST`]. JSON with comments, TOML and YAML all become the same tree. No message quotes
//! a line of the file, because the line may hold a token.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::Value;

use crate::diagnostic::{Place, Problem};
use crate::duplicate_keys::Checked;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Toml,
    Yaml,
}

impl Format {
    /// By the file's extension; JSON for any other, as in `.mcp.json.local`.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }
}

/// Reads a file whole, as text.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let at = Place::new(path.to_string_lossy(), "");
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => at
            .problem("there is no such file")
            .hint("create it, or name another one"),
        ErrorKind::PermissionDenied => at
            .problem("the file may not be read")
            .hint("check its permissions"),
        _ => at.problem(format!("cannot be read: {error}")),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(at
            .problem("is a folder")
            .hint("name the file in it, such as .mcp.json"));
    }
    if !metadata.is_file() {
        return Err(at
            .problem("is not a regular file")
            .hint("name a file that holds the configuration"));
    }
    let too_large = || {
        at.problem(format!("is larger than {} MiB", LARGEST >> 20))
            .hint("is it a configuration file?")
    };
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    text(bytes, &at)
}

/// Parses a text; an empty one is a problem, for it is most often a file caught half-written.
pub(crate) fn parse(
    text: &str,
    format: Format,
    source: &str,
    notes: &mut Vec<Problem>,
) -> Result<Value, Problem> {
    let at = Place::new(source, "");
    if text.len() as u64 > LARGEST {
        return Err(at.problem(format!("is larger than {} MiB", LARGEST >> 20)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(at
            .problem("the file is empty")
            .hint("write {} for a configuration with nothing in it"));
    }
    match format {
        Format::Json => json(text, &at, notes),
        Format::Toml => parse_toml(text, &at),
        Format::Yaml => yaml(text, &at),
    }
}

fn text(bytes: Vec<u8>, at: &Place) -> Result<String, Problem> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(at.problem("is written in UTF-16").hint("save it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(at.problem("is not a text file").hint("it holds zero bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        at.problem(format!("line {line} is not UTF-8"))
            .hint("save the file as UTF-8")
    })
}

fn json(text: &str, at: &Place, notes: &mut Vec<Problem>) -> Result<Value, Problem> {
    let options = jsonc_parser::ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let checked =
        jsonc_parser::parse_to_serde_value::<Checked>(text, &options).map_err(|error| {
            let (line, column) = (error.line_display(), error.column_display());
            at.problem(format!(
                "line {line}, column {column}: {}",
                lower_first(&error.kind().to_string())
            ))
        })?;
    for path in checked.duplicates {
        let at = path.iter().rev().fold(at.clone(), |at, name| at.key(name));
        notes.push(at.problem("given twice, the last one counts"));
    }
    Ok(checked.value)
}

fn parse_toml(text: &str, at: &Place) -> Result<Value, Problem> {
    toml::from_str::<Value>(text).map_err(|error| {
        let message = one_line(error.message());
        match error.span().and_then(|span| text.get(..span.start)) {
            Some(before) => {
                let line = before.matches('\n').count() + 1;
                let column = before
                    .rsplit('\n')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .count()
                    + 1;
                at.problem(format!("line {line}, column {column}: {message}"))
            }
            None => at.problem(message),
        }
    })
}

#[cfg(not(feature = "yaml"))]
fn yaml(_text: &str, at: &Place) -> Result<Value, Problem> {
    Err(at
        .problem("this program was built without YAML")
        .hint("enable the feature `yaml` of mcp-config, or write TOML or JSON"))
}

#[cfg(feature = "yaml")]
fn yaml(text: &str, at: &Place) -> Result<Value, Problem> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| {
        let place = error
            .location()
            .map(|location| format!("line {}, column {}: ", location.line(), location.column()));
        at.problem(format!(
            "{}{}",
            place.unwrap_or_default(),
            lower_first(&one_line(&error.to_string()))
        ))
    })
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .take(200)
        .collect()
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// The largest file that is read, in bytes. Real ones have a few thousand.
pub(crate) const LARGEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str, format: Format, source: &str) -> Result<Value, Problem> {
        parse(text, format, source, &mut Vec::new())
    }

    #[test]
    fn a_name_given_twice_is_noted() {
        let mut notes = Vec::new();
        let text = r#"{"mcpServers": {"a": {"command": "x"}, "b.c": {"env": {"A": 1, "A": 2}}, "a": {"command": "y"}}}"#;
        let value = parse(text, Format::Json, "f", &mut notes).unwrap();
        assert_eq!(value["mcpServers"]["a"]["command"], "y");
        let notes: Vec<_> = notes.iter().map(Problem::to_string).collect();
        assert_eq!(
            notes,
            [
                "f: mcpServers.\"b.c\".env.A: given twice, the last one counts",
                "f: mcpServers.a: given twice, the last one counts",
            ]
        );
    }

    #[test]
    fn the_three_formats_give_the_same_tree() {
        let expected = json!({"defaults": {"max_connections": 5, "call_timeout": "5m"}});
        let json = "{ // comment\n \"defaults\": {\"max_connections\": 5, \"call_timeout\": \"5m\",}, /* end */ }";
        assert_eq!(parsed(json, Format::Json, "f").unwrap(), expected);
        assert_eq!(
            parsed(
                "[defaults]\nmax_connections = 5\ncall_timeout = \"5m\"",
                Format::Toml,
                "f"
            )
            .unwrap(),
            expected
        );
        assert_eq!(
            parsed(
                "defaults:\n  max_connections: 5\n  call_timeout: 5m\n",
                Format::Yaml,
                "f"
            )
            .unwrap(),
            expected
        );
        assert_eq!(parsed("\u{feff}{}", Format::Json, "f").unwrap(), json!({}));
    }

    #[test]
    fn a_mistake_is_told_by_line_and_column_and_quotes_nothing() {
        for (text, format) in [
            ("{\n  \"a\": hunter2\n}", Format::Json),
            ("a = 1\nb = = hunter2", Format::Toml),
            ("a: 1\nb: [hunter2", Format::Yaml),
        ] {
            let problem = parsed(text, format, "f").unwrap_err().to_string();
            assert!(
                problem.starts_with("f: line 2, column ")
                    || problem.starts_with("f: line 3, column "),
                "{problem}"
            );
            assert!(
                !problem.contains("hunter2") && !problem.contains('\n'),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_json_with_comments_does_not_allow_is_refused() {
        for text in [
            "{a: 1}",
            "{'a': 1}",
            "{\"a\": 0x1}",
            "{\"a\": NaN}",
            "{\"a\": 1 \"b\": 2}",
            "{} {}",
            "{\"a\": 1",
        ] {
            assert!(parsed(text, Format::Json, "f").is_err(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_and_yaml_bombs_end_in_an_error() {
        for (open, format) in [
            ("[", Format::Json),
            ("{\"a\":", Format::Json),
            ("[", Format::Yaml),
        ] {
            assert!(parsed(&open.repeat(100_000), format, "f").is_err());
        }
        assert!(parsed(&format!("a = {}", "[".repeat(100_000)), Format::Toml, "f").is_err());
        let bomb: String = ('b'..='z')
            .map(|c| {
                let before = char::from(c as u8 - 1);
                format!("{c}: &{c} [{}]\n", vec![format!("*{before}"); 10].join(","))
            })
            .collect();
        assert!(
            parsed(
                &format!("a: &a [x,x,x,x,x,x,x,x,x]\n{bomb}"),
                Format::Yaml,
                "f"
            )
            .is_err()
        );
    }
}
