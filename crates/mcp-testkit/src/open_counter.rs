//! A counter of openings, within a server or across processes, so that the first ones can fail.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::FailFirst;

/// How many openings there were so far.
#[derive(Debug, Default)]
pub(crate) struct OpenCounter {
    own: AtomicU64,
}

impl OpenCounter {
    /// Counts one opening and says whether it is among those that fail.
    pub(crate) fn next_fails(&self, fail_first: &FailFirst) -> bool {
        let before = match &fail_first.state_file {
            None => self.own.fetch_add(1, Relaxed),
            Some(path) => count_in(path).unwrap_or_else(|error| {
                panic!("cannot count openings in {}: {error}", path.display())
            }),
        };
        before < fail_first.openings
    }
}

/// Raises the number in a file under a lock and returns the one before.
fn count_in(path: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    lock(&file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let before = text.trim().parse().unwrap_or(0);
    file.rewind()?;
    write!(file, "{}", before + 1)?;
    Ok(before)
}

/// Waits for the lock, which ends when the file is closed.
#[cfg(unix)]
pub(crate) fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(
        file,
        rustix::fs::FlockOperation::LockExclusive,
    )?)
}

/// Without file locks, processes opening in the same instant may count as one.
#[cfg(not(unix))]
pub(crate) fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpeningFailure;

    #[test]
    fn servers_sharing_a_state_file_count_together() {
        let folder = tempfile::tempdir().unwrap();
        let fail_first = FailFirst {
            openings: 2,
            how: OpeningFailure::Error,
            state_file: Some(folder.path().join("openings")),
        };
        let fails: Vec<_> = (0..4)
            .map(|_| OpenCounter::default().next_fails(&fail_first))
            .collect();
        assert_eq!(fails, [true, true, false, false]);
    }
}
