//! The rate of requests of each principal, and how many of them may be under way.

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
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashMap<Principal, usize>>>);

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    all: UnderWay,
    principal: Principal,
}

impl UnderWay {
    /// Counts a request. `None` if its principal has too many: it must not hold all connections of the listener. `local`
    /// is no one in particular, and not limited.
    pub(crate) fn begin(&self, principal: &Principal) -> Option<Counted> {
        let mut all = self.0.lock();
        let count = all.entry(principal.clone()).or_default();
        if *count >= MAX_UNDER_WAY && principal.kind != PrincipalKind::Local {
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
        let mut all = self.all.0.lock();
        if let Some(count) = all.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.principal);
            }
        }
    }
}

/// Half of the connections of a listener.
const MAX_UNDER_WAY: usize = 256;
/// Principals kept before those are forgotten that have not come for long.
const MAX_KEPT: usize = 10_000;
