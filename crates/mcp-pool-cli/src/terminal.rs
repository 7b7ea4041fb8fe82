//! The terminal: whether there is one, how wide it is, and what may be written to it.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
};

use crate::failure::Failure;

/// Columns of standard output: those of the terminal, else `COLUMNS`, else 80.
pub(crate) fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok();
    let columns = || columns?.parse().ok().filter(|columns| *columns >= 20);
    let of_terminal = comfy_table::Table::new().width().map(usize::from);
    of_terminal.or_else(columns).unwrap_or(80)
}

/// Whether a person can be asked: both what they type and what they read is a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether standard error may be drawn on.
pub(crate) fn can_draw() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !dumb
}

/// Writes text of a server to standard output and ends the line: as it is to a file or a pipe, and without what a terminal
/// obeys to a terminal.
pub(crate) fn write_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let text = match out.is_terminal() {
        true => harmless(text),
        false => text.into(),
    };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::internal(format!(
            "cannot write the output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// The text without escape sequences and control characters.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return text.into();
    }
    let plain = anstream::adapter::strip_str(text).to_string();
    plain.replace(obeyed, "").into()
}

/// The text on one line, of at most so many characters: `…` stands for what is left out.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let line = harmless(text);
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= width {
        return line;
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The text in lines of at most so many characters, broken between words, each after `indent` spaces.
pub(crate) fn wrapped(text: &str, indent: usize, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(20);
    let mut lines = Vec::new();
    for paragraph in harmless(text).lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
        .into_iter()
        .map(|line| match line.is_empty() {
            true => line,
            false => format!("{:indent$}{line}", ""),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_left_out() {
        assert_eq!(harmless("plain\n\ttext"), "plain\n\ttext");
        assert_eq!(harmless("\u{1b}]0;title\u{7}a\u{1b}[31mb\rc"), "abc");
    }

    #[test]
    fn a_text_is_cut_and_wrapped_by_characters() {
        assert_eq!(shortened("a  b\nc", 5), "a b c");
        assert_eq!(shortened("äöü äöü", 5), "äöü…");
        assert_eq!(
            wrapped("one two three four five six\n\nend", 2, 22),
            ["  one two three four", "  five six", "", "  end"]
        );
    }
}
