//! Fetches all lists of one server.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::{Duration, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    catalogue::{Catalogue, FetchId, State},
    kind::ListKind,
    server_lists::{List, ServerLists},
};
use crate::{
    client::Client as _,
    error::{Error, ErrorKind},
    request::Request,
    request_options::RequestOptions,
    tools::PooledTools,
};

/// Where the lists of a server go.
pub(crate) struct Fetch {
    pub(crate) id: FetchId,
    pub(crate) server: Arc<str>,
    pub(crate) tools: PooledTools,
    pub(crate) catalogue: Arc<Catalogue>,
    /// What the server is: another one has other lists.
    pub(crate) definition: String,
    /// Whether what it lists may depend on secrets that the definition does not show.
    pub(crate) has_credentials: bool,
    pub(crate) list_timeout: Duration,
    /// The manager shuts down.
    pub(crate) stop: CancellationToken,
}

impl Fetch {
    /// Fetches until nothing has changed meanwhile. A fetch must have begun.
    pub(crate) async fn run(mut self) {
        let mut repeated = false;
        loop {
            if let Some(at) = self.catalogue.may_ask_at(&self.server, repeated) {
                // At a shutdown the fetch goes on, and fails at once.
                self.stop.run_until_cancelled(sleep_until(at)).await;
            }
            self.catalogue.asks(&self.server, self.id);
            let before = match self.catalogue.state(&self.server) {
                State::Known(lists) => Some(lists),
                _ => None,
            };
            let fetched = fetch(&self.tools, before.as_deref()).await;
            if let Err(error) = &fetched {
                tracing::debug!(server = &*self.server, "lists were not fetched: {error}");
            }
            let max_age = self.tools.list_max_age();
            let ended = self
                .catalogue
                .end_fetch(&self.server, self.id, fetched, max_age);
            let (changed, again) = ended;
            if let Some(lists) = changed {
                self.write(lists).await;
            }
            if !again {
                return;
            }
            repeated = true;
            let Some(next) = self.catalogue.begin_fetch(&self.server, self.list_timeout) else {
                return;
            };
            self.id = next;
        }
    }

    /// Keeps lists that another process may use. Private ones belong to the credentials with which they were requested.
    async fn write(&self, lists: Arc<ServerLists>) {
        if self.has_credentials && lists.is_private() {
            return;
        }
        let Some(disk) = self.catalogue.disk().cloned() else {
            return;
        };
        let (server, definition) = (Arc::clone(&self.server), self.definition.clone());
        let written = move || {
            if let Err(error) = disk.write(&server, &definition, &lists) {
                tracing::warn!(
                    server = &*server,
                    "lists were not written to the catalogue: {error}"
                );
            }
        };
        // It only fails if it panics.
        let _ = tokio::task::spawn_blocking(written).await;
    }
}

/// Everything that the server lists. A list that fails is taken from `before`, if it is there.
async fn fetch(tools: &PooledTools, before: Option<&ServerLists>) -> Result<ServerLists, Error> {
    // The first request opens a session, and what the server declares is known after it.
    let first = list(tools, ListKind::Tools).await;
    let info = tools.peer_info();
    let declared = |kind| {
        let capabilities = info.as_ref().map(|info| &info.capabilities);
        capabilities.is_some_and(|capabilities| match kind {
            ListKind::Tools => capabilities.tools.is_some(),
            ListKind::Prompts => capabilities.prompts.is_some(),
            ListKind::Resources | ListKind::Templates => capabilities.resources.is_some(),
        })
    };
    let mut lists = ServerLists::new(info.as_deref().cloned());
    match first {
        Ok(list) => lists.insert(ListKind::Tools, list),
        // A server without tools refuses to list them.
        Err(error) if error.kind() == ErrorKind::Protocol && !declared(ListKind::Tools) => {}
        Err(error) => return Err(error),
    }
    // One after the other: calls side by side would open a second session.
    for kind in [ListKind::Prompts, ListKind::Resources, ListKind::Templates] {
        if declared(kind) {
            let list = list(tools, kind).await;
            let list = list.unwrap_or_else(|error| {
                failed(&error, before.and_then(|before| before.list(kind)))
            });
            lists.insert(kind, list);
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    lists.listed_at = now.map_or(0, |now| now.as_secs());
    Ok(lists)
}

async fn list(tools: &PooledTools, kind: ListKind) -> Result<List, Error> {
    let options = RequestOptions::new().all_pages();
    let reply = tools.send(Request::new(kind.method()), options).await?;
    Ok(List::of(kind, &reply))
}

fn failed(error: &Error, before: Option<&List>) -> List {
    // Declared and not served: that is no failure.
    let not_served = error
        .protocol()
        .is_some_and(|error| error.code.0 == METHOD_NOT_FOUND);
    let mut list = before.cloned().unwrap_or_default();
    list.cut = (!not_served).then(|| error.to_string());
    list
}

const METHOD_NOT_FOUND: i32 = -32_601;
