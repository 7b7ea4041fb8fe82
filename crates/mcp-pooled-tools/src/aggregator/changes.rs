//! Changes of merged lists, many at a time.

use std::future::pending;

use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

use super::{Aggregator, kind::ListKind, table::Table};

/// Which merged lists have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListChange {
    /// The list of tools.
    pub tools: bool,
    /// The list of prompts.
    pub prompts: bool,
    /// The list of resources, or that of their templates.
    pub resources: bool,
}

/// Changes of the merged lists of an [`Aggregator`], from the moment of its making:
/// [`Aggregator::list_changes`]. A reload that changes fifty servers is one change.
#[derive(Debug)]
pub struct ListChanges {
    aggregator: Aggregator,
    changes: watch::Receiver<u64>,
    seen: [u64; 4],
    /// The configuration whose servers have been listed.
    configuration: u64,
    /// Changes that are collected.
    window: Option<Window>,
}

impl ListChanges {
    pub(super) fn new(aggregator: Aggregator) -> Self {
        let changes = aggregator.0.catalogue.changes();
        let (configuration, table) = aggregator.configured_table();
        Self {
            changes,
            seen: fingerprints(&table),
            configuration,
            aggregator,
            window: None,
        }
    }

    /// Waits for the next change of what this aggregator lists. `None` once the manager has been shut down.
    ///
    /// # Cancel safety
    /// May be dropped at any point: no change is lost.
    pub async fn next(&mut self) -> Option<ListChange> {
        let stop = self.aggregator.0.manager.stopping();
        loop {
            let quiet = async {
                match self.window {
                    Some(window) => sleep_until(window.end()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.ok()?;
                    let now = Instant::now();
                    let first = self.window.map_or(now, |window| window.first);
                    self.window = Some(Window { first, latest: now });
                }
                () = quiet => {
                    let now = tokio::select! {
                        now = self.settled() => now,
                        () = stop.cancelled() => return None,
                    };
                    self.window = None;
                    let change = self.differences(now);
                    if change != ListChange::default() {
                        return Some(change);
                    }
                }
                () = stop.cancelled() => return None,
            }
        }
    }

    /// What is listed once all servers of the configuration have been: the lists of a server that is new, or is reached
    /// otherwise, are part of the change. Another reload meanwhile is part of it, too.
    async fn settled(&mut self) -> [u64; 4] {
        loop {
            let configuration = self.aggregator.0.hub.configuration();
            if configuration != self.configuration {
                self.aggregator.list_unknown().await;
                self.configuration = configuration;
            }
            let (of, table) = self.aggregator.configured_table();
            if of == self.configuration {
                return fingerprints(&table);
            }
        }
    }

    fn differences(&mut self, now: [u64; 4]) -> ListChange {
        let differs = |kind: ListKind| now[kind as usize] != self.seen[kind as usize];
        let change = ListChange {
            tools: differs(ListKind::Tools),
            prompts: differs(ListKind::Prompts),
            resources: differs(ListKind::Resources) || differs(ListKind::Templates),
        };
        self.seen = now;
        change
    }
}

/// The time in which changes are taken together: until there has been none for a moment, but not for long.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: Instant,
    latest: Instant,
}

impl Window {
    fn end(self) -> Instant {
        (self.first + LONGEST).min(self.latest + QUIET)
    }
}

fn fingerprints(table: &Table) -> [u64; 4] {
    ListKind::ALL.map(|kind| table.fingerprint(kind))
}

const QUIET: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(500);
