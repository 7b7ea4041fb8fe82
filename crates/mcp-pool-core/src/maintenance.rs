//! Periodic maintenance: closes unused sessions, replaces old ones, probes quiet ones.
//!
//! Sleeps until something is due; a pool without sessions is never woken. The minimum
//! is kept by the router, which asks for an opening whenever a session is lost, not by maintenance.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    deadline,
    inner::{Inner, MaintenanceGuard, State},
    lifecycle::CloseReason,
    options::SharingMode,
    router::{LiveSession, SessionKey},
    session::Session,
};

/// If nothing is due: the clock of the runtime has no "never".
const FAR: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(inner: Weak<Inner>, _guard: MaintenanceGuard) {
    loop {
        let Some(pool) = inner.upgrade() else { return };
        if pool.closing.is_cancelled() {
            close_after_grace(&pool).await;
            return;
        }
        let next = sweep(&pool);
        tokio::select! {
            () = sleep_until(next) => {}
            () = pool.changed.notified() => {}
            () = pool.closing.cancelled() => {}
        }
    }
}

/// Closes the sessions that are still leased after the grace period. The period begins when the pool is to close within
/// a limit.
async fn close_after_grace(pool: &Inner) {
    let mut deadline = None;
    while pool.state.lock().router.sessions().next().is_some() {
        if deadline.is_none() && !pool.unlimited_grace.load(Ordering::Acquire) {
            deadline = Some(deadline::after(pool.options().shutdown_grace));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            pool.force_close();
            return;
        }
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(|| deadline::after(FAR))) => {}
            () = pool.changed.notified() => {}
        }
    }
}

/// Does what is due and returns when to look again.
///
/// The sessions are looked at outside the lock: a caller never waits while a thousand of them are. What is due is checked
/// once more under it, because a session may have been leased or closed in between.
fn sweep(pool: &Inner) -> Instant {
    let options = pool.options();
    let sessions = pool.state.lock().router.live_sessions();
    let mut next = FAR;
    let mut due = |after: Duration| next = next.min(after);
    let (mut old, mut unused, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for live in &sessions {
        let session = &live.session;
        let lifetime = session.lifetime(options.max_session_age);
        match left(lifetime, session.age()) {
            Some(left) => due(left),
            // The state of a scope is not closed by policy.
            None if live.owned => {}
            None => {
                old.push(live);
                continue;
            }
        }
        if live.load > 0 {
            // It cannot be due before it has been unused for so long.
            due(options.max_idle_time.min(options.health_check_interval));
        }
        if !live.rests {
            continue;
        }
        match left(options.max_idle_time, session.unused_for()) {
            Some(left) => due(left),
            None if live.owned => {}
            None => {
                unused.push(live);
                due(options.max_idle_time);
            }
        }
        match left(options.health_check_interval, session.unanswered_for()) {
            Some(left) => due(left),
            None => {
                silent.push(live);
                due(options.health_check_interval);
            }
        }
    }
    if !(old.is_empty() && unused.is_empty() && silent.is_empty()) {
        let exclusive = options.sharing == SharingMode::Exclusive;
        for key in act(pool, &old, &unused, &silent, exclusive) {
            pool.spawn_probe(key);
        }
    }
    deadline::after(next)
}

fn left(limit: Duration, passed: Duration) -> Option<Duration> {
    limit.checked_sub(passed).filter(|left| !left.is_zero())
}

/// Retires what is old or unused. Returns the sessions to probe.
fn act(
    pool: &Inner,
    old: &[&LiveSession<Arc<Session>>],
    unused: &[&LiveSession<Arc<Session>>],
    silent: &[&LiveSession<Arc<Session>>],
    exclusive: bool,
) -> Vec<SessionKey> {
    pool.decide(|state| {
        for live in old {
            if state.names(live.key, &live.session) && !state.router.is_owned(live.key) {
                state.router.retire(live.key, CloseReason::Age);
            }
        }
        let rests = |state: &State, live: &LiveSession<Arc<Session>>| {
            state.names(live.key, &live.session) && state.router.rests(live.key)
        };
        for live in unused {
            if rests(state, live)
                && !state.router.is_owned(live.key)
                && state.router.live() > state.router.limits().min_connections
            {
                state.router.retire(live.key, CloseReason::Idle);
            }
        }
        let mut probes = Vec::new();
        for live in silent {
            if rests(state, live) {
                if exclusive {
                    state.router.suspect(live.key);
                }
                probes.push(live.key);
            }
        }
        probes
    })
}
