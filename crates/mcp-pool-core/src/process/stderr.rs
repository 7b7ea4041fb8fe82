//! Stderr of a server: always drained, its last lines kept.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::redact::{Redactor, escape};

/// Lines kept for error messages and status.
const LINES: usize = 50;
/// Bytes kept of one line.
const LINE_LENGTH: usize = 2_000;
/// Bytes read beyond, so that a secret is not cut in half before it is recognised.
const OVERLAP: usize = 4_096;

/// The last lines. Clones are the same, and outlive the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct StderrLines(Arc<Mutex<VecDeque<String>>>);

impl StderrLines {
    pub(crate) fn to_vec(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[derive(Debug)]
pub(super) struct StderrTail {
    lines: StderrLines,
    ended: CancellationToken,
    _reading: AbortOnDropHandle<()>,
}

impl StderrTail {
    /// Reads until the end of the stream, or until this is dropped: a process that has left its group may hold the
    /// stream without end. What a server says is logged too.
    pub(super) fn drain(
        server: Option<Arc<str>>,
        stream: impl AsyncRead + Unpin + Send + 'static,
        redactor: Redactor,
    ) -> Self {
        let lines = StderrLines::default();
        let ended = CancellationToken::new();
        let reader = Reader {
            server,
            lines: lines.clone(),
            redactor,
            line: Vec::new(),
            cut: false,
        };
        let guard = ended.clone().drop_guard();
        #[allow(clippy::disallowed_methods, reason = "aborted with its owner")]
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            reader.run(stream).await;
            drop(guard);
        }));
        Self {
            lines,
            ended,
            _reading: reading,
        }
    }

    pub(super) fn lines(&self) -> &StderrLines {
        &self.lines
    }

    /// Waits for the end of the stream.
    pub(super) async fn drained(&self, within: Duration) {
        let _ = timeout(within, self.ended.cancelled()).await;
    }
}

struct Reader {
    server: Option<Arc<str>>,
    redactor: Redactor,
    lines: StderrLines,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    cut: bool,
}

impl Reader {
    async fn run(mut self, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; 2 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
                let whole = part.last() == Some(&b'\n');
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = LINE_LENGTH + OVERLAP - self.line.len();
                self.cut |= text.len() > room;
                self.line.extend_from_slice(&text[..text.len().min(room)]);
                if whole {
                    self.end_line();
                }
            }
        }
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line)
            .trim_end_matches('\r')
            .to_owned();
        let mut text = escape(&self.redactor.apply(text));
        let cut = std::mem::take(&mut self.cut);
        let whole = text.len().saturating_sub(if cut { OVERLAP } else { 0 });
        if cut || whole > LINE_LENGTH {
            let end = (0..=whole.min(LINE_LENGTH)).rfind(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
            text.push('…');
        }
        self.line.clear();
        if let Some(server) = &self.server {
            tracing::debug!(%server, "stderr: {text}");
        }
        self.lines.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail_of(input: Vec<u8>) -> Vec<String> {
        let tail = StderrTail::drain(None, std::io::Cursor::new(input), Redactor::default());
        tail.drained(Duration::from_secs(5)).await;
        tail.lines().to_vec()
    }

    #[tokio::test]
    async fn the_last_fifty_lines_are_kept() {
        let input = (0..120).map(|n| format!("line {n}\n")).collect::<String>();
        let lines = tail_of(input.into_bytes()).await;
        assert_eq!(lines.len(), 50);
        assert_eq!(
            (lines[0].as_str(), lines[49].as_str()),
            ("line 70", "line 119")
        );
    }

    #[tokio::test]
    async fn a_flood_without_a_newline_stays_one_short_line() {
        let lines = tail_of(vec![b'x'; 1_000_000]).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].chars().count(), LINE_LENGTH + 1);
        assert!(lines[0].ends_with('…'));
    }

    #[tokio::test]
    async fn a_secret_across_the_cut_is_seen_whole() {
        let input = format!(
            "{}hunter2{}",
            "x".repeat(LINE_LENGTH - 3),
            "y".repeat(9_000)
        );
        let redactor = Redactor::new(|text| text.replace("hunter2", "*******"));
        let stream = std::io::Cursor::new(input.into_bytes());
        let tail = StderrTail::drain(None, stream, redactor);
        tail.drained(Duration::from_secs(5)).await;
        let lines = tail.lines().to_vec();
        assert!(lines[0].ends_with("x***…"), "{lines:?}");
    }

    #[tokio::test]
    async fn a_last_line_without_a_newline_counts() {
        assert_eq!(tail_of(b"one\r\ntwo".to_vec()).await, ["one", "two"]);
    }
}
