//! The log of the daemon: a file of bounded size, with older ones beside it.
//!
//! What is logged has no secrets: the library redacts what servers write and what errors quote.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::{failure::Failure, output::Output};

/// Size of the file at which another is begun.
const MAX_SIZE: u64 = 4 << 20;
/// Older files that are kept.
const KEPT: u32 = 3;
/// With what servers write to their standard error, which `logs` shows.
const OF_DAEMON: &str = "info,rmcp=warn,mcp_pool_core::process::stderr=debug";

/// Logs to the daemon's file from here on, panics too.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn to_file(path: &Path) -> Result<(), Failure> {
    let file = Rotating::open(path.to_owned(), MAX_SIZE);
    let file = file.map_err(|error| Failure::internal(format!("{}: {error}", path.display())))?;
    let file = Handle(Arc::new(Mutex::new(file)));
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| OF_DAEMON.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(move || file.clone())
        .init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Logs to standard error: warnings, and more with `--verbose`.
pub(crate) fn to_terminal(output: Output) {
    let filter = match (output.quiet, output.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info,rmcp=warn",
        (false, _) => "debug,rmcp=info,hyper=info",
    };
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| filter.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
}

#[derive(Clone)]
struct Handle(Arc<Mutex<Rotating>>);

impl Write for Handle {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of at most this size. The older ones are `NAME.1`, `NAME.2` and so on.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
}

impl Rotating {
    fn open(path: PathBuf, max_size: u64) -> io::Result<Self> {
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            max_size,
        })
    }

    /// Each write is a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.max_size {
            // A file that cannot be renamed grows on.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(line.len())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for older in (1..KEPT).rev() {
            // There are as many as there are.
            let _ = fs::rename(numbered(&self.path, older), numbered(&self.path, older + 1));
        }
        fs::rename(&self.path, numbered(&self.path, 1))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_no_file_is_larger_than_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Rotating::open(path.clone(), 10).unwrap();
        for line in [
            "1111\n", "2222\n", "3333\n", "4444\n", "5555\n", "6666\n", "7777\n", "8888\n",
            "9999\n",
        ] {
            log.write(line.as_bytes()).unwrap();
        }
        let read = |number: u32| match number {
            0 => fs::read_to_string(&path),
            number => fs::read_to_string(numbered(&path, number)),
        };
        assert_eq!(read(0).unwrap(), "9999\n");
        assert_eq!(read(1).unwrap(), "7777\n8888\n");
        assert_eq!(read(3).unwrap(), "3333\n4444\n");
        assert!(read(4).is_err(), "the oldest are removed");
    }
}
