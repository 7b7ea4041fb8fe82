//! The level of log messages over all clients: servers have one level per session, and clients share sessions.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and clients still set them"
)]

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rmcp::model::{LoggingLevel, SetLevelRequestParams};
use tokio::task::JoinSet;

use super::Aggregator;
use crate::{error::Error, manager::ConnectionManager, reply::Reply, request::Request};

/// The level of each client that has set one.
#[derive(Clone, Debug, Default)]
pub(super) struct LogLevels(Arc<Mutex<Levels>>);

#[derive(Debug, Default)]
struct Levels {
    next: u64,
    of: HashMap<u64, LoggingLevel>,
}

impl LogLevels {
    pub(super) fn client(&self, manager: ConnectionManager) -> ClientLevel {
        let mut levels = self.0.lock();
        levels.next += 1;
        ClientLevel {
            levels: self.clone(),
            client: levels.next,
            manager,
        }
    }
}

/// The level of one client, which counts until this is dropped.
pub(super) struct ClientLevel {
    levels: LogLevels,
    client: u64,
    manager: ConnectionManager,
}

impl ClientLevel {
    /// Sets it and returns the most verbose over all clients.
    fn set(&self, level: LoggingLevel) -> LoggingLevel {
        let mut levels = self.levels.0.lock();
        levels.of.insert(self.client, level);
        let all = levels.of.values().copied();
        all.min_by_key(|level| *level as u8).unwrap_or(level)
    }

    /// Forgets the level of a client that has gone. Returns the most verbose one of those that are left, if it is another.
    fn leave(&self) -> Option<LoggingLevel> {
        let mut levels = self.levels.0.lock();
        let least = |levels: &Levels| {
            let all = levels.of.values().copied();
            all.min_by_key(|level| *level as u8)
        };
        let before = least(&levels);
        levels.of.remove(&self.client)?;
        let after = least(&levels);
        after.filter(|_| after != before)
    }
}

impl Drop for ClientLevel {
    /// Servers become as verbose as those that are left want them.
    fn drop(&mut self) {
        let Some(level) = self.leave() else {
            return;
        };
        for server in self.manager.all() {
            let on = Arc::clone(&server);
            server.spawn(async move { on.set_log_level(level).await });
        }
    }
}

impl Aggregator {
    /// Sets the level on all sessions of all servers, now and to come: the most verbose that a client of the manager's
    /// aggregators has set. A server that refuses it changes nothing for the others.
    pub(super) async fn set_level(&self, request: &Request) -> Result<Reply, Error> {
        self.0.manager.check_open()?;
        let params: SetLevelRequestParams = request.parse_params()?;
        let level = self.0.level.set(params.level);
        let mut setting = JoinSet::new();
        for server in self.servers() {
            setting.spawn(async move { server.set_log_level(level).await });
        }
        setting.join_all().await;
        Ok(Reply::typed(&serde_json::json!({})))
    }
}
