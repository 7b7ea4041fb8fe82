//! A value from a file.
//!
//! A file may hang: its mount is dead, or it is a pipe without a writer. The runtime cannot end while one of its blocking
//! threads hangs, so a file is read in a thread of its own, one per path at a time.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{Asked, LONGEST, SourceError, ValueSource};
use crate::future::BoxFuture;

/// Reads a file each time it is asked: `/run/secrets/token`, and whatever else is rewritten in place.
///
/// Line ends at the end are not part of the value. A file that cannot be read within 10 s, or is not a regular one, has no
/// value.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    /// The one reader of this path. A reader that hangs keeps it, so that others do not hang beside it.
    turn: Arc<Semaphore>,
}

impl File {
    /// Reads the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            turn: turn_at(&path),
            path,
        }
    }

    async fn read(&self) -> io::Result<String> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(io::Error::other)?;
        let (path, (sender, outcome)) = (self.path.clone(), oneshot::channel());
        std::thread::Builder::new()
            .name("mcp-pool-file".to_owned())
            .spawn(move || {
                let outcome = read(&path);
                drop(turn);
                // The caller may have given up.
                let _ = sender.send(outcome);
            })?;
        outcome.await.map_err(io::Error::other)?
    }
}

impl ValueSource for File {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async {
            let shown = self.path.display();
            let text = timeout(LIMIT, self.read())
                .await
                .unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {LIMIT:?}"))))
                .map_err(|error| {
                    SourceError::new(format!("file `{shown}` cannot be read: {error}"))
                        .with_source(error)
                })?;
            let value = text.trim_end_matches(['\r', '\n']);
            if value.is_empty() {
                return Err(SourceError::new(format!("file `{shown}` is empty")));
            }
            Ok(value.to_owned())
        })
    }
}

fn read(path: &Path) -> io::Result<String> {
    // Before it is opened: opening a pipe waits for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    let limit = LONGEST as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_string(&mut text)?;
    if text.len() > LONGEST {
        return Err(io::Error::other("it is too long for a token"));
    }
    Ok(text)
}

/// The turns of all sources that read this path.
fn turn_at(path: &Path) -> Arc<Semaphore> {
    static TURNS: LazyLock<Mutex<HashMap<PathBuf, Weak<Semaphore>>>> =
        LazyLock::new(Mutex::default);
    let mut turns = TURNS.lock();
    if let Some(turn) = turns.get(path).and_then(Weak::upgrade) {
        return turn;
    }
    turns.retain(|_, turn| turn.strong_count() > 0);
    let turn = Arc::new(Semaphore::new(1));
    turns.insert(path.to_owned(), Arc::downgrade(&turn));
    turn
}

/// How long a file may take.
const LIMIT: Duration = Duration::from_secs(10);
