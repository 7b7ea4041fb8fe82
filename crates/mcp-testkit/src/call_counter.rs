//! The counter behind the tool `count`, which shows that no call ran twice.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use parking_lot::Mutex;

/// One count per key, for the whole server.
#[derive(Debug, Default)]
pub(crate) struct CallCounter {
    counts: Mutex<BTreeMap<String, u64>>,
}

impl CallCounter {
    /// Counts one execution, in the file too if there is one, and returns the new count.
    pub(crate) fn increment(&self, key: &str, file: Option<&Path>) -> io::Result<u64> {
        let mut counts = self.counts.lock();
        let count = counts.entry(key.to_owned()).or_default();
        *count += 1;
        if let Some(path) = file {
            let line = format!("{} {key} {count}\n", std::process::id());
            // One write of a short line to a file opened for appending is not torn by other processes.
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)?
                .write_all(line.as_bytes())?;
        }
        Ok(*count)
    }

    pub(crate) fn of(&self, key: &str) -> u64 {
        self.counts.lock().get(key).copied().unwrap_or(0)
    }
}
