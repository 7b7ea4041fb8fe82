//! The rate of requests of each principal, how many of them may be under way, and the connections for all.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::HashMapStateStore,
};

use parking_lot::Mutex;

use crate::principal::{Principal, PrincipalKind};

/// Lets so many requests a minute pass for each principal, as many at once.
pub(crate) struct RateLimit {
    limiter: RateLimiter<Principal, HashMapStateStore<Principal>, DefaultClock>,
    clock: DefaultClock,
}

impl RateLimit {
    /// `None` without a limit.
    pub(crate) fn new(requests_per_minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(requests_per_minute)?);
        let clock = DefaultClock::default();
        Some(Self {
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
            clock,
        })
    }

    /// # Errors
    /// How long the principal has to wait.
    pub(crate) fn check(&self, principal: &Principal) -> Result<(), Duration> {
        if self.limiter.len() > MAX_KEPT {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(principal)
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// The requests of each principal that are under way, open streams among them.
#[derive(Clone, Debug)]
pub(crate) struct UnderWay {
    counts: Arc<Mutex<HashMap<Principal, usize>>>,
    /// Of one principal.
    most: usize,
}

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    all: UnderWay,
    principal: Principal,
}

impl UnderWay {
    /// For so many sessions of one principal, each with a stream and a request, and at most half of the `connections`. A
    /// single session, too, answers questions and cancels while it calls.
    pub(crate) fn new(sessions: usize, connections: usize) -> Self {
        Self {
            counts: Arc::default(),
            most: sessions
                .saturating_mul(PER_SESSION)
                .max(FEWEST)
                .min(connections / 2),
        }
    }

    /// Counts a request. `None` if its principal has too many: it must not hold all connections of the listener. `local`
    /// is no one in particular, and not limited.
    pub(crate) fn begin(&self, principal: &Principal) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let count = counts.entry(principal.clone()).or_default();
        if *count >= self.most && principal.kind != PrincipalKind::Local {
            return None;
        }
        *count += 1;
        Some(Counted {
            all: self.clone(),
            principal: principal.clone(),
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.principal);
            }
        }
    }
}

/// Connections of a listener for so many sessions, as far as the process may have descriptors: a quarter of these is left
/// to servers and files.
pub(crate) fn connections(sessions: usize) -> usize {
    let wanted = sessions.saturating_mul(PER_SESSION).max(FEWEST_CONNECTIONS);
    descriptors().map_or(wanted, |most| wanted.min(most / 4 * 3))
}

#[cfg(unix)]
fn descriptors() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    usize::try_from(limit.current?).ok()
}

#[cfg(not(unix))]
fn descriptors() -> Option<usize> {
    None
}

/// Connections of one client: for its stream, and for a request.
const PER_SESSION: usize = 2;
/// Requests under way that a principal has in any case.
const FEWEST: usize = 256;
/// Connections for clients that only ask, and have no session.
const FEWEST_CONNECTIONS: usize = 512;
/// Principals kept before those are forgotten that have not come for long.
const MAX_KEPT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_a_connection_for_its_stream_and_one_for_a_request() {
        let most = descriptors().map_or(usize::MAX, |most| most / 4 * 3);
        assert_eq!(connections(4_096), 8_192.min(most));
        assert_eq!(connections(1), FEWEST_CONNECTIONS.min(most));
        assert_eq!(connections(usize::MAX), most);
        assert_eq!(UnderWay::new(256, 8_192).most, 512);
        assert_eq!(UnderWay::new(256, 600).most, 300, "half is for others");
    }
}
