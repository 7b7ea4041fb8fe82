//! The table of what an aggregator shows: made when something in it has changed, and shared by all with the same view.

use std::sync::Arc;

use super::{
    Aggregator,
    catalogue::State,
    filter::Filter,
    selection::Selected,
    server_lists::ServerLists,
    table::{Source, Table},
};
use crate::server::Server;

/// A table, and what it was made of.
#[derive(Debug)]
pub(super) struct Made {
    configuration: u64,
    of: Vec<Listed>,
    table: Arc<Table>,
}

/// A server, and its lists if they are known.
type Listed = (Arc<str>, Option<Arc<ServerLists>>);

impl Aggregator {
    /// The table of what is known now.
    pub(super) fn table(&self) -> Arc<Table> {
        self.configured_table().1
    }

    /// The table of what is known now, and the one configuration that it is of.
    pub(super) fn configured_table(&self) -> (u64, Arc<Table>) {
        let key = Arc::as_ptr(&self.0.catalogue).addr();
        loop {
            let (configuration, servers) = self.configured();
            let known = |server: &Arc<Server>| match self.0.catalogue.state(&server.name) {
                State::Known(lists) => Some(lists),
                _ => None,
            };
            let of: Vec<_> = servers
                .iter()
                .map(|server| (Arc::clone(&server.name), known(server)))
                .collect();
            if let Some(made) = self.0.view.tables.lock().get(&key)
                && made.configuration == configuration
                && same(&made.of, &of)
            {
                return (configuration, Arc::clone(&made.table));
            }
            let table = Arc::new(self.make_table(&servers, &of));
            // A reload that has begun meanwhile may have changed some of the filters and not the others.
            if self.configured().0 == configuration {
                let made = Made {
                    configuration,
                    of,
                    table: Arc::clone(&table),
                };
                self.keep_table(key, made);
                return (configuration, table);
            }
        }
    }

    fn make_table(&self, servers: &[Arc<Server>], of: &[Listed]) -> Table {
        let sources = servers
            .iter()
            .zip(of)
            .map(|(server, (name, lists))| Source {
                server: Arc::clone(name),
                lists: lists.clone(),
                filter: Arc::new(Filter::of(server.entry().exposure())),
                selected: self.selected(name).unwrap_or(Selected::All),
            });
        let sources: Vec<_> = sources.collect();
        Table::new(&sources, &self.0.hub.settings(), self.0.view.prefix)
    }

    fn keep_table(&self, key: usize, made: Made) {
        let table = Arc::clone(&made.table);
        let mut tables = self.0.view.tables.lock();
        if tables.len() > MOST_TABLES {
            tables.clear();
        }
        let before = tables.insert(key, made);
        drop(tables);
        let before = before.map(|made| made.table);
        for conflict in &table.conflicts {
            if before
                .as_ref()
                .is_none_or(|before| !before.conflicts.contains(conflict))
            {
                tracing::warn!("aggregator: {conflict}");
            }
        }
    }
}

/// Whether these are the very same lists of the same servers.
fn same(one: &[Listed], other: &[Listed]) -> bool {
    let pairs = || one.iter().zip(other);
    one.len() == other.len()
        && pairs().all(|((one, _), (other, _))| one == other)
        && pairs().all(|((_, one), (_, other))| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        })
}

/// Tables that are kept for one view.
const MOST_TABLES: usize = 1_000;
