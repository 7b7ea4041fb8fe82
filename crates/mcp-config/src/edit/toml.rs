//! Edits of TOML, on the document of `toml_edit`.

use serde_json::{Map, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike};

use super::in_order;

pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Option<String> {
    put(text, path, |inline| item(value, inline))
}

/// Sets a value of another file, with the comments in it.
pub(super) fn copy(text: &str, path: &[&str], other: &str) -> Option<String> {
    let other = parse(other)?;
    let mut copied = path
        .iter()
        .try_fold(other.as_item(), |item, name| item.get(name))?
        .clone();
    no_position(&mut copied);
    put(text, path, |inline| match inline && copied.is_table() {
        true => None,
        false => Some(copied),
    })
}

pub(super) fn remove(text: &str, path: &[&str]) -> Option<String> {
    let (name, above) = path.split_last()?;
    let mut document = parse(text)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in above {
        table = table.get_mut(name)?.as_table_like_mut()?;
    }
    table.remove(name)?;
    // A table that nothing in the file names any more is written down, so that it is still there.
    if let Some((name, above)) = above.split_last() {
        let mut table: &mut dyn TableLike = document.as_table_mut();
        for name in above {
            table = table.get_mut(name)?.as_table_like_mut()?;
        }
        if let Some(Item::Table(table)) = table.get_mut(name)
            && table.is_empty()
        {
            table.set_implicit(false);
            table.set_dotted(false);
        }
    }
    Some(document.to_string())
}

fn put(text: &str, path: &[&str], value: impl FnOnce(bool) -> Option<Item>) -> Option<String> {
    let (name, above) = path.split_last()?;
    let mut document = parse(text)?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let mut inline = false;
    for name in above {
        let made = || {
            let mut made = Table::new();
            made.set_implicit(true);
            Item::Table(made)
        };
        let item = table.entry(name).or_insert_with(made);
        inline |= item.is_inline_table();
        table = item.as_table_like_mut()?;
    }
    let mut new = value(inline || !path_is_entry(path))?;
    match (table.get_mut(name), &mut new) {
        (Some(Item::Value(old)), Item::Value(new)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new.clone();
        }
        _ => {
            table.insert(name, new);
        }
    }
    Some(document.to_string())
}

/// Whether this is a server, which has a table with a header of its own, and not a field of one.
fn path_is_entry(path: &[&str]) -> bool {
    path.len() == 2
}

fn parse(text: &str) -> Option<DocumentMut> {
    // Line endings are restored by the caller.
    text.replace("\r\n", "\n").parse().ok()
}

/// A copied table stands after those that are there.
fn no_position(item: &mut Item) {
    if let Item::Table(table) = item {
        table.set_position(None);
        for (_, item) in table.iter_mut() {
            no_position(item);
        }
    }
}

fn item(value: &Value, inline: bool) -> Option<Item> {
    match value {
        Value::Object(table) if !inline => {
            let mut made = Table::new();
            for (name, value) in in_order(table) {
                made.insert(name, item(value, true)?);
            }
            Some(Item::Table(made))
        }
        _ => Some(Item::Value(plain(value)?)),
    }
}

fn plain(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        // TOML has no word for it.
        Value::Null => return None,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            let items: Option<Array> = items.iter().map(plain).collect();
            items?.into()
        }
        Value::Object(table) => inline(table)?.into(),
    })
}

fn inline(table: &Map<String, Value>) -> Option<InlineTable> {
    in_order(table)
        .into_iter()
        .map(|(name, value)| Some((name.clone(), plain(value)?)))
        .collect()
}
