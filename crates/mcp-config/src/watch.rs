//! Follows the files of a configuration and reloads them when they change.
//!
//! It watches folders and not files, because editors and deployments rename another file over the old one or replace a
//! symlink. Files are read when changes have settled. A file that does not load may be half-written: it is read a few more
//! times before it is refused, and the configuration loaded last stays current. Not every file system reports changes, so
//! sizes and times of the files are compared every few seconds too.
//!
//! It runs in a thread that ends with the [`Watcher`]; this crate needs no async runtime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::changes::Changes;
use crate::config::Config;
use crate::diagnostic::{ConfigError, Place};
use crate::load::Loader;

/// An event of a [`Watcher`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reload {
    /// The files changed, and the new configuration is current. `changes` is empty only if the files had been refused and
    /// are the same as before again.
    Changed {
        /// The whole new configuration.
        config: Box<Config>,
        /// What differs from the one that held before.
        changes: Changes,
    },
    /// The files changed and cannot be used. The configuration before stays current. The same error is reported once.
    Refused(ConfigError),
}

/// Follows the files of a configuration until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Loads, and then follows the files: `on_reload` is called for each change, in a thread of its own.
    ///
    /// The environment is the one that the loader was given, or the process's own as it is now; it is not read again.
    ///
    /// # Errors
    /// If the configuration does not load, or no thread can be started.
    pub fn watch(
        mut self,
        on_reload: impl FnMut(Reload) + Send + 'static,
    ) -> Result<(Config, Watcher), ConfigError> {
        self.keep_environment();
        let config = self.load()?;
        let (signals, inbox) = channel();
        let follower = Follower {
            folders: Folders::new(signals.clone()),
            loader: self,
            current: config.clone(),
            refused: None,
            seen: Vec::new(),
            inbox,
            on_reload,
        };
        let thread = std::thread::Builder::new()
            .name("mcp-config-watch".to_owned())
            .spawn(move || follower.run())
            .map_err(|error| {
                Place::new("watch", "").problem(format!("no thread can be started: {error}"))
            })?;
        Ok((
            config,
            Watcher {
                signals,
                thread: Some(thread),
            },
        ))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

enum Signal {
    /// Something happened to files of these names.
    Touched(Vec<PathBuf>),
    Stop,
}

struct Stopped;

struct Follower<F> {
    loader: Loader,
    current: Config,
    refused: Option<ConfigError>,
    /// The files as they were when they were last read.
    seen: Vec<Stamp>,
    folders: Folders,
    inbox: Receiver<Signal>,
    on_reload: F,
}

/// A file's size and time, if it is there.
type Stamp = (PathBuf, Option<(u64, SystemTime)>);

impl<F: FnMut(Reload)> Follower<F> {
    fn run(mut self) {
        let files = self.current.files.clone();
        self.folders.watch(&files);
        // A change between the first load and now had no event: read once more.
        let mut outcome = self.reload(&files);
        while outcome.is_ok() {
            outcome = self.wait().and_then(|files| self.reload(&files));
        }
    }

    /// Waits until files have changed and settled. Returns the files to read.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread without a runtime waits by the clock"
    )]
    fn wait(&mut self) -> Result<Vec<PathBuf>, Stopped> {
        let mut compare_at = Instant::now() + COMPARE_EVERY;
        loop {
            let left = compare_at.saturating_duration_since(Instant::now());
            let mut touched = match self.inbox.recv_timeout(left) {
                Ok(Signal::Touched(paths)) => self.concerns_us(&paths),
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => false,
            };
            // By the clock and not by a quiet inbox: another file of the folder may be written all the time.
            if !touched && Instant::now() >= compare_at {
                self.folders.watch(&self.current.files);
                touched = stamps(&self.current.files) != self.seen;
                compare_at = Instant::now() + COMPARE_EVERY;
            }
            if touched {
                self.wait_until_quiet()?;
                return Ok(self.current.files.clone());
            }
        }
    }

    /// Waits until our files have not changed for a moment, at most [`LONGEST_UNREST`]. Other files of the folder may be
    /// written all the time.
    #[allow(
        clippy::disallowed_methods,
        reason = "a thread without a runtime waits by the clock"
    )]
    fn wait_until_quiet(&mut self) -> Result<(), Stopped> {
        let began = Instant::now();
        let mut quiet_at = began + QUIET;
        loop {
            let until = quiet_at.min(began + LONGEST_UNREST);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            match self.inbox.recv_timeout(left) {
                Ok(Signal::Touched(paths)) if self.concerns_us(&paths) => {
                    quiet_at = Instant::now() + QUIET;
                }
                Ok(Signal::Touched(_)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
            }
        }
    }

    fn reload(&mut self, files: &[PathBuf]) -> Result<(), Stopped> {
        let mut loaded = self.load(files);
        for _ in 0..ATTEMPTS {
            if loaded.is_ok() || loaded.as_ref().err() == self.refused.as_ref() {
                break;
            }
            self.wait_until_quiet()?;
            loaded = self.load(files);
        }
        match loaded {
            Ok(config) => {
                self.folders.watch(&config.files);
                let changes = self.current.changes_to(&config);
                self.current = config;
                if self.refused.take().is_some() || !changes.is_empty() {
                    (self.on_reload)(Reload::Changed {
                        config: Box::new(self.current.clone()),
                        changes,
                    });
                }
            }
            Err(error) => {
                if self.refused.as_ref() != Some(&error) {
                    self.refused = Some(error.clone());
                    (self.on_reload)(Reload::Refused(error));
                }
            }
        }
        Ok(())
    }

    /// Stamps are taken before reading: a change during it is found at the next look.
    fn load(&mut self, files: &[PathBuf]) -> Result<Config, ConfigError> {
        self.seen = stamps(files);
        let loaded = self.loader.load();
        if let Ok(config) = &loaded
            && config.files != files
        {
            self.seen = stamps(&config.files);
        }
        loaded
    }

    /// Whether an event is about a file of ours, or about what a symlink of ours passes through.
    fn concerns_us(&self, paths: &[PathBuf]) -> bool {
        let ours: BTreeSet<_> = self
            .current
            .files
            .iter()
            .filter_map(|file| file.file_name())
            .collect();
        let of_kubernetes = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("..");
        paths.is_empty()
            || paths.iter().any(|path| match path.file_name() {
                Some(name) => {
                    ours.contains(name) || of_kubernetes(name) || self.folders.holds(path)
                }
                None => true,
            })
    }
}

/// The watched folders. Where the system reports no events, comparing finds the changes.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(signals: Sender<Signal>) -> Self {
        let signal = move |event: notify::Result<notify::Event>| {
            let paths = match event {
                // Reading a file is an event too, and we are the ones who read.
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
                Ok(event) => event.paths,
                Err(_) => Vec::new(),
            };
            let _ = signals.send(Signal::Touched(paths));
        };
        Self {
            watcher: notify::recommended_watcher(signal).ok(),
            watched: BTreeSet::new(),
        }
    }

    /// Watches the folders of these files and those that their symlinks lead to. A folder that was made again is watched
    /// again.
    fn watch(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        self.watched.retain(|folder| {
            let keep = wanted.contains(folder) && folder.is_dir();
            if !keep {
                let _ = watcher.unwatch(folder);
            }
            keep
        });
        for folder in wanted {
            if !self.watched.contains(&folder)
                && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(folder);
            }
        }
    }

    fn holds(&self, path: &Path) -> bool {
        self.watched.contains(path)
    }
}

fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let named = std::path::absolute(file).ok();
    let real = std::fs::canonicalize(file).ok();
    named
        .into_iter()
        .chain(real)
        .filter_map(|path| path.parent().map(Path::to_path_buf))
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((
            metadata.len(),
            metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        ))
    };
    files
        .iter()
        .map(|file| (file.clone(), stamp(file)))
        .collect()
}

/// Nothing may have happened for so long before files are read.
const QUIET: Duration = Duration::from_millis(200);

/// After so long files are read although they keep changing.
const LONGEST_UNREST: Duration = Duration::from_secs(5);

/// How often a file that does not load is read again before it is reported, [`QUIET`] apart.
const ATTEMPTS: usize = 4;

/// How often files are compared with what was read, also without an event.
const COMPARE_EVERY: Duration = Duration::from_secs(3);
