//! References in texts: `${VAR}` and its like.
//!
//! The forms are those of clients' files: `${VAR}`, `${VAR:-default}`, `${env:VAR}`, `${workspaceFolder}`,
//! `${workspaceFolderBasename}`, `${userHome}`, `${pathSeparator}` and `${/}`. A default may hold references (`${A:-${B}}`), up
//! to [`DEEPEST`] levels; it is expanded only if it is needed. It replaces a variable that is *unset*, not an empty one.
//!
//! Everything else stays as it is: `$VAR`, `$$`, `${x%%.*}`, an unclosed `${`. It belongs to shells and regular expressions
//! in arguments. Values of variables are not expanded, so that a secret with `${` in it stays whole.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::diagnostic::ProblemKind;
use crate::environment::Environment;

/// What references are resolved against. It has no `Debug`, because variables hold tokens.
pub(crate) struct Scope<'a> {
    environment: &'a Environment,
    workspace: Option<&'a Path>,
    /// Bytes that may still be written: a small file must not grow without bound through a large variable.
    budget: Cell<usize>,
}

/// Why a reference could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) kind: ProblemKind,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(environment: &'a Environment, workspace: Option<&'a Path>) -> Self {
        Self {
            environment,
            workspace,
            budget: Cell::new(BUDGET),
        }
    }

    /// The text with its references resolved, or everything that stood in the way.
    pub(crate) fn expand(&self, text: &str) -> Result<Expanded<'a>, Vec<Refusal>> {
        let mut expansion = Expansion {
            scope: self,
            text,
            closing: closing_braces(text),
            out: String::new(),
            values: BTreeSet::new(),
            refusals: Vec::new(),
        };
        expansion.span(0, text.len(), 0);
        let Expansion {
            out,
            values,
            refusals,
            ..
        } = expansion;
        let left = self.budget.get().checked_sub(out.len());
        self.budget.set(left.unwrap_or(0));
        match (left, refusals.is_empty()) {
            (Some(_), true) => Ok(Expanded { text: out, values }),
            (None, true) => Err(vec![too_large()]),
            (_, false) => Err(refusals),
        }
    }

    fn reference(&self, name: &str) -> Result<Found<'a>, Refusal> {
        let found = match name {
            "workspaceFolder" => self.folder()?,
            "workspaceFolderBasename" => {
                let folder = self.folder()?;
                Path::new(&folder)
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or(folder)
            }
            "userHome" => match self.variable("HOME").or(|| self.variable("USERPROFILE")) {
                Found::Unset => return Err(refusal("${userHome} is not known", "set HOME")),
                found => return Ok(found.public()),
            },
            "pathSeparator" | "/" => std::path::MAIN_SEPARATOR_STR.to_owned(),
            _ => return Ok(self.variable(name)),
        };
        Ok(Found::Text(found))
    }

    fn variable(&self, name: &str) -> Found<'a> {
        let Environment {
            variables,
            unreadable,
        } = self.environment;
        match (variables.get(name), unreadable.get(name)) {
            (Some(value), _) => Found::Value(value),
            (None, Some(name)) => Found::Unreadable(name),
            (None, None) => Found::Unset,
        }
    }

    fn folder(&self) -> Result<String, Refusal> {
        match self.workspace {
            Some(folder) => Ok(folder.to_string_lossy().into_owned()),
            None => Err(refusal(
                "${workspaceFolder} is not known",
                "name the folder when loading",
            )),
        }
    }
}

/// A text without references. It has no `Debug` either.
pub(crate) struct Expanded<'a> {
    pub(crate) text: String,
    /// Values of variables in it, except of well-known ones.
    pub(crate) values: BTreeSet<&'a str>,
}

/// Variables that hold no secret. Redacting them would remove paths from messages.
const WELL_KNOWN: &[&str] = &[
    "HOME",
    "LANG",
    "LOGNAME",
    "PATH",
    "PWD",
    "SHELL",
    "TERM",
    "TMPDIR",
    "USER",
    "USERNAME",
    "USERPROFILE",
];

enum Found<'a> {
    Value(&'a str),
    Text(String),
    /// A variable of this name, which is not UTF-8.
    Unreadable(&'a str),
    Unset,
}

impl Found<'_> {
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Found::Unset => other(),
            found => found,
        }
    }

    /// The value as a text that is no secret.
    fn public(self) -> Self {
        match self {
            Found::Value(value) => Found::Text(value.to_owned()),
            found => found,
        }
    }
}

struct Expansion<'s, 'a> {
    scope: &'s Scope<'a>,
    text: &'s str,
    closing: BTreeMap<usize, usize>,
    out: String,
    values: BTreeSet<&'a str>,
    refusals: Vec<Refusal>,
}

impl Expansion<'_, '_> {
    /// Writes the text from `start` to `end`, resolving what is in it.
    fn span(&mut self, start: usize, end: usize, depth: usize) {
        let mut at = start;
        while let Some(open) = self.text[at..end].find("${").map(|found| at + found) {
            self.write(at, open);
            at = match self.closing.get(&open) {
                Some(close) if *close < end => {
                    let close = *close;
                    if self.resolve(open + 2, close, depth) {
                        close + 1
                    } else {
                        self.write(open, open + 2);
                        open + 2
                    }
                }
                _ => {
                    self.write(open, open + 2);
                    open + 2
                }
            };
            if self.out.len() > self.scope.budget.get() || self.refusals.len() > MOST_REFUSALS {
                self.refusals.push(too_large());
                return;
            }
        }
        self.write(at, end);
    }

    /// Resolves what stands between the braces; `false` if it is no reference of ours and stays as it is.
    fn resolve(&mut self, start: usize, end: usize, depth: usize) -> bool {
        let body = &self.text[start..end];
        let (name, default) = match body.find(":-") {
            Some(at) => (&body[..at], Some(start + at + 2)),
            None => (body, None),
        };
        let name = name.strip_prefix("env:").unwrap_or(name);
        if let Some((kind, _)) = name.split_once(':') {
            return self.editor_only(kind, body);
        }
        if !is_name(name) {
            return false;
        }
        if depth >= DEEPEST {
            self.refusals.push(refusal(
                "defaults are nested too deeply",
                &format!("at most {DEEPEST} levels"),
            ));
            return true;
        }
        match (self.scope.reference(name), default) {
            (Ok(Found::Value(value)), _) => {
                self.out.push_str(value);
                if !WELL_KNOWN.contains(&name) {
                    self.values.insert(value);
                }
            }
            (Ok(Found::Text(value)), _) => self.out.push_str(&value),
            // It is set: a default would hide what is wrong.
            (Ok(Found::Unreadable(name)), _) => self.refusals.push(refusal(
                &format!("variable {name} is not UTF-8"),
                "set it to a text",
            )),
            (_, Some(default)) => self.span(default, end, depth + 1),
            (Ok(Found::Unset), None) => self.refusals.push(Refusal {
                message: format!("variable {name} is not set"),
                hint: format!("set it, or write ${{{name}:-default}}"),
                kind: ProblemKind::UnsetVariable(name.to_owned()),
            }),
            (Err(refusal), None) => self.refusals.push(refusal),
        }
        true
    }

    fn editor_only(&mut self, kind: &str, body: &str) -> bool {
        if !matches!(kind, "input" | "command" | "config") {
            return false;
        }
        let body: String = body.chars().take(60).collect();
        self.refusals.push(refusal(
            &format!("${{{body}}} is not available outside an editor"),
            "use a variable such as ${API_KEY} instead",
        ));
        true
    }

    fn write(&mut self, start: usize, end: usize) {
        self.out.push_str(&self.text[start..end]);
    }
}

/// For each `${` the brace that closes it, in one pass: a text of a million `${` must not take a million passes.
fn closing_braces(text: &str) -> BTreeMap<usize, usize> {
    let bytes = text.as_bytes();
    let (mut open, mut closing) = (Vec::new(), BTreeMap::new());
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'$' if bytes.get(at + 1) == Some(&b'{') => open.push(at),
            b'}' => {
                if let Some(start) = open.pop() {
                    closing.insert(start, at);
                }
            }
            _ => {}
        }
    }
    closing
}

fn is_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    name == "/" || (name.starts_with(start) && name.chars().all(|c| start(c) || c.is_ascii_digit()))
}

fn refusal(message: &str, hint: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        hint: hint.to_owned(),
        kind: ProblemKind::Other,
    }
}

fn too_large() -> Refusal {
    refusal(
        "too much text after expansion",
        &format!("at most {} MiB for a whole file", BUDGET >> 20),
    )
}

/// How deep defaults may nest.
pub(crate) const DEEPEST: usize = 16;

/// Bytes all texts of one file may have after expansion.
const BUDGET: usize = 32 << 20;

const MOST_REFUSALS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let mut environment = Environment::default();
        for (name, value) in [
            ("A", "alpha"),
            ("EMPTY", ""),
            ("HOME", "/home/me"),
            ("TRICKY", "q\"uo te\n${A} é"),
        ] {
            environment.set(name.to_owned(), value.to_owned());
        }
        environment
    }

    fn expand(text: &str) -> Result<String, Vec<Refusal>> {
        let environment = environment();
        let scope = Scope::of(&environment, Some(Path::new("/home/me/project")));
        scope.expand(text).map(|expanded| expanded.text)
    }

    #[test]
    fn values_of_variables_are_returned_except_of_well_known_ones() {
        let environment = environment();
        let scope = Scope::of(&environment, Some(Path::new("/home/me/project")));
        let text = "--token=${A} ${env:A} ${HOME}/x ${workspaceFolder} ${NONE:-some default} ${NONE:-${TRICKY}}";
        let values = scope.expand(text).map(|expanded| expanded.values);
        let expected = BTreeSet::from(["alpha", "q\"uo te\n${A} é"]);
        assert_eq!(values.unwrap_or_default(), expected);
    }

    #[test]
    fn every_documented_form_is_resolved() {
        for (text, expected) in [
            ("${A}", "alpha"),
            ("${env:A}", "alpha"),
            ("--a=${A}/${A}", "--a=alpha/alpha"),
            ("${B:-beta}", "beta"),
            ("${A:-beta}", "alpha"),
            ("${EMPTY:-beta}", ""),
            ("${B:-}", ""),
            ("${env:B:-beta}", "beta"),
            ("${userHome}/x", "/home/me/x"),
            ("${workspaceFolder}/x", "/home/me/project/x"),
            ("${workspaceFolderBasename}", "project"),
            ("é${A}é", "éalphaé"),
        ] {
            assert_eq!(expand(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn defaults_may_hold_references() {
        assert_eq!(expand("${B:-${A}}").unwrap(), "alpha");
        assert_eq!(expand("${B:-x${C:-y${A}}z}").unwrap(), "xyalphaz");
        assert_eq!(
            expand("${A:-${UNSET}}").unwrap(),
            "alpha",
            "a default that is not needed is not looked at"
        );
        assert_eq!(
            expand("${B:-${C}}").unwrap_err()[0].message,
            "variable C is not set"
        );
        let deep = format!("{}x{}", "${B:-".repeat(40), "}".repeat(40));
        assert_eq!(
            expand(&deep).unwrap_err()[0].message,
            "defaults are nested too deeply"
        );
    }

    #[test]
    fn what_is_no_reference_stays_as_it_is() {
        for text in [
            "$A",
            "$$",
            "$",
            "${",
            "${A",
            "${}",
            "${x%%.*}",
            "${arr[@]}",
            "a}b",
            "${1}",
            "${A B}",
            "${foo:bar}",
        ] {
            assert_eq!(expand(text), Ok(text.to_owned()), "{text}");
        }
        assert_eq!(expand("${ ${A}").unwrap(), "${ alpha");
    }

    #[test]
    fn a_value_arrives_whole_and_is_not_expanded_again() {
        assert_eq!(expand("${TRICKY}").unwrap(), "q\"uo te\n${A} é");
    }

    #[test]
    fn an_unset_variable_and_an_editors_input_are_refused_together() {
        let refusals = expand("${NOPE} ${input:token}").unwrap_err();
        assert_eq!(refusals[0].message, "variable NOPE is not set");
        assert_eq!(
            refusals[1].message,
            "${input:token} is not available outside an editor"
        );
    }

    #[test]
    fn hostile_text_takes_linear_time_and_bounded_memory() {
        assert!(expand(&"${".repeat(1 << 20)).is_ok());
        assert!(
            expand(&format!(
                "{}{}",
                "${A:-".repeat(1 << 18),
                "}".repeat(1 << 18)
            ))
            .is_ok()
        );
        let mut long = Environment::default();
        long.set("LONG".to_owned(), "x".repeat(1 << 20));
        let refused = Scope::of(&long, None)
            .expand(&"${LONG}".repeat(1 << 16))
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refused[0].message, "too much text after expansion");
    }
}
