//! Watches the files of the configuration, and reloads them.

use std::sync::Arc;

use mcp_config::{Loader, Reload, Watcher};
use parking_lot::Mutex;

use super::ConnectionManager;
use crate::error::{Error, ErrorKind};

/// What it takes to follow the files of the configuration.
pub(super) struct Watching {
    /// How the configuration was read, if the manager read it.
    loader: Option<Loader>,
    watcher: Mutex<Option<Watcher>>,
}

impl Watching {
    pub(super) fn by(loader: Option<Loader>) -> Self {
        Self {
            loader,
            watcher: Mutex::new(None),
        }
    }
}

impl ConnectionManager {
    /// Follows the files that the manager was made from, and takes over what changes in them, as
    /// [`ConnectionManager::reload`] does. A file that cannot be used changes nothing; that is logged, and
    /// [`last_reload_error`](crate::ManagerStatus::last_reload_error) says why.
    ///
    /// Files may be edited in place, replaced, or reached through symlinks; changes are let settle for a moment before they
    /// are read. Variables of the environment are not read again. Ends with [`ConnectionManager::shutdown`], or when the
    /// last clone of the manager is dropped. Asked for twice, it is done once.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example() -> Result<(), Error> {
    /// let manager = ConnectionManager::from_file(".mcp.json").await?;
    /// manager.watch()?;
    /// // From now on a changed file changes the servers.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the manager was made by [`ConnectionManager::from_config`], which knows no files, or if
    /// they cannot be read; [`ErrorKind::ShuttingDown`].
    pub fn watch(&self) -> Result<(), Error> {
        let Some(loader) = &self.0.watching.loader else {
            let message = "there are no files to follow: make the manager by from_file, from_env or from_loader";
            return Err(Error::new(ErrorKind::Config, message));
        };
        let mut watcher = self.0.watching.watcher.lock();
        if watcher.is_some() {
            return Ok(());
        }
        let (taken_over, started) = self.start(loader.clone())?;
        taken_over?;
        *watcher = Some(started);
        Ok(())
    }

    fn start(&self, loader: Loader) -> Result<(Result<(), Error>, Watcher), Error> {
        // What the watcher finds waits for what it found first.
        let mut reloads = self.0.reloads.lock();
        let manager = Arc::downgrade(&self.0);
        let (config, started) = loader.watch(move |reload| {
            // Not held between two reloads: the watcher is the manager's, not the manager the watcher's.
            if let Some(manager) = manager.upgrade().map(ConnectionManager) {
                manager.follow(reload);
            }
        })?;
        // What has changed since the manager was made.
        let taken_over = self.take_over(config, &mut reloads).map(|changes| {
            if !changes.is_empty() {
                reloads.took_over(&changes);
            }
        });
        // Not dropped here: its end waits for its thread, and that may be waiting for the lock.
        Ok((taken_over, started))
    }

    fn follow(&self, reload: Reload) {
        match reload {
            // An end that comes in between is the end.
            Reload::Changed { config, .. } => drop(self.reload(*config)),
            Reload::Refused(error) => self.0.reloads.lock().refused(&error.into()),
            _ => {}
        }
    }

    pub(super) async fn stop_watching(&self) {
        let Some(watcher) = self.0.watching.watcher.lock().take() else {
            return;
        };
        // It may be in the middle of reading a file.
        let _ = tokio::task::spawn_blocking(move || drop(watcher)).await;
    }
}
