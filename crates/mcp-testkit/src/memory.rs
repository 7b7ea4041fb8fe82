//! How much memory the process of a test takes.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Follows the resident memory of this process until it is dropped. Tests that hold it against a limit run alone in their
/// process.
#[derive(Debug)]
pub struct MemoryWatch {
    before: usize,
    most: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl MemoryWatch {
    /// Begins to look every two milliseconds.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        clippy::disallowed_methods,
        reason = "the memory of one's own process can be read; the thread that watches it is not one of a runtime"
    )]
    pub fn begin() -> Self {
        let watch = Self {
            before: resident(),
            most: Arc::default(),
            is_over: Arc::default(),
        };
        let (most, is_over) = (Arc::clone(&watch.most), Arc::clone(&watch.is_over));
        thread::spawn(move || {
            while !is_over.load(Relaxed) {
                most.fetch_max(resident(), Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        watch
    }

    /// Bytes by which the process was larger than at the beginning, at the most.
    #[must_use]
    pub fn grown(&self) -> usize {
        self.most.load(Relaxed).saturating_sub(self.before)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

/// Bytes of this process that are resident.
#[must_use]
#[allow(
    clippy::missing_panics_doc,
    reason = "the memory of one's own process can be read"
)]
pub fn resident() -> usize {
    const PAGE: usize = 4_096;
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map_or(0, |pages: usize| pages * PAGE)
}
