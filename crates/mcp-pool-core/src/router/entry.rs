//! One session as the router sees it.

use super::{
    Claim, CloseReason, ScopeId, Ticket,
    by_load::{Linked, Links},
};

/// Names a session within one router. A key is used again only after the session it named has ended *and* its
/// last lease has come back, so a late release can never reach another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(pub(super) u32);

/// How far a session has come. Only forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Takes leases.
    Live,
    /// Takes no more leases; closes when the last one is back.
    Retiring(CloseReason),
    /// Being closed; still holds its place, because its process may still run.
    Closing,
    /// Gone, and its place is free. The entry waits for leases that are still out.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Entry<S, W> {
    pub(super) session: S,
    pub(super) scope: Option<ScopeId>,
    pub(super) stage: Stage,
    /// Leases out, a whole one counted once.
    pub(super) load: u32,
    /// One caller has the session to itself.
    pub(super) whole: bool,
    /// Must answer a probe before its next lease.
    pub(super) suspect: bool,
    /// A caller who wants the whole session and waits for the leases on it to come back.
    pub(super) reserved: Option<(Ticket, W)>,
    /// Position in the order of events: a caller who came later found this session open.
    pub(super) born: u64,
    links: Links,
}

impl<S, W> Entry<S, W> {
    pub(super) fn new(session: S, scope: Option<ScopeId>, born: u64) -> Self {
        Self {
            session,
            scope,
            stage: Stage::Live,
            load: 0,
            whole: false,
            suspect: false,
            reserved: None,
            born,
            links: Links::new(),
        }
    }

    /// Whether the session may be leased at all.
    pub(super) fn usable(&self) -> bool {
        self.stage == Stage::Live && !self.suspect
    }

    /// Whether the session rests, kept for a caller who has not been handed it yet.
    pub(super) fn rests_reserved(&self) -> bool {
        self.reserved.is_some() && self.load == 0 && self.usable() && self.scope.is_none()
    }

    pub(super) fn can_take(&self, claim: Claim, max_in_flight: u32) -> bool {
        let room = match claim {
            Claim::Share => self.load < max_in_flight,
            Claim::Whole => self.load == 0,
        };
        room && self.usable() && !self.whole && self.reserved.is_none()
    }
}

/// All entries, by key.
#[derive(Debug)]
pub(super) struct Entries<S, W>(pub(super) slab::Slab<Entry<S, W>>);

impl<S, W> Entries<S, W> {
    pub(super) fn get(&self, key: SessionKey) -> &Entry<S, W> {
        super::steps::count();
        &self.0[key.0 as usize]
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> &mut Entry<S, W> {
        super::steps::count();
        &mut self.0[key.0 as usize]
    }

    pub(super) fn insert(&mut self, entry: Entry<S, W>) -> SessionKey {
        let key = self.0.insert(entry);
        SessionKey(u32::try_from(key).expect("fewer than 2^32 sessions"))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Entry<S, W>)> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "insert() has checked every key"
        )]
        self.0
            .iter()
            .map(|(key, entry)| (SessionKey(key as u32), entry))
            .inspect(|_| super::steps::count())
    }
}

impl<S, W> Linked for Entries<S, W> {
    fn links(&self, key: u32) -> Links {
        self.0[key as usize].links
    }

    fn links_mut(&mut self, key: u32) -> &mut Links {
        &mut self.0[key as usize].links
    }
}
