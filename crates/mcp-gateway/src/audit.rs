//! The audit: one line of JSON for each call, and for each session id that is not its bearer's.
//!
//! Lines are written by one task, off the workers that serve calls. A disk that cannot keep up costs lines, which are counted
//! in the next one, and never a caller's time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use mcp_pooled_tools::GatewayConfig;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One line of the audit.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Line {
    /// When it ended, in UTC.
    pub(crate) time: String,
    pub(crate) event: &'static str,
    pub(crate) principal: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) server: String,
    /// What its server calls it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) tool: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) arguments_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arguments: Option<Box<RawValue>>,
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) error: String,
    pub(crate) ms: u64,
    /// Of the result.
    pub(crate) bytes: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) trace_id: String,
    /// Lines before this one that were not written.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lost: u64,
}

impl Line {
    /// About what it takes in memory.
    fn size(&self) -> usize {
        let arguments = self.arguments.as_ref().map_or(0, |json| json.get().len());
        let texts = [
            &self.principal,
            &self.client,
            &self.server,
            &self.tool,
            &self.error,
        ];
        size_of::<Self>() + arguments + texts.map(String::len).iter().sum::<usize>()
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Audit {
    file: Option<AuditFile>,
    pub(crate) with_arguments: bool,
    lines: OnceLock<Sender<Line>>,
    lost: Arc<AtomicU64>,
    /// Bytes of lines that wait.
    waiting: Arc<AtomicUsize>,
    task: TaskTracker,
    end: CancellationToken,
}

#[derive(Clone, Debug)]
struct AuditFile {
    path: PathBuf,
    max_size: u64,
}

impl Audit {
    /// The audit of this configuration, which may be none.
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let settings = config.effective();
        let file = config.audit_file.clone().map(|path| AuditFile {
            path,
            max_size: settings.audit_max_size,
        });
        Self {
            file,
            with_arguments: settings.audit_arguments,
            lines: OnceLock::new(),
            lost: Arc::default(),
            waiting: Arc::default(),
            task: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// Hands a line to the task that writes. Never waits.
    pub(crate) fn record(&self, mut line: Line) {
        let Some(file) = &self.file else { return };
        let lines = self.lines.get_or_init(|| {
            let (lines, received) = mpsc::channel(MAX_WAITING);
            self.task.spawn(write(
                file.clone(),
                received,
                Arc::clone(&self.waiting),
                self.end.clone(),
            ));
            lines
        });
        line.time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        line.lost = self.lost.swap(0, Ordering::Relaxed);
        let size = line.size();
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        let sent = match before + size <= MAX_WAITING_BYTES {
            true => lines.try_send(line).map_err(TrySendError::into_inner),
            false => Err(line),
        };
        if let Err(line) = sent {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.lost.fetch_add(line.lost + 1, Ordering::Relaxed);
        }
    }

    /// Writes what waits, and ends.
    pub(crate) async fn close(&self) {
        self.end.cancel();
        self.task.close();
        self.task.wait().await;
    }
}

/// The hash of arguments as a client wrote them, in hexadecimal.
pub(crate) fn hash(arguments: &RawValue) -> String {
    let hash = Sha256::digest(arguments.get());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn write(
    file: AuditFile,
    mut lines: Receiver<Line>,
    waiting: Arc<AtomicUsize>,
    end: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        let received = tokio::select! {
            received = lines.recv_many(&mut batch, MAX_BATCH) => received,
            () = end.cancelled() => {
                lines.close();
                lines.recv_many(&mut batch, MAX_WAITING).await
            }
        };
        if received == 0 {
            return;
        }
        let taken = std::mem::take(&mut batch);
        let size = taken.iter().map(Line::size).sum();
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || file.append(&taken)).await;
        waiting.fetch_sub(size, Ordering::Relaxed);
        let error = match written {
            Ok(Ok(())) => None,
            Ok(Err((path, error))) => Some(format!("{}: {error}", path.display())),
            Err(error) => Some(error.to_string()),
        };
        // Logged once each time that it begins to fail.
        match &error {
            Some(error) if !failing => {
                tracing::error!(
                    "audit lines are lost: {error}; check the file's folder and its mode"
                );
            }
            _ => {}
        }
        failing = error.is_some();
    }
}

impl AuditFile {
    /// Appends lines, after the file was rotated if they do not fit.
    fn append(&self, lines: &[Line]) -> Result<(), (PathBuf, io::Error)> {
        let mut text = Vec::new();
        for line in lines {
            // A line has texts and numbers alone.
            if serde_json::to_writer(&mut text, line).is_ok() {
                text.push(b'\n');
            }
        }
        let append = || {
            let mut file = open(&self.path)?;
            let size = file.metadata()?.len();
            if size > 0 && size + text.len() as u64 > self.max_size {
                drop(file);
                self.rotate()?;
                file = open(&self.path)?;
            }
            file.write_all(&text)
        };
        append().map_err(|error| (self.path.clone(), error))
    }

    /// Renames `audit.log` to `audit.log.1`, and so on; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(
                numbered(&self.path, number),
                numbered(&self.path, number + 1),
            ) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Lines that wait for the disk, and their bytes.
const MAX_WAITING: usize = 16 * 1024;
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Lines written at once.
const MAX_BATCH: usize = 256;
/// Older files that are kept.
const KEPT: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_rotated_and_four_older_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let file = AuditFile {
            path: path.clone(),
            max_size: 100,
        };
        for number in 0..8 {
            let line = Line {
                event: "call",
                tool: format!("tool {number}"),
                outcome: "ok",
                ..Line::default()
            };
            file.append(&[line]).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kept = [
            "audit.log",
            "audit.log.1",
            "audit.log.2",
            "audit.log.3",
            "audit.log.4",
        ];
        assert_eq!(names, kept);
        assert!(fs::read_to_string(&path).unwrap().contains("tool 7"));
        let oldest = fs::read_to_string(numbered(&path, 4)).unwrap();
        assert!(oldest.contains("tool 3"), "{oldest}");
    }

    #[tokio::test]
    async fn lines_that_wait_are_bounded_in_bytes_and_the_next_one_counts_those_that_are_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = GatewayConfig::default();
        config.audit_file = Some(folder.path().join("audit.log"));
        let audit = Audit::new(&config);
        // The task that writes has not run yet.
        for _ in 0..5 {
            audit.record(Line {
                error: "e".repeat(MAX_WAITING_BYTES / 4),
                ..Line::default()
            });
        }
        assert!(audit.waiting.load(Ordering::Relaxed) <= MAX_WAITING_BYTES);
        audit.record(Line::default());
        audit.close().await;
        assert_eq!(audit.waiting.load(Ordering::Relaxed), 0);
        let written = fs::read_to_string(folder.path().join("audit.log")).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 4, "three, and the last");
        assert!(lines[3].contains(r#""lost":2"#));
    }
}
