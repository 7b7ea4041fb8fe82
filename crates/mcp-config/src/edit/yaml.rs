//! Edits of YAML, by lines of block mappings.
//!
//! No client of the eight writes YAML; a file of servers of one's own may. A file in flow style, or with keys over several
//! lines, is refused by the check of [`Document`](super::Document).

use std::ops::Range;

use serde_json::Value;

use super::in_order;

pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Option<String> {
    let mut lines = lines(text);
    // The part of the path that is there.
    let there = (0..=path.len())
        .rev()
        .find(|length| entry(&lines, &path[..*length]).is_some())?;
    let depth_of_whole = path.len();
    if there == depth_of_whole {
        let Range { start, .. } = entry(&lines, path)?;
        let indent = indent(&lines[start]);
        let at = remove_lines(&mut lines, path)?;
        lines.splice(at..at, emit(&path[path.len() - 1..], value, indent, 2));
        return Some(lines.concat());
    }
    let above = entry(&lines, &path[..there])?;
    let (own, step) = match there {
        0 => (0, 2),
        _ => {
            let own = indent(&lines[above.start]);
            (own, 2)
        }
    };
    let child = match there {
        0 => 0,
        _ => children(&lines, &above).map_or(own + step, |first| indent(&lines[first])),
    };
    let step = if there > 0 && child > own {
        child - own
    } else {
        step
    };
    if there > 0 {
        let line = &mut lines[above.start];
        let colon = line.find(':')? + 1;
        let after = line[colon..].trim();
        if matches!(after, "{}" | "null" | "~") {
            *line = format!("{}\n", &line[..colon]);
        }
    }
    let at = end_of(&lines, &above);
    if let Some(last) = at.checked_sub(1).and_then(|last| lines.get_mut(last))
        && !last.ends_with('\n')
    {
        last.push('\n');
    }
    lines.splice(at..at, emit(&path[there..], value, child, step));
    Some(lines.concat())
}

pub(super) fn remove(text: &str, path: &[&str]) -> Option<String> {
    let mut lines = lines(text);
    remove_lines(&mut lines, path)?;
    let (_, above) = path.split_last()?;
    if !above.is_empty() {
        let above = entry(&lines, above)?;
        if children(&lines, &above).is_none() {
            let line = &mut lines[above.start];
            let colon = line.find(':')? + 1;
            if line[colon..].trim().is_empty() {
                line.insert_str(colon, " {}");
            }
        }
    }
    Some(lines.concat())
}

fn remove_lines(lines: &mut Vec<String>, path: &[&str]) -> Option<usize> {
    let range = entry(lines, path)?;
    let end = end_of(lines, &range);
    lines.drain(range.start..end);
    Some(range.start)
}

/// The lines of the entry under these names, from its key to before the next key that is no deeper.
fn entry(lines: &[String], path: &[&str]) -> Option<Range<usize>> {
    let mut range = 0..lines.len();
    for (depth, name) in path.iter().enumerate() {
        let first = match depth {
            0 => range.clone().find(|line| is_content(&lines[*line]))?,
            _ => children(lines, &range)?,
        };
        let level = indent(&lines[first]);
        let start = (first..range.end).find(|line| {
            let text = &lines[*line];
            is_content(text) && indent(text) == level && key(text).as_deref() == Some(name)
        })?;
        let end = (start + 1..range.end)
            .find(|line| is_content(&lines[*line]) && indent(&lines[*line]) <= level);
        range = start..end.unwrap_or(range.end);
    }
    Some(range)
}

/// The first line of content below the key of an entry.
fn children(lines: &[String], entry: &Range<usize>) -> Option<usize> {
    (entry.start + 1..entry.end).find(|line| is_content(&lines[*line]))
}

/// Blank lines and comments after an entry belong to the next one.
fn end_of(lines: &[String], entry: &Range<usize>) -> usize {
    let last = entry.clone().rev().find(|line| is_content(&lines[*line]));
    last.map_or(entry.end, |last| last + 1)
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && line != "---"
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn key(line: &str) -> Option<String> {
    let line = line.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = line.strip_prefix(quote) {
            let (name, rest) = rest.split_once(quote)?;
            return rest.trim_start().starts_with(':').then(|| name.to_owned());
        }
    }
    let end = line.find(": ").or(line.strip_suffix(':').map(str::len))?;
    Some(line[..end].trim().to_owned())
}

/// The lines of a value under its names: a mapping in block style, deeper values as JSON, which is YAML, too.
fn emit(path: &[&str], value: &Value, indent: usize, step: usize) -> Vec<String> {
    let Some((name, rest)) = path.split_first() else {
        return Vec::new();
    };
    let pad = " ".repeat(indent);
    let name = quoted(name);
    if !rest.is_empty() {
        let mut lines = vec![format!("{pad}{name}:\n")];
        lines.extend(emit(rest, value, indent + step, step));
        return lines;
    }
    match value.as_object().filter(|table| !table.is_empty()) {
        Some(table) => {
            let mut lines = vec![format!("{pad}{name}:\n")];
            let deeper = " ".repeat(indent + step);
            for (name, value) in in_order(table) {
                lines.push(format!("{deeper}{}: {value}\n", quoted(name)));
            }
            lines
        }
        None => vec![format!("{pad}{name}: {value}\n")],
    }
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let starts_plain = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word));
    match starts_plain && name.chars().all(plain) && !is_word {
        true => name.to_owned(),
        false => Value::from(name).to_string(),
    }
}
