//! All queues of a pool, and the scopes in which callers wait.
//!
//! A pinned pool may have as many scopes as it has callers, and most of them are idle. No event looks at all of them:
//! the scopes in which callers wait are kept in the order of their first ticket.

use std::collections::{BTreeSet, HashMap};

use super::{
    ScopeId, Ticket,
    queue::{Queue, QueueState},
};

#[derive(Debug)]
pub(super) struct Queues<W> {
    shared: Queue<W>,
    scopes: HashMap<ScopeId, Queue<W>>,
    /// Scopes in which callers wait without a session, open or being opened.
    starved: BTreeSet<(Ticket, ScopeId)>,
    /// The other scopes in which callers wait.
    attached: BTreeSet<(Ticket, ScopeId)>,
}

impl<W> Queues<W> {
    pub(super) fn new() -> Self {
        Self {
            shared: Queue::new(),
            scopes: HashMap::new(),
            starved: BTreeSet::new(),
            attached: BTreeSet::new(),
        }
    }

    /// Makes the queue of a scope, unless it is there.
    pub(super) fn admit(&mut self, scope: ScopeId) {
        self.scopes.entry(scope).or_insert_with(Queue::new);
    }

    /// `None` where the scope has ended.
    pub(super) fn get(&self, scope: Option<ScopeId>) -> Option<&Queue<W>> {
        super::steps::count();
        match scope {
            None => Some(&self.shared),
            Some(scope) => self.scopes.get(&scope),
        }
    }

    pub(super) fn shared(&self) -> &Queue<W> {
        &self.shared
    }

    /// Changes a queue. `None` where the scope has ended.
    pub(super) fn update<T>(
        &mut self,
        scope: Option<ScopeId>,
        change: impl FnOnce(&mut Queue<W>) -> T,
    ) -> Option<T> {
        super::steps::count();
        let Some(scope) = scope else {
            return Some(change(&mut self.shared));
        };
        let queue = self.scopes.get_mut(&scope)?;
        let before = queue.state();
        let result = change(queue);
        let after = queue.state();
        if before != after {
            self.unlist(scope, before);
            self.list(scope, after);
        }
        Some(result)
    }

    /// Ends the queue of a scope.
    pub(super) fn remove(&mut self, scope: ScopeId) -> Option<Queue<W>> {
        let queue = self.scopes.remove(&scope)?;
        self.unlist(scope, queue.state());
        Some(queue)
    }

    /// The scope whose first caller has waited longest, of those that have no session.
    pub(super) fn first_starved(&self) -> Option<(Ticket, ScopeId)> {
        self.starved.first().copied()
    }

    /// The scope whose first caller has waited longest.
    pub(super) fn first_waiting(&self) -> Option<ScopeId> {
        let firsts = [self.starved.first(), self.attached.first()];
        firsts.into_iter().flatten().min().map(|(_, scope)| *scope)
    }

    /// The queues whose callers may be served by sessions that are open.
    pub(super) fn attached(&self) -> Vec<Option<ScopeId>> {
        let scopes = self.attached.iter().map(|(_, scope)| Some(*scope));
        scopes.chain([None]).collect()
    }

    /// The queues in which callers wait, and the shared one.
    pub(super) fn waiting(&self) -> Vec<Option<ScopeId>> {
        let starved = self.starved.iter().map(|(_, scope)| Some(*scope));
        starved.chain(self.attached()).collect()
    }

    /// Whether the lists are what looking through all scopes would find.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (mut starved, mut attached) = (BTreeSet::new(), BTreeSet::new());
        for (scope, queue) in &self.scopes {
            match queue.state() {
                QueueState::Empty => false,
                QueueState::Starved(ticket) => starved.insert((ticket, *scope)),
                QueueState::Attached(ticket) => attached.insert((ticket, *scope)),
            };
        }
        assert_eq!((&self.starved, &self.attached), (&starved, &attached));
    }

    fn list(&mut self, scope: ScopeId, state: QueueState) {
        match state {
            QueueState::Empty => false,
            QueueState::Starved(ticket) => self.starved.insert((ticket, scope)),
            QueueState::Attached(ticket) => self.attached.insert((ticket, scope)),
        };
    }

    fn unlist(&mut self, scope: ScopeId, state: QueueState) {
        match state {
            QueueState::Empty => false,
            QueueState::Starved(ticket) => self.starved.remove(&(ticket, scope)),
            QueueState::Attached(ticket) => self.attached.remove(&(ticket, scope)),
        };
    }
}
