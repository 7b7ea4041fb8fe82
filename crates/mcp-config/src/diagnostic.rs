//! Diagnostics: problems of a configuration with their places.
//!
//! Reading never stops at a [`Problem`]. A [`ConfigError`] carries all of them, so that a file is mended in one go.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

/// One problem: its place, its message, and a hint.
///
/// It prints on one line:
/// `.mcp.json: mcpServers.github.pool.max_conections: unknown setting, did you mean max_connections?`
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file as it was named, or `environment`, or `code`.
    pub source: String,
    /// The place in it: `mcpServers.github.command`, the name of a variable, or nothing if it is the whole source.
    pub path: String,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What would be right, where we know it.
    pub hint: Option<String>,
    /// What kind of problem it is, for programs that decide by it.
    #[serde(skip)]
    pub kind: ProblemKind,
}

/// What kind of problem it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Any that is not named here.
    #[default]
    Other,
    /// A reference to this variable, which is not set and has no default.
    UnsetVariable(String),
    /// A field that neither we nor any client define.
    UnknownField,
}

impl Problem {
    /// A problem at `path` in `source`. Control characters, line breaks and bidirectional marks are escaped in all texts.
    pub fn new(
        source: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            source: printable(source.into()),
            path: printable(path.into()),
            message: printable(message.into()),
            hint: None,
            kind: ProblemKind::Other,
        }
    }

    pub(crate) fn kind(mut self, kind: ProblemKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(printable(hint.into()));
        self
    }

    /// An unknown name, with the nearest of `known` as the hint.
    pub(crate) fn unknown<'a>(
        at: &Place,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let problem = at.problem(format!("unknown {what}"));
        match nearest(name, known) {
            Some(near) => problem.hint(format!("did you mean {near}?")),
            None => problem,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, ", {hint}"),
            None => Ok(()),
        }
    }
}

/// A configuration that cannot be used, with all its problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(problems))]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` for an empty list, otherwise an error that holds all of it.
    ///
    /// # Errors
    /// If there is at least one problem.
    pub fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }

    /// Everything that is wrong: at least one problem.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

/// A place in a source, from which problems are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: String,
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn new(source: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            path: path.into(),
        }
    }

    /// The place of `key` inside this one. A key that holds a dot is quoted, so that the path stays readable; so is one
    /// that would not show as it is.
    pub(crate) fn key(&self, key: &str) -> Self {
        let key = if key.contains('.') || key.contains(is_unprintable) {
            format!("{key:?}")
        } else {
            key.to_owned()
        };
        let path = if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            source: self.source.clone(),
            path,
        }
    }

    /// The place of a setting, whose name may be a path already.
    pub(crate) fn key_path(&self, path: &str) -> Self {
        let path = if self.path.is_empty() {
            path.to_owned()
        } else {
            format!("{}.{path}", self.path)
        };
        Self {
            source: self.source.clone(),
            path,
        }
    }

    /// The place of element `index` of a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self {
            source: self.source.clone(),
            path: format!("{}[{index}]", self.path),
        }
    }

    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.source, &self.path, message)
    }
}

/// The text with control characters, line breaks and bidirectional marks escaped: `\u{1b}`, `\n`. Idempotent.
pub(crate) fn printable(text: String) -> String {
    if !text.contains(is_unprintable) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unprintable(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Control characters, line and paragraph separators, and marks of direction, which make a text look like another.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The known name nearest to `name`, if it is near enough to be a typing error.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded: String = name
        .chars()
        .take(LONGEST_NAME)
        .collect::<String>()
        .to_lowercase()
        .replace('-', "_");
    let length = folded.chars().count();
    let allowed = |candidate: &str| (candidate.len() / 4).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(length) <= allowed(candidate))
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&folded, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= allowed(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Each problem once, at its first place: one variable may concern two servers.
pub(crate) fn distinct(problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = HashSet::new();
    problems
        .into_iter()
        .filter(|problem| seen.insert(problem.clone()))
        .collect()
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Problems listed for one table. A hostile file could hold a million.
pub(crate) const MOST_PROBLEMS: usize = 100;

/// Comparing costs the product of both lengths, so longer names are cut.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line_with_its_place_and_its_cure() {
        let place = Place::new(".mcp.json", "mcpServers.github.pool").key("max_conections");
        let problem = Problem::unknown(
            &place,
            "setting",
            "max_conections",
            ["min_connections", "max_connections"],
        );
        assert_eq!(
            problem.to_string(),
            ".mcp.json: mcpServers.github.pool.max_conections: unknown setting, did you mean max_connections?"
        );
    }

    #[test]
    fn a_name_like_none_gets_no_suggestion() {
        assert_eq!(
            nearest("colour", ["min_connections", "max_connections"]),
            None
        );
        assert_eq!(
            nearest("maxConnections", ["min_connections", "max_connections"]),
            Some("max_connections")
        );
        assert_eq!(
            nearest("max-connections", ["min_connections", "max_connections"]),
            Some("max_connections")
        );
    }

    #[test]
    fn an_error_prints_every_problem() {
        let error = ConfigError::check(vec![
            Problem::new("a", "", "x"),
            Problem::new("b", "c", "y").hint("z"),
        ]);
        assert_eq!(error.unwrap_err().to_string(), "a: x\nb: c: y, z");
        assert!(ConfigError::check(Vec::new()).is_ok());
    }
}
