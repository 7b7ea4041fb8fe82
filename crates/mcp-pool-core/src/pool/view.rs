//! Snapshots of a pool.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::SessionPool;
use crate::{
    lifecycle::{SessionId, SessionLifecycle},
    router::Stage,
    session::Session,
    status::{Connections, SessionPoolStatus, SessionStatus},
};

impl SessionPool {
    /// Whether no lease is out and no caller waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.inner().state.lock();
        state.router.leases() == 0 && state.waiters.is_empty()
    }

    /// Whether a caller who waits now waits for a session to be opened: one is being opened, or none is live and there is
    /// a place for one. Where a session that is still held, or not yet dead, has the place, it waits for that.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        let state = self.inner().state.lock();
        !state.initializing.is_empty()
            || state.router.live() == 0 && !state.router.waits_for_a_place()
    }

    /// The pool at this moment.
    #[must_use]
    pub fn status(&self) -> SessionPoolStatus {
        let inner = self.inner();
        let sharing = inner.options().sharing;
        let state = inner.state.lock();
        // Looked at after the lock is released: callers do not wait while a thousand sessions are described.
        let held: Vec<_> = state
            .router
            .sessions()
            .map(|(_, session, stage, load)| (Arc::clone(session), stage, load))
            .collect();
        let initializing = state.initializing.clone();
        let (counts, failure) = (state.counts.clone(), state.failure.clone());
        let (limits, opening) = (state.router.limits(), state.router.opening());
        let waiters = state.router.waiters();
        let longest_wait = state.router.first_waiter().map(|waiter| waiter.since);
        let (retry_after, suspended, closed) = (
            state.retry_after(),
            state.router.is_suspended(),
            state.router.is_closed(),
        );
        drop(state);

        // One that waits for a place of the budget is not being opened yet.
        let awaiting_place = inner.awaiting_place.load(Ordering::Relaxed);
        let mut connections = Connections {
            connecting: opening.saturating_sub(awaiting_place),
            min: limits.min_connections,
            max: limits.max_connections,
            ..Connections::default()
        };
        let mut sessions = Vec::with_capacity(held.len() + initializing.len());
        let mut reinitialized = counts.reinitialized;
        for (session, stage, load) in &held {
            match (stage, load) {
                (Stage::Closing, _) => connections.closing += 1,
                (_, 0) => connections.idle += 1,
                _ => connections.active += 1,
            }
            reinitialized += session.reinitializations();
            sessions.push(SessionStatus::of(session, *load));
        }
        connections.total =
            connections.idle + connections.active + connections.connecting + connections.closing;
        sessions.extend(initializing.iter().map(SessionStatus::opening));
        sessions.sort_by_key(|session| session.id);
        SessionPoolStatus {
            server: inner.name.to_string(),
            server_name: inner.name.to_string(),
            sharing,
            connections,
            in_flight: sessions.iter().map(|session| session.in_flight).sum(),
            capacity: limits.max_connections.saturating_mul(limits.max_in_flight),
            waiters,
            longest_wait: longest_wait.map_or(Duration::ZERO, |since| since.elapsed()),
            pool_hits: counts.hits,
            pool_misses: counts.misses,
            refused: counts.refused,
            opened: counts.opened,
            closed: counts.closed,
            errors: counts.errors,
            reinitialized,
            last_error: failure.as_ref().map(ToString::to_string),
            retry_after,
            suspended,
            closed_for_good: closed,
            sessions,
        }
    }
}

impl SessionPool {
    /// The last lines that the server wrote to stderr, oldest first, with the session that they are of: the youngest, or
    /// `None` if they are of the last process that did not open.
    #[must_use]
    pub fn stderr_tail(&self) -> (Option<SessionId>, Vec<String>) {
        let youngest = self
            .sessions()
            .into_iter()
            .max_by_key(|session| session.id());
        if let Some(session) = youngest {
            return (Some(session.id()), session.stderr_tail());
        }
        let failure = self.inner().decide(|state| state.failure.clone());
        let lines = failure.map(|failure| failure.stderr().to_vec());
        (None, lines.unwrap_or_default())
    }
}

impl SessionStatus {
    fn of(session: &Session, in_flight: u32) -> Self {
        Self {
            id: session.id(),
            state: session.lifecycle().state(),
            era: Some(session.era()),
            age: session.age(),
            idle: if in_flight == 0 {
                session.unused_for()
            } else {
                Duration::ZERO
            },
            in_flight,
            calls: session.calls(),
            pid: session.pid(),
            noise_lines: session.noise_lines(),
        }
    }

    fn opening(lifecycle: &SessionLifecycle) -> Self {
        Self {
            id: lifecycle.id(),
            state: lifecycle.state(),
            era: None,
            age: lifecycle.age(),
            idle: Duration::ZERO,
            in_flight: 0,
            calls: 0,
            pid: None,
            noise_lines: 0,
        }
    }
}
