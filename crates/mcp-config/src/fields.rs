//! The fields of one entry, read by their type.
//!
//! A field may hold a token, so a message names the type of a wrong value and never quotes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::diagnostic::{Place, Problem};
use crate::expand::{Expanded, Scope};
use crate::redacted::{Template, Templates};
use crate::secret::Secret;

/// A table of fields, with what was found wrong with them so far.
pub(crate) struct Fields<'a> {
    pub(crate) table: &'a Map<String, Value>,
    pub(crate) at: &'a Place,
    pub(crate) problems: Vec<Problem>,
    /// Things that look odd and stop nothing.
    pub(crate) notes: Vec<Problem>,
    scope: &'a Scope<'a>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(table: &'a Map<String, Value>, at: &'a Place, scope: &'a Scope<'a>) -> Self {
        Self {
            table,
            at,
            problems: Vec::new(),
            notes: Vec::new(),
            scope,
        }
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.table.get(field).filter(|value| !value.is_null())
    }

    /// The first of `names` that is there.
    pub(crate) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// A text, expanded.
    pub(crate) fn text(&mut self, field: &str, templates: &mut Templates) -> Option<String> {
        match self.get(field)? {
            Value::String(text) => self.expand(text, &self.at.key(field), field, templates),
            other => {
                self.wrong_kind(&self.at.key(field), other, "a text");
                None
            }
        }
    }

    /// A list of texts, expanded. Numbers and flags are taken as they are written.
    pub(crate) fn list(&mut self, field: &str, templates: &mut Templates) -> Vec<String> {
        let at = self.at.key(field);
        let list = match self.get(field) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_kind(&at, other, "a list: one text for each argument");
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let at = at.index(index);
            match scalar(value) {
                Some(text) => {
                    texts.extend(self.expand(&text, &at, &format!("{field}[{index}]"), templates));
                }
                None => self.wrong_kind(&at, value, "a text"),
            }
        }
        texts
    }

    /// A table of texts, expanded. Numbers and flags are taken as they are written; null leaves the name out, as VS Code
    /// has it.
    pub(crate) fn texts(
        &mut self,
        field: &str,
        templates: &mut Templates,
    ) -> BTreeMap<String, String> {
        let mut wrong = Vec::new();
        let texts = self.texts_and(field, templates, |name, value| wrong.push((name, value)));
        for (name, value) in wrong {
            self.wrong_kind(&self.at.key(field).key(name), value, "a text");
        }
        texts
    }

    /// The same, of a table with other values among them.
    pub(crate) fn texts_and(
        &mut self,
        field: &str,
        templates: &mut Templates,
        mut other: impl FnMut(&'a str, &'a Value),
    ) -> BTreeMap<String, String> {
        let at = self.at.key(field);
        let mut texts = BTreeMap::new();
        let table = match self.get(field) {
            None => return texts,
            Some(Value::Object(table)) => table,
            Some(other) => {
                self.wrong_kind(&at, other, "a table of texts");
                return texts;
            }
        };
        for (name, value) in table {
            let at = at.key(name);
            match scalar(value) {
                Some(text) => {
                    let within = format!("{field}.{name}");
                    if let Some(text) = self.expand(&text, &at, &within, templates) {
                        texts.insert(name.clone(), text);
                    }
                }
                None if value.is_null() => {}
                None => other(name, value),
            }
        }
        texts
    }

    /// The fields of a table within, with problems and notes of its own.
    pub(crate) fn within<'b>(&self, table: &'b Map<String, Value>, at: &'b Place) -> Fields<'b>
    where
        'a: 'b,
    {
        Fields::new(table, at, self.scope)
    }

    /// Reports a value of the wrong kind.
    pub(crate) fn wrong_kind(&mut self, at: &Place, found: &Value, expected: &str) {
        self.problems.push(at.problem(format!(
            "{} is not allowed here, expected {expected}",
            kind(found)
        )));
    }

    fn expand(
        &mut self,
        text: &str,
        at: &Place,
        field: &str,
        templates: &mut Templates,
    ) -> Option<String> {
        match self.scope.expand(text) {
            Ok(Expanded {
                text: value,
                values,
            }) => {
                if is_bare_reference(text) {
                    let note = at.problem(format!("{text} stays as it is"));
                    self.notes.push(note.hint(format!(
                        "for the variable's value write ${{{}}}",
                        &text[1..]
                    )));
                }
                if value != text {
                    let template = Template {
                        text: text.to_owned(),
                        values: values.into_iter().map(Secret::new).collect(),
                    };
                    templates.0.insert(field.to_owned(), template);
                }
                Some(value)
            }
            Err(refusals) => {
                self.problems.extend(refusals.into_iter().map(|refusal| {
                    let problem = at.problem(refusal.message).hint(refusal.hint);
                    problem.kind(refusal.kind)
                }));
                None
            }
        }
    }
}

/// `$NAME` and nothing else: Gemini CLI resolves it and others do not. It is never meant literally.
fn is_bare_reference(text: &str) -> bool {
    text.strip_prefix('$').is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
