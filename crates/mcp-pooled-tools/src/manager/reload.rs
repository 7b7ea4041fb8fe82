//! Reload: replaces the configuration of a manager, server by server.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Weak},
};

use mcp_config::{Changes, Config, Problem};

use super::ConnectionManager;
use crate::{
    error::Error,
    server::{Change, Server},
};

/// Current and removed servers: the handle of a removed server works again when the server is back.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) live: BTreeMap<Arc<str>, Arc<Server>>,
    gone: BTreeMap<Arc<str>, Weak<Server>>,
    shut: bool,
}

impl Servers {
    pub(super) fn new(live: BTreeMap<Arc<str>, Arc<Server>>) -> Self {
        Self {
            live,
            gone: BTreeMap::new(),
            shut: false,
        }
    }

    /// No more servers; all there are or were come out to be closed.
    pub(super) fn shut(&mut self) -> Vec<Arc<Server>> {
        self.shut = true;
        let gone = self.gone.values().filter_map(Weak::upgrade);
        self.live.values().cloned().chain(gone).collect()
    }
}

/// What has become of changed configurations.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    applied: u64,
    last_error: Option<String>,
    /// The notes of the configuration in force, which are in the log.
    noted: HashSet<Problem>,
}

impl Reloads {
    /// How many were taken over, and what was wrong with the last.
    pub(super) fn summary(&self) -> (u64, Option<String>) {
        (self.applied, self.last_error.clone())
    }

    /// Logs what is odd in a configuration and stops nothing, such as a field that means nothing here, if it was not so in
    /// the one before.
    pub(super) fn log_notes(&mut self, config: &Config) {
        let before = std::mem::take(&mut self.noted);
        for note in &config.notes {
            if self.noted.insert(note.clone()) && !before.contains(note) {
                tracing::warn!("configuration: {note}");
            }
        }
    }

    pub(super) fn took_over(&mut self, changes: &Changes) {
        self.applied += 1;
        tracing::info!(?changes, "configuration reloaded");
    }

    #[cfg(feature = "watch")]
    pub(super) fn refused(&mut self, error: &Error) {
        tracing::warn!("configuration reload failed, keeping the old configuration: {error}");
        self.last_error = Some(error.to_string());
    }
}

impl ConnectionManager {
    /// Takes over another configuration without failing a call, and returns what has changed.
    ///
    /// - Settings change in place where a pool can change, and its sessions are kept.
    /// - A server that is reached otherwise (command, arguments, variables, URL, headers), or whose sessions would open
    ///   otherwise, gets a new pool. Callers in line move there; the old pool serves the calls it has, without a limit,
    ///   and then closes.
    /// - A server that is gone or switched off is closed in the same way; its handles answer with a clear error, and
    ///   serve again if it comes back.
    /// - A server whose new entry is wrong stays as it was, and
    ///   [`last_reload_error`](crate::ManagerStatus::last_reload_error) says why.
    /// - What code has set for one server ([`ServerConfig::pool`](crate::ServerConfig::pool),
    ///   [`ConnectionManager::configure_server`]) stays set. Defaults and limits are those of the new configuration.
    ///
    /// Existing handles follow the change.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, config};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let config = config::Loader::new().file("other.json").load()?;
    /// let changes = manager.reload(config)?;
    /// println!("{changes:?}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShuttingDown`](crate::ErrorKind::ShuttingDown).
    pub fn reload(&self, config: Config) -> Result<Changes, Error> {
        let mut reloads = self.0.reloads.lock();
        let changes = self.take_over(config, &mut reloads)?;
        reloads.took_over(&changes);
        Ok(changes)
    }

    pub(super) fn take_over(
        &self,
        config: Config,
        reloads: &mut Reloads,
    ) -> Result<Changes, Error> {
        let mut servers = self.0.servers.write();
        if servers.shut {
            return Err(Error::shutting_down_all());
        }
        reloads.log_notes(&config);
        let mut changes = Changes::default();
        let mut wrong = Vec::new();
        let absent = servers
            .live
            .keys()
            .filter(|name| !config.servers.contains_key(&***name));
        for name in absent.cloned().collect::<Vec<_>>() {
            let Some(server) = servers.live.remove(&name) else {
                continue;
            };
            server.remove();
            changes.removed.push(name.to_string());
            servers.gone.insert(name, Arc::downgrade(&server));
        }
        for (name, entry) in config.servers {
            let problems = Server::problems_of(&entry);
            wrong.extend(problems.clone());
            let name: Arc<str> = name.into();
            let returned = || servers.gone.get(&name).and_then(Weak::upgrade);
            let known = servers.live.get(&name).cloned().or_else(returned);
            let Some(server) = known else {
                if problems.is_some() {
                    changes.broken.push(name.to_string());
                } else if entry.is_usable() {
                    changes.added.push(name.to_string());
                }
                let factory = self.0.factories.factory(&name, &entry);
                let (budget, tasks) = (self.0.budget.clone(), self.0.tasks.clone());
                let monitor = Arc::clone(&self.0.monitor);
                let server = Arc::new(Server::new(entry, factory, budget, tasks, monitor));
                server.warm_up_if_eager();
                servers.live.insert(name, server);
                continue;
            };
            let exposed = server.entry().exposure().clone();
            let list = match server.reload(entry, |entry| self.0.factories.factory(&name, entry)) {
                Ok(Change::Nothing) => None,
                Ok(Change::Settings) => Some(&mut changes.reconfigured),
                Ok(Change::Replaced) => Some(&mut changes.replaced),
                Ok(Change::Added) => Some(&mut changes.added),
                Ok(Change::Removed) => Some(&mut changes.removed),
                Ok(Change::Kept) => Some(&mut changes.broken),
                Err(error) => {
                    wrong.push(error.to_string());
                    Some(&mut changes.broken)
                }
            };
            if let Some(list) = list {
                list.push(name.to_string());
            }
            if *server.entry().exposure() != exposed {
                changes.exposed.push(name.to_string());
            }
            servers.live.insert(name, server);
        }
        servers.gone.retain(|_, server| server.strong_count() > 0);
        let limits = &config.limits;
        changes.limits = self.0.budget.configure(
            limits.max_total_connections as usize,
            limits.max_connecting as usize,
        );
        changes.aggregator = self.0.aggregate.reconfigure(config.aggregator);
        changes.gateway = self.configure_gateway(config.gateway);
        if let Some(hub) = self.hub() {
            // One that is switched off may come back as another server: its lists on disk are of a definition.
            let is_listed = |name: &str| {
                let server = servers.live.get(name);
                server.is_some_and(|server| !server.is_switched_off())
            };
            hub.reconfigured(&changes.replaced, is_listed);
        }
        reloads.last_error = None;
        if !wrong.is_empty() {
            let wrong = wrong.join("; ");
            tracing::warn!(
                "configuration reload: some servers keep their old configuration: {wrong}"
            );
            reloads.last_error = Some(wrong);
        }
        Ok(changes)
    }
}
