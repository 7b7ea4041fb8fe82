//! What all aggregators of a manager share: the catalogues, and the task that keeps them up to date.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mcp_config::EffectiveAggregator;
use parking_lot::{Mutex, RwLock};

use super::{catalogue::Catalogue, disk::Disk, fetch::Fetch, log_levels::LogLevels};
use crate::{
    events::{Event, EventStream},
    identity::Identity,
    manager::{ConnectionManager, WeakManager},
    server::Server,
};

#[derive(Debug)]
pub(crate) struct Hub {
    settings: Arc<RwLock<EffectiveAggregator>>,
    disk: Option<Disk>,
    catalogues: Mutex<HashMap<Option<Identity>, Arc<Catalogue>>>,
    /// Grows with each change of the configuration.
    configuration: AtomicU64,
    pub(super) log_levels: LogLevels,
}

impl Hub {
    pub(crate) fn new(settings: Arc<RwLock<EffectiveAggregator>>, disk: Option<Disk>) -> Self {
        Self {
            settings,
            disk,
            catalogues: Mutex::default(),
            configuration: AtomicU64::new(0),
            log_levels: LogLevels::default(),
        }
    }

    pub(crate) fn settings(&self) -> EffectiveAggregator {
        self.settings.read().clone()
    }

    pub(crate) fn configuration(&self) -> u64 {
        self.configuration.load(Ordering::Acquire)
    }

    /// The lists for an identity. Those for none are on disk, too.
    pub(crate) fn catalogue(&self, identity: Option<&Identity>) -> Arc<Catalogue> {
        let mut catalogues = self.catalogues.lock();
        let identity = identity.cloned();
        if let Some(catalogue) = catalogues.get(&identity) {
            return Arc::clone(catalogue);
        }
        if catalogues.len() > MOST_IDENTITIES {
            // Those of which no aggregator is left.
            catalogues.retain(|_, catalogue| Arc::strong_count(catalogue) > 1);
        }
        let disk = identity.is_none().then(|| self.disk.clone()).flatten();
        let catalogue = Arc::new(Catalogue::new(disk));
        catalogues.insert(identity, Arc::clone(&catalogue));
        catalogue
    }

    /// Fetches the lists of a server in the background, unless that is under way.
    pub(crate) fn fetch(
        &self,
        manager: &ConnectionManager,
        server: &Arc<Server>,
        identity: Option<&Identity>,
    ) {
        let catalogue = self.catalogue(identity);
        let settings = server.entry().exposure().effective(self.settings());
        let list_timeout = settings.list_timeout;
        let Some(id) = catalogue.begin_fetch(&server.name, list_timeout) else {
            return;
        };
        let tools = match manager.tools(&server.name) {
            Ok(tools) => tools,
            Err(error) => {
                let max_age = server.settings().list_max_age;
                catalogue.end_fetch(&server.name, id, Err(error), max_age);
                return;
            }
        };
        let fetch = Fetch {
            id,
            server: Arc::clone(&server.name),
            tools: match identity {
                Some(identity) => tools.with_identity(identity.clone()),
                None => tools,
            },
            catalogue,
            definition: server.definition(),
            has_credentials: server.has_credentials(),
            list_timeout,
            stop: manager.stopping(),
        };
        server.spawn(fetch.run());
    }

    /// Another configuration is in force. Servers that are reached otherwise are other servers.
    pub(crate) fn reconfigured(&self, replaced: &[String], live: impl Fn(&str) -> bool) {
        self.configuration.fetch_add(1, Ordering::AcqRel);
        for catalogue in self.all() {
            for server in replaced {
                catalogue.forget(server);
            }
            catalogue.retain(&live);
        }
    }

    fn all(&self) -> Vec<Arc<Catalogue>> {
        self.catalogues.lock().values().cloned().collect()
    }

    /// Lists of a server may have changed: those that are known are fetched again, where the server `runs`.
    fn refresh(
        &self,
        manager: &ConnectionManager,
        name: &str,
        runs: impl Fn(&Server, Option<&Identity>) -> bool,
    ) {
        let Ok(server) = manager.server(name) else {
            return;
        };
        let catalogues: Vec<_> = {
            let catalogues = self.catalogues.lock();
            let all = catalogues.iter();
            all.map(|(identity, catalogue)| (identity.clone(), Arc::clone(catalogue)))
                .collect()
        };
        for (identity, catalogue) in catalogues {
            catalogue.mark_stale(name);
            if catalogue.is_stale(name) && runs(&server, identity.as_ref()) {
                self.fetch(manager, &server, identity.as_ref());
            }
        }
    }

    fn on_event(&self, manager: &ConnectionManager, event: &Event) {
        match event {
            // The session that said so may be that of a scope, and the only one.
            Event::ListChanged { server, .. } => {
                self.refresh(manager, server, Server::has_sessions_of);
            }
            Event::SessionOpened { server, .. } => {
                // What changed while no session was open is unknown.
                let first = manager
                    .server(server)
                    .is_ok_and(|server| server.sessions() <= 1);
                if first
                    && !self
                        .all()
                        .iter()
                        .any(|catalogue| catalogue.is_fresh(server))
                {
                    self.refresh(manager, server, Server::runs);
                }
            }
            Event::Missed { .. } => {
                for server in manager.servers() {
                    self.refresh(manager, &server, Server::has_sessions_of);
                }
            }
            _ => {}
        }
    }
}

/// Keeps the catalogues of a manager up to date until it ends.
pub(crate) async fn follow(manager: WeakManager, mut events: EventStream) {
    let Some(stop) = manager.upgrade().map(|manager| manager.stopping()) else {
        return;
    };
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.cancelled() => return,
        };
        let (Some(event), Some(manager)) = (event, manager.upgrade()) else {
            return;
        };
        if let Some(hub) = manager.hub() {
            hub.on_event(&manager, &event);
        }
    }
}

const MOST_IDENTITIES: usize = 1_000;
