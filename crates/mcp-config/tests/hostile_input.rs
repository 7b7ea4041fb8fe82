//! No input makes the loader panic, hang, or use memory out of proportion.
//!
//! In a program of their own, because memory is that of the process.

#[path = "hostile_input/attempt.rs"]
mod attempt;

use std::time::{Duration, SystemTime};

use attempt::attempt;
use proptest::prelude::*;

const CORPUS: &[&str] = &[
    include_str!("fixtures/claude-desktop/claude_desktop_config.json"),
    include_str!("fixtures/claude-code/.mcp.json"),
    include_str!("fixtures/cursor/.cursor/mcp.json"),
    include_str!("fixtures/vscode/.vscode/mcp.json"),
    include_str!("fixtures/gemini-cli/.gemini/settings.json"),
    include_str!("fixtures/fastmcp/mcp.json"),
    r#"{"a": {"command": "${A:-${B:-${C}}}", "pool": {"call_timeout": 1e308, "max_connections": -1, "retry_delay": "9y"}}}"#,
    r#"{"mcpServers": {"a": {"url": "http://[::1]:0/", "timeout": 1e18, "pool": {"circuit_breaker": []}}}}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn a_damaged_real_file_never_panics(
        which in 0..CORPUS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\x00-\\x7f]{0,4}|\\PC{0,3}|[{}\\[\\]\",:$/*-]{0,6}"), 1..6),
        format in 0..3_u8,
    ) {
        let mut text = CORPUS[which].to_owned();
        for (at, insert) in cuts {
            let mut start = at.index(text.len() + 1);
            while !text.is_char_boundary(start) { start -= 1; }
            let end = text[start..].char_indices().nth(insert.len() % 5).map_or(text.len(), |(at, _)| start + at);
            text.replace_range(start..end, &insert);
        }
        attempt(format, &text);
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}", format in 0..3_u8) {
        attempt(format, &text);
    }
}

#[test]
fn every_file_there_is_may_break_off_anywhere_in_every_format() {
    for text in CORPUS {
        for end in (0..text.len())
            .step_by(29)
            .filter(|end| text.is_char_boundary(*end))
        {
            for format in 0..3 {
                attempt(format, &text[..end]);
            }
        }
    }
}

#[test]
fn large_hostile_files_are_answered_in_seconds() {
    let servers = |count: u32| {
        (0..count)
            .map(|i| format!("\"s{i}\": {{\"comand\": \"x\", \"evn\": 1}},"))
            .collect::<String>()
    };
    let many_settings: String = (0..60_000)
        .map(|i| format!("\"max_conection{i}\": 1,"))
        .collect();
    let references = "${A:-${B}}".repeat(100_000);
    let before = most_memory();
    for text in [
        format!("{{\"mcpServers\": {{{}}}}}", servers(5_000)),
        format!("{{\"mcpServers\": {{{}}}}}", servers(200_000)),
        format!("{{\"a\": {{\"command\": \"x\", \"pool\": {{{many_settings}}}}}}}"),
        format!("{{\"a\": {{\"command\": \"x\", \"args\": [\"{references}\"]}}}}"),
        format!("{{\"a\": {{\"command\": \"{}\"}}}}", "${".repeat(1 << 20)),
        format!("{{\"{}\": {{\"comman\": \"x\"}}}}", "n".repeat(4 << 20)),
        "[".repeat(4 << 20),
        "{\"a\":".repeat(1 << 20),
        format!("\"{}", "x".repeat(4 << 20)),
        "/*".repeat(1 << 20),
    ] {
        let start = SystemTime::now();
        attempt(JSON, &text);
        let took = start.elapsed().unwrap_or_default();
        assert!(
            took < Duration::from_secs(20),
            "{took:?} for {}",
            &text[..40]
        );
    }
    if let (Some(before), Some(after)) = (before, most_memory()) {
        let grown = after - before;
        assert!(
            grown < MOST_GROWTH,
            "{grown} KiB for files of at most 8 MiB"
        );
    }
}

/// The most memory that this process has had, in KiB, where the kernel says so.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

const JSON: u8 = 0;

/// In KiB. A file of 8 MiB is parsed to a tree many times its size; what grows faster than the file would be far beyond.
const MOST_GROWTH: u64 = 512 << 10;
