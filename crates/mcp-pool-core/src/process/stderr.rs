//! Stderr of a server: always drained, its last lines kept.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    pace::Pace,
    redact::{Redactor, escape},
};

/// Lines kept for error messages and status.
const LINES: usize = 50;
/// Bytes kept of one line.
const LINE_LENGTH: usize = 2_000;
/// Bytes read beyond, so that a secret is not cut in half before it is recognised.
const OVERLAP: usize = 4_096;
/// A longer line is cut.
const MOST_READ: usize = LINE_LENGTH + OVERLAP;

/// The last lines. Clones are the same, and outlive the process.
///
/// They are kept as they came, and cleaned when they are read: of a server that writes much, few lines ever are.
#[derive(Clone, Debug, Default)]
pub(crate) struct StderrLines(Arc<Tail>);

#[derive(Default)]
struct Tail {
    redactor: Redactor,
    lines: Mutex<VecDeque<Vec<u8>>>,
}

impl StderrLines {
    fn new(redactor: Redactor) -> Self {
        Self(Arc::new(Tail {
            redactor,
            lines: Mutex::default(),
        }))
    }

    pub(crate) fn to_vec(&self) -> Vec<String> {
        // The redactor is a caller's: it must not run under the lock.
        let lines: Vec<_> = self.0.lines.lock().iter().cloned().collect();
        lines.iter().map(|line| self.shown(line)).collect()
    }

    /// Keeps a line, and leaves an empty buffer in its place.
    fn push(&self, line: &mut Vec<u8>) {
        let mut lines = self.0.lines.lock();
        let mut spare = match lines.len() {
            LINES => lines.pop_front().unwrap_or_default(),
            _ => Vec::new(),
        };
        spare.clear();
        lines.push_back(std::mem::replace(line, spare));
    }

    /// A line fit for errors and logs: without secrets, escaped and cut.
    fn shown(&self, line: &[u8]) -> String {
        let text = String::from_utf8_lossy(line)
            .trim_end_matches('\r')
            .to_owned();
        let mut text = escape(&self.0.redactor.apply(text));
        let is_cut = line.len() > MOST_READ;
        let whole = text.len().saturating_sub(if is_cut { OVERLAP } else { 0 });
        if is_cut || whole > LINE_LENGTH {
            let end = (0..=whole.min(LINE_LENGTH)).rfind(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or_default());
            text.push('…');
        }
        text
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
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
        let lines = StderrLines::new(redactor);
        let ended = CancellationToken::new();
        let reader = Reader {
            server,
            lines: lines.clone(),
            line: Vec::new(),
            pace: Pace::new(),
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
    lines: StderrLines,
    /// The line under way: no more of it than is needed to see that it is cut.
    line: Vec<u8>,
    pace: Pace,
}

impl Reader {
    async fn run(mut self, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; 2 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
                self.pace.count(part.len());
                let text = part.strip_suffix(b"\n").unwrap_or(part);
                let room = MOST_READ + 1 - self.line.len();
                self.line.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() < part.len() {
                    self.end_line();
                }
            }
            self.pace
                .ready(self.server.as_deref().unwrap_or_default())
                .await;
        }
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        if let Some(server) = &self.server {
            // The text is made only where the event is enabled.
            tracing::debug!(%server, "stderr: {}", self.lines.shown(&self.line));
        }
        self.lines.push(&mut self.line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

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

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_the_pace_of_messages_to_its_end() {
        let began = Instant::now();
        let input = (0..50_000)
            .map(|n| format!("line {n}\n"))
            .collect::<String>();
        let stream = std::io::Cursor::new(input.into_bytes());
        let tail = StderrTail::drain(None, stream, Redactor::default());
        tail.drained(Duration::from_secs(60)).await;
        let took = began.elapsed();
        assert!((2_500..5_000).contains(&took.as_millis()), "{took:?}");
        assert_eq!(tail.lines().to_vec()[49], "line 49999");
    }

    #[tokio::test]
    async fn a_line_is_redacted_when_it_is_read_and_not_before() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let redactor = Redactor::new(move |text| {
            counted.fetch_add(1, Ordering::Relaxed);
            text.replace("hunter2", "***")
        });
        let stream = std::io::Cursor::new(b"my hunter2\n".repeat(1_000));
        let tail = StderrTail::drain(Some("a".into()), stream, redactor);
        tail.drained(Duration::from_secs(5)).await;
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert!(!format!("{tail:?}").contains("hunter2"));
        assert_eq!(tail.lines().to_vec(), ["my ***"; 50]);
        assert_eq!(calls.load(Ordering::Relaxed), 50);
    }

    #[tokio::test]
    async fn a_last_line_without_a_newline_counts() {
        assert_eq!(tail_of(b"one\r\ntwo".to_vec()).await, ["one", "two"]);
    }
}
