//! Edits of JSON with comments, on the concrete syntax tree of `jsonc-parser`.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

use super::in_order;

pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Option<String> {
    set_input(text, path, input(value))
}

/// Sets the text of a value in another file, with the comments in it.
pub(super) fn copy(text: &str, path: &[&str], other: &str) -> Option<String> {
    let (name, above) = path.split_last()?;
    let table = descend(root(other)?.object_value()?, above)?;
    let copied = last(&table, name)?.value()?.to_string();
    let edited = set_input(text, path, CstInputValue::String(PLACEHOLDER.to_owned()))?;
    Some(edited.replacen(&format!("\"{PLACEHOLDER}\""), &copied, 1))
}

pub(super) fn remove(text: &str, path: &[&str]) -> Option<String> {
    let (name, above) = path.split_last()?;
    let root = root(text)?;
    let table = descend(root.object_value()?, above)?;
    // A name may be given twice.
    while let Some(property) = last(&table, name) {
        property.remove();
    }
    Some(root.to_string())
}

fn set_input(text: &str, path: &[&str], value: CstInputValue) -> Option<String> {
    let (name, above) = path.split_last()?;
    let root = root(text)?;
    let mut table = root.object_value()?;
    for name in above {
        table = match last(&table, name) {
            Some(property) => property.object_value_or_set(),
            None => table
                .append(name, CstInputValue::Object(Vec::new()))
                .object_value()?,
        };
    }
    match last(&table, name) {
        Some(property) => property.set_value(value),
        None => {
            table.append(name, value);
        }
    }
    Some(root.to_string())
}

fn root(text: &str) -> Option<CstRootNode> {
    CstRootNode::parse(text, &ParseOptions::default()).ok()
}

fn descend(table: CstObject, path: &[&str]) -> Option<CstObject> {
    path.iter()
        .try_fold(table, |table, name| last(&table, name)?.object_value())
}

/// The property of this name: the last one, which counts.
fn last(table: &CstObject, name: &str) -> Option<CstObjectProp> {
    let properties = table.properties();
    let mut named = properties.into_iter().rev();
    named.find(|property| property.decoded_name().as_deref() == Some(name))
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(table) => {
            let fields = in_order(table).into_iter();
            CstInputValue::Object(
                fields
                    .map(|(name, value)| (name.clone(), input(value)))
                    .collect(),
            )
        }
    }
}

/// Stands for a text that is put in its place.
const PLACEHOLDER: &str = "mcp-pool: the copied value \u{1F4CB}";
