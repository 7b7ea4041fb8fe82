//! Editing a file of servers: one value changes, and everything else stays as it is written.
//!
//! Comments, order, indentation, line endings, the byte order mark and unknown fields belong to the owner of the file. Each
//! edit is checked: the new text must hold the old tree with that one change. An edit that cannot be made so is refused, and
//! the text stays as it was.

mod json;
mod toml;
#[cfg(feature = "yaml")]
mod yaml;

use std::path::Path;

use serde_json::{Map, Value};

use crate::diagnostic::{Place, Problem};
use crate::file::{self, Format};

/// The text of a JSON (with comments), TOML or YAML file, and the tree of values in it.
///
/// ```
/// use mcp_config::Document;
/// use serde_json::json;
///
/// let text = "{\n\t// mine\n\t\"mcpServers\": {}\n}\n";
/// let mut document = Document::parse("mcp.json", text).unwrap();
/// document.set(&["mcpServers", "time"], &json!({"command": "mcp-server-time"})).unwrap();
/// assert_eq!(
///     document.text(),
///     "{\n\t// mine\n\t\"mcpServers\": {\n\t\t\"time\": {\n\t\t\t\"command\": \"mcp-server-time\"\n\t\t}\n\t}\n}\n",
/// );
/// ```
#[derive(Clone)]
pub struct Document {
    at: Place,
    format: Format,
    text: String,
    tree: Value,
}

impl Document {
    /// Reads a file. A file that does not exist, or is empty, is a document with nothing in it.
    ///
    /// # Errors
    /// If the file cannot be read or parsed.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let text = if path.exists() {
            file::read(path)?
        } else {
            String::new()
        };
        Self::parse(path, text)
    }

    /// Parses a text in the format that the extension of `path` names: `.toml`, `.yaml`, `.yml`, and JSON for any other.
    ///
    /// # Errors
    /// If the text cannot be parsed, or is no table.
    pub fn parse(path: impl AsRef<Path>, text: impl Into<String>) -> Result<Self, Problem> {
        let path = path.as_ref();
        let at = Place::new(path.to_string_lossy(), "");
        let format = Format::of(path);
        let mut text = text.into();
        if format == Format::Json && without_mark(&text).1.trim().is_empty() {
            text.push_str("{}\n");
        }
        let tree = tree(&text, format, &at)?;
        if !tree.is_object() {
            return Err(at
                .problem("is no table")
                .hint("a file of servers is a table with mcpServers"));
        }
        Ok(Self {
            at,
            format,
            text,
            tree,
        })
    }

    /// The text as it is now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All values as they are now.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// The value under these names.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        path.iter()
            .try_fold(&self.tree, |value, name| value.get(name))
    }

    /// The table under these names; nothing if there is none.
    pub fn table(&self, path: &[&str]) -> impl Iterator<Item = (&str, &Value)> {
        let table = self.get(path).and_then(Value::as_object);
        table
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Sets the value under these names. Tables above it are made if they are missing.
    ///
    /// # Errors
    /// If the text has no place for it: the document is unchanged then.
    pub fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Problem> {
        let mut tree = self.tree.clone();
        insert(&mut tree, path, value.clone());
        self.change(path, tree, |format, text| match format {
            Format::Json => json::set(text, path, value),
            Format::Toml => toml::set(text, path, value),
            Format::Yaml => yaml_set(text, path, value),
        })
    }

    /// Sets the value under these names to that of `other`, with the comments in it if both have the same format.
    ///
    /// # Errors
    /// As [`set`](Self::set). A value that `other` does not have changes nothing.
    pub fn copy(&mut self, path: &[&str], other: &Self) -> Result<(), Problem> {
        let Some(value) = other.get(path) else {
            return Ok(());
        };
        let mut tree = self.tree.clone();
        insert(&mut tree, path, value.clone());
        let (other_text, format) = (without_mark(&other.text).1, self.format);
        let copied = match format == other.format {
            true => self.change(path, tree, |format, text| match format {
                Format::Json => json::copy(text, path, other_text),
                Format::Toml => toml::copy(text, path, other_text),
                Format::Yaml => None,
            }),
            false => Err(self.refused(path)),
        };
        copied.or_else(|_| self.set(path, value))
    }

    /// Takes out the value under these names and returns it. The table that held it stays.
    ///
    /// # Errors
    /// If the text cannot be edited so: the document is unchanged then.
    pub fn remove(&mut self, path: &[&str]) -> Result<Option<Value>, Problem> {
        let Some(removed) = self.get(path).cloned() else {
            return Ok(None);
        };
        let mut tree = self.tree.clone();
        take_out(&mut tree, path);
        self.change(path, tree, |format, text| match format {
            Format::Json => json::remove(text, path),
            Format::Toml => toml::remove(text, path),
            Format::Yaml => yaml_remove(text, path),
        })?;
        Ok(Some(removed))
    }

    /// Makes an edit, which must lead to this tree.
    fn change(
        &mut self,
        path: &[&str],
        expected: Value,
        edit: impl FnOnce(Format, &str) -> Option<String>,
    ) -> Result<(), Problem> {
        let (mark, text) = without_mark(&self.text);
        let edited = edit(self.format, text).map(|text| keep_line_endings(&self.text, mark, &text));
        let edited = edited.filter(|text| {
            let found = tree(text, self.format, &self.at);
            found.is_ok_and(|found| same(&found, &expected))
        });
        match edited {
            Some(text) => {
                self.text = text;
                self.tree = expected;
                Ok(())
            }
            None => Err(self.refused(path)),
        }
    }

    fn refused(&self, path: &[&str]) -> Problem {
        let at = path.iter().fold(self.at.clone(), |at, name| at.key(name));
        at.problem("the file is written in a way that cannot be edited here")
            .hint("make this change by hand")
    }
}

impl std::fmt::Debug for Document {
    /// Without the text: it may hold a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.at.source).finish()
    }
}

#[cfg(feature = "yaml")]
use yaml::{remove as yaml_remove, set as yaml_set};

#[cfg(not(feature = "yaml"))]
fn yaml_set(_: &str, _: &[&str], _: &Value) -> Option<String> {
    None
}

#[cfg(not(feature = "yaml"))]
fn yaml_remove(_: &str, _: &[&str]) -> Option<String> {
    None
}

fn tree(text: &str, format: Format, at: &Place) -> Result<Value, Problem> {
    match without_mark(text).1.trim().is_empty() {
        true => Ok(Value::Object(Map::new())),
        false => Ok(
            match file::parse(text, format, &at.source, &mut Vec::new())? {
                // YAML with nothing but comments.
                Value::Null => Value::Object(Map::new()),
                tree => tree,
            },
        ),
    }
}

fn without_mark(text: &str) -> (&'static str, &str) {
    match text.strip_prefix(MARK) {
        Some(text) => (MARK, text),
        None => ("", text),
    }
}

/// Gives the lines before and after the edit the line endings that they had, and the lines of the edit those that most
/// lines have.
fn keep_line_endings(old: &str, mark: &str, new: &str) -> String {
    if !old.contains('\r') {
        return format!("{mark}{new}");
    }
    let body = |line: &str| line.trim_end_matches(['\r', '\n']).len();
    let old: Vec<&str> = without_mark(old).1.split_inclusive('\n').collect();
    let mut new: Vec<String> = new.split_inclusive('\n').map(str::to_owned).collect();
    let crlf = old.iter().filter(|line| line.ends_with("\r\n")).count();
    let ending = if crlf * 2 > old.len() { "\r\n" } else { "\n" };
    let like = |new: &str, old: &str| new[..body(new)] == old[..body(old)];
    let pairs = || new.iter().zip(&old);
    let before = pairs().take_while(|(new, old)| like(new, old)).count();
    let rest = new.len().min(old.len()) - before;
    let pairs = || new.iter().rev().zip(old.iter().rev()).take(rest);
    let after = pairs().take_while(|(new, old)| like(new, old)).count();
    let first_after = new.len() - after;
    for (index, line) in new.iter_mut().enumerate() {
        if index < before {
            *line = old[index].to_owned();
        } else if index >= first_after {
            *line = old[old.len() - after + (index - first_after)].to_owned();
        } else if line.ends_with('\n') {
            line.truncate(body(line));
            line.push_str(ending);
        }
    }
    format!("{mark}{}", new.concat())
}

/// Whether two trees hold the same. A table that YAML writes as nothing is an empty one.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    let other = other.get(name);
                    other.is_some_and(|other| same(value, other))
                })
        }
        (Value::Null, Value::Object(table)) | (Value::Object(table), Value::Null) => {
            table.is_empty()
        }
        _ => one == other,
    }
}

fn insert(tree: &mut Value, path: &[&str], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        *tree = value;
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(table) = tree {
        insert(table.entry(*name).or_insert(Value::Null), rest, value);
    }
}

fn take_out(tree: &mut Value, path: &[&str]) {
    let Some((name, above)) = path.split_last() else {
        return;
    };
    let table = above
        .iter()
        .try_fold(tree, |value, name| value.get_mut(*name));
    if let Some(Value::Object(table)) = table {
        table.remove(*name);
    }
}

/// The fields of an entry in the order in which people write them.
fn in_order(table: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let rank = |name: &str| FIRST.iter().position(|first| *first == name);
    let mut fields: Vec<_> = table.iter().collect();
    fields.sort_by_key(|(name, _)| rank(name).unwrap_or(FIRST.len()));
    fields
}

const FIRST: [&str; 8] = [
    "type", "command", "args", "env", "cwd", "url", "headers", "disabled",
];

/// The byte order mark.
const MARK: &str = "\u{feff}";
