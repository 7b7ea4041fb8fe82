//! Policy of the pool: which caller gets which session, which callers wait, when one more session is opened.
//!
//! The router is a state machine without I/O, clock or runtime: events go in through its methods, and what is to
//! be done comes out as [`Action`]s. The shell round it ([`crate::SessionPool`]) holds it under one short lock and
//! carries the actions out after the lock is released. All promises about fairness and bounds are kept here and
//! nowhere else, which is why they can be tested as a model against random histories:
//!
//! - never more than `max_in_flight` leases on a session, nor more than `max_connections` sessions, counting
//!   those still being opened and those not yet dead;
//! - callers are served in the order of their arrival, by hand-off: a place that becomes free belongs to the
//!   first caller in line and is never up for grabs;
//! - a caller never waits for an opening while a session has room for it;
//! - a caller that goes away passes its place on;
//! - a session that another pool is owed is given up when those have been served who came before;
//! - no event on the path of a call looks at all sessions, scopes or callers: what it costs does not grow with them,
//!   save by the logarithm of an ordered set.
//!
//! A caller may want a place on a session ([`Claim::Share`]) or a session to itself ([`Claim::Whole`]). The
//! second kind must not starve under a steady load of the first, and must not stop it either. So such a caller
//! takes an idle session; failing that, one session is *reserved* for it: it takes no new leases and is handed over
//! when its last one comes back, while the others go on serving. If one that is being opened is ready before that,
//! it is given that one; but it never waits for an opening alone, which may take as long as it likes.

mod by_load;
#[cfg(test)]
mod cost;
mod debt;
mod dispatch;
mod entry;
#[cfg(test)]
mod model;
mod queue;
mod queues;
mod reservation;
mod retire;
mod scaling;
mod steps;
mod sums;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;

use by_load::ByLoad;
use entry::{Entries, Entry};
pub(crate) use entry::{SessionKey, Stage};
pub(crate) use queue::Ticket;
use queue::{Queue, Waiting};
use queues::Queues;
use sums::Sums;
pub(crate) use view::LiveSession;

use crate::lifecycle::CloseReason;

/// Names a scope: the owner of a pinned session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ScopeId(pub(crate) u64);

/// What a caller wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// One place among others.
    Share,
    /// The session alone.
    Whole,
}

/// On whose behalf a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A call of the program.
    Foreground,
    /// Work of the pool's owner beside the calls. It waits in the same line, and takes none of the `max_waiters` places.
    Background,
}

/// The numbers the router keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) min_connections: u32,
    pub(crate) max_connections: u32,
    pub(crate) max_in_flight: u32,
    pub(crate) scale_up_at: u32,
    pub(crate) max_connecting: u32,
    pub(crate) max_waiters: usize,
}

/// A place on a session.
#[derive(Debug)]
pub(crate) struct Grant<S> {
    pub(crate) key: SessionKey,
    pub(crate) session: S,
    pub(crate) claim: Claim,
    /// The session was open when the caller came.
    pub(crate) hit: bool,
}

/// The answer to a caller.
#[derive(Debug)]
pub(crate) enum Answer<S> {
    Granted(Grant<S>),
    Queued(Ticket),
    Refused(Refusal),
}

/// Why a caller gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `max_waiters` callers wait already.
    QueueFull,
    /// No session is live and none can be opened at present.
    OpenFailed,
    /// The session that held the state of the caller's scope is gone. The next caller gets a fresh one.
    StateLost(CloseReason),
    Closed,
}

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Action<S, W> {
    Serve {
        waiter: W,
        grant: Grant<S>,
    },
    Refuse {
        waiter: W,
        refusal: Refusal,
    },
    Open {
        scope: Option<ScopeId>,
    },
    /// The session that closes next pays what the pool owes.
    Yield {
        session: S,
    },
    Close {
        session: S,
        reason: CloseReason,
    },
}

/// What the pool does with callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Running,
    /// Callers wait, nothing is opened or handed out.
    Suspended,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Router<S, W> {
    limits: Limits,
    mode: Mode,
    /// Closed while openings back off after a failure.
    gate_open: bool,
    /// There is a runtime to open sessions on.
    has_runtime: bool,
    /// Two callers have had sessions at once, or the pool was asked to be eager: the minimum is kept from now on. One
    /// caller that makes call after call has no use for a second session.
    warm: bool,
    /// Nothing is opened for the minimum's sake, only for callers.
    refill_paused: bool,
    entries: Entries<S, W>,
    by_load: ByLoad,
    sums: Sums,
    /// Reserved sessions of the shared queue that carry nothing.
    rests_reserved: BTreeSet<SessionKey>,
    queues: Queues<W>,
    /// Openings under way, over all queues.
    opening: u32,
    /// Entries that have not ended, over all queues.
    places: u32,
    /// Leases out, over all queues.
    leases: usize,
    /// Another pool is to have the place of a session, and has waited since this moment.
    owed: Option<Ticket>,
    /// Callers who wait, over all queues, reservations included. Those in the background are not counted.
    waiters: usize,
    sequence: u64,
    actions: Vec<Action<S, W>>,
    /// Whether the server may keep state for the scope of a session.
    pub(crate) holds_state: fn(&S) -> bool,
}

impl<S: Clone, W> Router<S, W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            mode: Mode::Running,
            gate_open: true,
            has_runtime: true,
            warm: false,
            refill_paused: false,
            entries: Entries(slab::Slab::new()),
            by_load: ByLoad::new(),
            sums: Sums::default(),
            rests_reserved: BTreeSet::new(),
            queues: Queues::new(),
            opening: 0,
            places: 0,
            leases: 0,
            owed: None,
            waiters: 0,
            sequence: 0,
            actions: Vec::new(),
            holds_state: |_| true,
        }
    }

    #[cfg(test)]
    fn acquire(
        &mut self,
        scope: Option<ScopeId>,
        claim: Claim,
        waiter: impl FnOnce() -> W,
    ) -> Answer<S> {
        self.acquire_for(Caller::Foreground, scope, claim, waiter)
    }

    /// A caller asks for a session. `waiter` is kept only if the answer is [`Answer::Queued`].
    pub(crate) fn acquire_for(
        &mut self,
        caller: Caller,
        scope: Option<ScopeId>,
        claim: Claim,
        waiter: impl FnOnce() -> W,
    ) -> Answer<S> {
        if self.mode == Mode::Closed {
            return Answer::Refused(Refusal::Closed);
        }
        if let Some(scope) = scope {
            self.queues.admit(scope);
        }
        // This overtakes no caller in line. Every event that frees a place ends with `dispatch`, which leaves a place free
        // only if no caller in line can use it: so what `pick` finds here is of no use to them.
        if self.mode == Mode::Running
            && let Some(key) = self.pick(scope, claim)
        {
            let grant = self.grant(key, claim, u64::MAX);
            if self.wanted() > self.supply() {
                self.plan();
            }
            return Answer::Granted(grant);
        }
        if !self.gate_open && !self.may_be_served(scope) {
            return Answer::Refused(Refusal::OpenFailed);
        }
        if caller == Caller::Foreground && self.waiters >= self.limits.max_waiters {
            return Answer::Refused(Refusal::QueueFull);
        }
        let ticket = Ticket(self.next_sequence());
        let waiting = Waiting {
            ticket,
            caller,
            claim,
            waiter: waiter(),
        };
        self.queues.update(scope, |queue| queue.line.join(waiting));
        self.waiters += usize::from(caller == Caller::Foreground);
        self.dispatch(scope);
        self.plan();
        Answer::Queued(ticket)
    }

    /// A queued caller went away. Returns its waiter, unless it has been served meanwhile.
    pub(crate) fn cancel(&mut self, scope: Option<ScopeId>, ticket: Ticket) -> Option<W> {
        let in_line = self.queues.update(scope, |queue| queue.line.leave(ticket));
        let gone = match in_line.flatten() {
            Some(waiting) => self.left(waiting),
            None => {
                let waiter = self.cancel_reservation(scope, ticket)?;
                self.waiters -= 1;
                waiter
            }
        };
        // One who could not be served may have stood before others who can.
        self.dispatch(scope);
        self.plan();
        Some(gone)
    }

    /// A lease came back. Whether its session now rests.
    pub(crate) fn release(&mut self, key: SessionKey, claim: Claim) -> bool {
        self.leases -= 1;
        self.update(key, |entry| {
            entry.load -= 1;
            if claim == Claim::Whole {
                entry.whole = false;
            }
        });
        let entry = self.entries.get(key);
        let scope = entry.scope;
        match entry.stage {
            Stage::Live => {
                self.file(key);
                if self.anyone_waits(scope) || self.any_reserved(scope) || self.owed.is_some() {
                    self.dispatch(scope);
                    self.plan();
                }
                return self.entries.get(key).load == 0;
            }
            Stage::Retiring(reason) if entry.load == 0 => self.begin_close(key, reason),
            Stage::Ended if entry.load == 0 => self.forget(key),
            Stage::Retiring(_) | Stage::Closing | Stage::Ended => {}
        }
        false
    }

    /// An opening succeeded. The session closes at once if no caller may use it any more.
    pub(crate) fn opened(&mut self, scope: Option<ScopeId>, session: S) -> SessionKey {
        self.opening_ended(scope);
        let born = self.next_sequence();
        let entry = Entry::new(session, scope, born);
        self.sums.add(&entry);
        let key = self.entries.insert(entry);
        self.places += 1;
        let lost = match scope {
            Some(_) => {
                let attached = self.queues.update(scope, |queue| queue.session = Some(key));
                attached.is_none()
            }
            None => false,
        };
        if lost || self.mode == Mode::Closed {
            self.retire(
                key,
                if lost {
                    CloseReason::ScopeEnded
                } else {
                    CloseReason::Shutdown
                },
            );
            return key;
        }
        self.file(key);
        if self.is_surplus(key) {
            self.retire(key, CloseReason::Shrunk);
            return key;
        }
        self.dispatch(scope);
        self.plan();
        key
    }

    /// An opening failed for good. The shell closes the gate first if openings are to back off.
    pub(crate) fn open_failed(&mut self, scope: Option<ScopeId>) {
        self.opening_ended(scope);
        if !self.may_be_served(scope) {
            self.refuse_waiting(scope, Refusal::OpenFailed);
        }
        self.dispatch(scope);
        self.plan();
    }

    /// An opening was dropped half way, which says nothing about the server: no caller is refused for it.
    pub(crate) fn open_abandoned(&mut self, scope: Option<ScopeId>) {
        self.opening_ended(scope);
        self.dispatch(scope);
        self.plan();
    }

    /// Whether there is a runtime to open sessions on.
    pub(crate) fn set_has_runtime(&mut self, has_runtime: bool) {
        if self.has_runtime != has_runtime {
            self.has_runtime = has_runtime;
            self.plan();
        }
    }

    /// The session must answer a probe before its next lease.
    pub(crate) fn suspect(&mut self, key: SessionKey) {
        if self.entries.get(key).usable() {
            self.withdraw(key);
            self.update(key, |entry| entry.suspect = true);
            self.after_withdrawal(key);
        }
    }

    /// The session has answered.
    pub(crate) fn cleared(&mut self, key: SessionKey) {
        let was_suspect = self.update(key, |entry| std::mem::take(&mut entry.suspect));
        let entry = self.entries.get(key);
        if !was_suspect || entry.stage != Stage::Live {
            return;
        }
        let scope = entry.scope;
        self.file(key);
        if self.is_surplus(key) {
            self.retire(key, CloseReason::Shrunk);
            return;
        }
        self.dispatch(scope);
        self.plan();
    }

    /// Openings back off (`false`) or may be tried again (`true`).
    pub(crate) fn set_gate(&mut self, open: bool) {
        // It serves no caller by itself; every opening that succeeds opens it.
        if self.gate_open != open {
            self.gate_open = open;
            self.plan();
        }
    }

    pub(crate) fn suspend(&mut self) {
        if self.mode == Mode::Running {
            self.mode = Mode::Suspended;
        }
    }

    pub(crate) fn resume(&mut self) {
        if self.mode == Mode::Suspended {
            self.mode = Mode::Running;
            self.dispatch_all();
            self.plan();
        }
    }

    /// Keeps the minimum from now on, used or not.
    pub(crate) fn warm_up(&mut self) {
        self.warm = true;
        self.plan();
    }

    pub(crate) fn pause_refill(&mut self) {
        self.refill_paused = true;
    }

    pub(crate) fn resume_refill(&mut self) {
        self.refill_paused = false;
        self.plan();
    }

    pub(crate) fn configure(&mut self, limits: Limits) {
        self.limits = limits;
        for key in self.keys() {
            self.file(key);
        }
        self.shrink();
        self.dispatch_all();
        self.plan();
    }

    /// Refuses all callers. Sessions close as their leases come back.
    pub(crate) fn close(&mut self) {
        self.mode = Mode::Closed;
        // Sessions first: a caller who had one reserved goes back in line and is refused with the others.
        for key in self.keys() {
            self.retire(key, CloseReason::Shutdown);
        }
        for scope in self.queues.waiting() {
            self.refuse_waiting(scope, Refusal::Closed);
        }
    }

    /// The scope has no owner left: its session is closed, never given to another.
    pub(crate) fn end_scope(&mut self, scope: ScopeId) {
        self.refuse_waiting(Some(scope), Refusal::Closed);
        if let Some(key) = self.queues.remove(scope).and_then(|queue| queue.session) {
            self.retire(key, CloseReason::ScopeEnded);
        }
    }

    /// What the shell has to do, in order.
    pub(crate) fn drain_actions(&mut self) -> impl Iterator<Item = Action<S, W>> {
        self.actions.drain(..)
    }

    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn keys(&self) -> Vec<SessionKey> {
        self.entries.iter().map(|(key, _)| key).collect()
    }

    /// `None` where the scope has ended.
    fn queue(&self, scope: Option<ScopeId>) -> Option<&Queue<W>> {
        self.queues.get(scope)
    }

    /// Changes a session, and what all sessions add up to.
    fn update<T>(&mut self, key: SessionKey, change: impl FnOnce(&mut Entry<S, W>) -> T) -> T {
        let entry = self.entries.get_mut(key);
        let before = entry.rests_reserved();
        self.sums.subtract(entry);
        let result = change(entry);
        self.sums.add(entry);
        let after = entry.rests_reserved();
        if before != after {
            if after {
                self.rests_reserved.insert(key);
            } else {
                self.rests_reserved.remove(&key);
            }
        }
        result
    }

    fn anyone_waits(&self, scope: Option<ScopeId>) -> bool {
        self.queue(scope)
            .is_some_and(|queue| !queue.line.is_empty())
    }

    fn refuse_waiting(&mut self, scope: Option<ScopeId>, refusal: Refusal) {
        let waiting = self.queues.update(scope, |queue| queue.line.disperse());
        for waiting in waiting.into_iter().flatten() {
            self.refuse(waiting, refusal);
        }
    }

    fn refuse(&mut self, waiting: Waiting<W>, refusal: Refusal) {
        let waiter = self.left(waiting);
        self.actions.push(Action::Refuse { waiter, refusal });
    }

    /// A caller has left the line, served or not.
    fn left(&mut self, waiting: Waiting<W>) -> W {
        self.waiters -= usize::from(waiting.caller == Caller::Foreground);
        waiting.waiter
    }
}
