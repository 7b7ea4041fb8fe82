//! Lets unused sessions go, replaces old ones, and asks quiet ones for a sign of life.
//!
//! Sleeps until something is due; a pool without sessions has nothing to look after and is never woken. The minimum
//! is kept by the router, which asks for an opening whenever a session is lost; nothing is done about it here.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    clock,
    event::CloseReason,
    home::Post,
    options::Sharing,
    router::{SessionKey, Stage},
    session::Session,
    shared::Shared,
};

/// If nothing is due: the clock of the runtime has no "never".
const FAR: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn run(shared: Weak<Shared>, _post: Post) {
    loop {
        let Some(pool) = shared.upgrade() else { return };
        if pool.closing.is_cancelled() {
            see_out(&pool).await;
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

/// After the grace period, sessions are closed under whoever still holds them. It begins when somebody is in a hurry.
async fn see_out(pool: &Shared) {
    let mut deadline = None;
    while pool.state.lock().router.sessions().next().is_some() {
        if deadline.is_none() && !pool.unhurried.load(Ordering::Acquire) {
            deadline = Some(clock::after(pool.options().shutdown_grace));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            pool.force_close();
            return;
        }
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(|| clock::after(FAR))) => {}
            () = pool.changed.notified() => {}
        }
    }
}

/// Does what is due and says when to look again.
fn sweep(pool: &Shared) -> Instant {
    let options = pool.options();
    let mut next = FAR;
    let mut due = |left: Duration| next = next.min(left.max(Duration::from_millis(1)));
    let mut probes = Vec::new();

    pool.decide(|state| {
        let sessions: Vec<(SessionKey, Arc<Session>, u32)> = state
            .router
            .sessions()
            .filter(|(_, _, stage, _)| *stage == Stage::Live)
            .map(|(key, session, _, load)| (key, Arc::clone(session), load))
            .collect();
        let mut live = u32::try_from(sessions.len()).unwrap_or(u32::MAX);

        for (key, session, load) in &sessions {
            match session
                .lifetime(options.max_session_age)
                .checked_sub(session.age())
            {
                Some(left) if !left.is_zero() => due(left),
                // The state of a scope is not closed by policy.
                _ if state.router.is_owned(*key) => {}
                _ => {
                    state.router.retire(*key, CloseReason::Age);
                    live -= 1;
                }
            }
            if *load > 0 {
                // It cannot be due before it has been unused for so long.
                due(options.max_idle_time.min(options.health_check_interval));
            }
        }

        let min = state.router.limits().min_connections;
        for (key, session) in state.router.idle_oldest_first() {
            match options.max_idle_time.checked_sub(session.unused_for()) {
                Some(left) if !left.is_zero() => due(left),
                _ if state.router.is_owned(key) => {}
                _ if live > min => {
                    state.router.retire(key, CloseReason::Idle);
                    live -= 1;
                    continue;
                }
                _ => due(options.max_idle_time),
            }
            match options
                .health_check_interval
                .checked_sub(session.unanswered_for())
            {
                Some(left) if !left.is_zero() => due(left),
                _ => {
                    if options.sharing == Sharing::Exclusive {
                        state.router.suspect(key);
                    }
                    probes.push(key);
                    due(options.health_check_interval);
                }
            }
        }
    });
    for key in probes {
        pool.spawn_probe(key);
    }
    clock::after(next)
}
