//! A value from a file.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{Asked, LONGEST, SourceError, ValueSource};
use crate::connect::BoxFuture;

/// Reads a file each time it is asked: `/run/secrets/token`, and whatever else is rewritten in place.
///
/// Line ends at the end are not part of the value.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
}

impl File {
    /// Reads the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl ValueSource for File {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async {
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || read(&path)).await;
            let shown = self.path.display();
            let text = read
                .map_err(io::Error::other)
                .and_then(|read| read)
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
