//! Changes to a JSON text in a few places. Everything else stays as it was written, byte for byte.

use std::ops::Range;

use serde_json::value::RawValue;

use crate::request::{Members, json};

/// Changes to one text, of which all values given to it are parts.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    text: &'a str,
    edits: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    pub(crate) fn of(text: &'a RawValue) -> Self {
        Self {
            text: text.get(),
            edits: Vec::new(),
        }
    }

    /// Puts a string in place of a value.
    pub(crate) fn replace(&mut self, value: &'a RawValue, by: &str) {
        let place = self.place(value);
        self.edits.push((place, json(by).get().to_owned()));
    }

    /// Puts what `by` makes of a string in its place, if it is one and `by` makes something of it.
    pub(crate) fn map(
        &mut self,
        value: Option<&'a RawValue>,
        by: impl FnOnce(&str) -> Option<String>,
    ) {
        if let Some(value) = value
            && let Some(text) = string(value)
            && let Some(by) = by(&text)
        {
            self.replace(value, &by);
        }
    }

    /// Sets a member of an object to a string.
    pub(crate) fn set(&mut self, object: &'a RawValue, name: &str, to: &str) {
        let members = members(object);
        match members.get(name) {
            Some(value) => self.replace(value, to),
            None => self.insert(object, name, json(to).get()),
        }
    }

    /// Adds a member to an object that has none of this name.
    fn insert(&mut self, object: &'a RawValue, name: &str, value: &str) {
        let start = self.place(object).start + 1;
        let empty = object.get()[1..].trim_start().starts_with('}');
        let comma = if empty { "" } else { "," };
        let member = format!("{}:{value}{comma}", json(name));
        self.edits.push((start..start, member));
    }

    /// The changed text; `None` if nothing was changed.
    pub(crate) fn finish(mut self) -> Option<Box<RawValue>> {
        if self.edits.is_empty() {
            return None;
        }
        self.edits.sort_by_key(|(place, _)| place.start);
        let mut changed = String::with_capacity(self.text.len() + 64);
        let mut end = 0;
        for (place, by) in &self.edits {
            changed.push_str(&self.text[end..place.start]);
            changed.push_str(by);
            end = place.end;
        }
        changed.push_str(&self.text[end..]);
        Some(RawValue::from_string(changed).expect("values were exchanged for values"))
    }

    fn place(&self, value: &'a RawValue) -> Range<usize> {
        let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.get().len()
    }
}

/// The members of an object; none of anything else.
pub(crate) fn members(value: &RawValue) -> Members<'_> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// The elements of an array; none of anything else.
pub(crate) fn elements(value: Option<&RawValue>) -> Vec<&RawValue> {
    value
        .and_then(|value| serde_json::from_str(value.get()).ok())
        .unwrap_or_default()
}

/// A string.
pub(crate) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn only_what_is_changed_changes() {
        let text = raw("{ \"odd\":1.50,\n\"name\" : \"a\\u0041\", \"b\":{\"c\": [ null ]} }");
        let all = members(&text);
        let mut edits = Edits::of(&text);
        edits.set(all.get("b").unwrap(), "d", "new");
        edits.map(all.get("name"), |name| {
            (name == "aA").then(|| "x\"y".to_owned())
        });
        edits.map(all.get("odd"), |_| unreachable!("it is no string"));
        let expected =
            "{ \"odd\":1.50,\n\"name\" : \"x\\\"y\", \"b\":{\"d\":\"new\",\"c\": [ null ]} }";
        assert_eq!(edits.finish().unwrap().get(), expected);
    }

    #[test]
    fn a_member_is_added_to_an_empty_object_too() {
        let text = raw("{ }");
        let mut edits = Edits::of(&text);
        edits.set(&text, "a", "b");
        assert_eq!(edits.finish().unwrap().get(), "{\"a\":\"b\" }");
        assert!(Edits::of(&text).finish().is_none());
    }
}
