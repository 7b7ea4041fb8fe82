//! The rate of requests of each principal.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::HashMapStateStore,
};

use crate::principal::Principal;

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

/// Principals kept before those are forgotten that have not come for long.
const MAX_KEPT: usize = 10_000;
