//! `mcp-pool audit`: what was called, by whom, and how it ended.
//!
//! The gateway writes the audit and rotates it. This command only reads: the file, and the older ones beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{context::Context, failure::Failure};

/// Shows the audit of calls.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Shows lines that are not older than this, such as 1h, 30m or 7d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,

    /// Shows the calls of this server.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Shows so many lines, the last ones.
    #[arg(long, value_name = "NUMBER")]
    last: Option<usize>,
}

/// The document of `mcp-pool audit --json`.
#[derive(Debug, Serialize)]
struct Document {
    /// The files, the oldest first.
    files: Vec<PathBuf>,
    /// The lines as the gateway wrote them, the oldest first.
    lines: Vec<Map<String, Value>>,
    /// Lines that could not be read, such as one that was cut off by a crash.
    unreadable: usize,
}

impl Audit {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let path = path(context)?;
        let since = self
            .since
            .and_then(|age| SystemTime::now().checked_sub(age));
        let mut document = read(&path).map_err(|error| {
            Failure::usage(format!("cannot read the audit {}: {error}", path.display()))
        })?;
        document
            .lines
            .retain(|line| self.is_of_server(line) && is_after(line, since));
        if let Some(last) = self.last {
            let first = document.lines.len().saturating_sub(last);
            document.lines.drain(..first);
        }
        let output = context.output;
        if document.unreadable > 0 {
            let unreadable = document.unreadable;
            output.note(format!("{unreadable} lines could not be read"));
        }
        if context.json {
            return output.json(&document);
        }
        if document.files.is_empty() {
            output.note(format!("there is no audit yet: {}", path.display()));
        }
        document
            .lines
            .iter()
            .try_for_each(|line| output.line(shown(line)))
    }

    fn is_of_server(&self, line: &Map<String, Value>) -> bool {
        let server = self.server.as_deref();
        server.is_none_or(|server| text(line, "server") == server)
    }
}

/// The audit file of the configuration, or the daemon's own.
fn path(context: &Context) -> Result<PathBuf, Failure> {
    let config = context.loader()?.load().map_err(Failure::usage)?;
    let own = || context.folders.audit();
    Ok(config.gateway.audit_file.unwrap_or_else(own))
}

/// Reads the file and those that were rotated away, the oldest first.
fn read(path: &Path) -> io::Result<Document> {
    let mut document = Document {
        files: Vec::new(),
        lines: Vec::new(),
        unreadable: 0,
    };
    for file in files(path)? {
        let text = match fs::read(&file) {
            // It was rotated away in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read?,
        };
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(line) => document.lines.push(line),
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(_) => document.unreadable += 1,
            }
        }
        document.files.push(file);
    }
    Ok(document)
}

/// `audit.jsonl.2`, `audit.jsonl.1`, `audit.jsonl`, as far as they are there.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new("."));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let of_entry = entry.file_name().to_string_lossy().into_owned();
        let number = match of_entry.strip_prefix(&*name) {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix('.').and_then(|rest| rest.parse().ok()),
            None => None,
        };
        found.extend(number.map(|number: u32| (number, entry.path())));
    }
    found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A line without a time that can be read is kept: it may matter.
fn is_after(line: &Map<String, Value>, since: Option<SystemTime>) -> bool {
    let Some(since) = since else { return true };
    let time = humantime::parse_rfc3339_weak(text(line, "time"));
    time.map_or(true, |time| time >= since)
}

/// `2026-11-28T01:00:00.000Z  token:ann  time.now  ok  12 ms`
fn shown(line: &Map<String, Value>) -> String {
    let what = match (text(line, "server"), text(line, "tool")) {
        ("", "") => text(line, "event").to_owned(),
        ("", tool) => tool.to_owned(),
        (server, tool) => format!("{server}.{tool}"),
    };
    let (time, principal) = (text(line, "time"), text(line, "principal"));
    let outcome = text(line, "outcome");
    let ms = line.get("ms").and_then(Value::as_u64).unwrap_or_default();
    let mut shown = format!("{time}  {principal}  {what}  {outcome}  {ms} ms");
    let error = text(line, "error");
    if !error.is_empty() {
        shown.push_str(&format!("\n  {error}"));
    }
    // Names and errors are of servers and clients.
    shown
        .chars()
        .map(|c| match c.is_control() && c != '\n' {
            true => '\u{fffd}',
            false => c,
        })
        .collect()
}

fn text<'a>(line: &'a Map<String, Value>, name: &str) -> &'a str {
    line.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_come_first_and_a_torn_line_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let line = |tool: &str| format!("{{\"tool\":\"{tool}\"}}\n");
        for (name, text) in [
            ("audit.jsonl", line("4") + "{\"tool\":\"5"),
            ("audit.jsonl.1", line("3")),
            ("audit.jsonl.10", line("1")),
            ("audit.jsonl.2", line("2")),
            ("audit.jsonl.old", line("0")),
            ("other.jsonl", line("0")),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let document = read(&path).unwrap();
        let tools: Vec<_> = document
            .lines
            .iter()
            .map(|line| text(line, "tool"))
            .collect();
        assert_eq!(tools, ["1", "2", "3", "4"]);
        assert_eq!(document.unreadable, 1);
    }

    #[test]
    fn no_audit_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["audit.jsonl", "not/there/audit.jsonl"] {
            let document = read(&folder.path().join(path)).unwrap();
            assert!(document.files.is_empty() && document.lines.is_empty());
        }
    }
}
