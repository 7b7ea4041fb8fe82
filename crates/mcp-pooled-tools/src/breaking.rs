//! The breaker in front of a pool: what counts, and what does not.

use std::sync::{Arc, OnceLock};

use mcp_breaker::{Breaker, BreakerBuilder, BreakerEvent, State};
use mcp_config::{EffectiveCircuitBreaker, Rate};
use mcp_pool_core::{
    CallFailure, CloseReason, OpenError, OpenErrorKind, Phase, PoolEvent, SessionPool,
    WeakSessionPool,
};

use crate::{
    error::{Error, ErrorKind},
    recording::Recording,
};

/// A session that ends within this time of being ready, without our doing, counts as a fault of its server.
const FLAP: std::time::Duration = std::time::Duration::from_secs(5);

/// A breaker, and the pool whose old sessions go when it opens.
#[derive(Clone, Debug)]
pub(crate) struct Guarding {
    breaker: Breaker,
    pool: Arc<OnceLock<WeakSessionPool>>,
}

impl Guarding {
    pub(crate) fn new(
        recording: &Recording,
        settings: &EffectiveCircuitBreaker,
    ) -> Result<Self, Error> {
        let pool: Arc<OnceLock<WeakSessionPool>> = Arc::default();
        let server = recording.metrics.name();
        let (guarded, name) = (Arc::clone(&pool), Arc::clone(server));
        let recording = recording.clone();
        let breaker = builder(settings)
            .observer(move |event: &BreakerEvent| recording.on_breaker_event(event))
            .observer(move |event: &BreakerEvent| on_transition(&name, &guarded, event))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Config, error.to_string())
                    .of(server)
                    .caused_by(&error)
            })?;
        Ok(Self { breaker, pool })
    }

    /// Once the pool exists.
    pub(crate) fn guard(&self, pool: &SessionPool) {
        let _ = self.pool.set(pool.downgrade());
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What happens in the pool beside the calls: an opening that fails for many callers is one fault, not many.
    pub(crate) fn on_pool_event(&self, event: &PoolEvent) {
        let fault = match event {
            PoolEvent::OpenFailed { error, .. } => is_fault(error),
            PoolEvent::Closed {
                reason: CloseReason::Broken,
                age,
                called: false,
                ..
            } => *age < FLAP,
            _ => false,
        };
        // While the breaker is open there is nothing to add to it; half-open, its probes decide.
        if fault
            && let (State::Closed, Ok(permit)) = (self.breaker.state(), self.breaker.try_acquire())
        {
            permit.fault();
        }
    }
}

/// Whether an opening failed through its server. What it is given, credentials and configuration, is not the server's.
fn is_fault(cause: &OpenError) -> bool {
    !cause.is_authentication() && cause.kind() != OpenErrorKind::Config
}

fn builder(settings: &EffectiveCircuitBreaker) -> BreakerBuilder {
    let builder = Breaker::builder()
        .failure_threshold(settings.failure_threshold)
        .failure_rate(on(settings.failure_rate))
        .minimum_calls(settings.minimum_calls)
        .window(settings.window)
        .recovery_timeout(settings.recovery_timeout)
        .max_recovery_timeout(settings.max_recovery_timeout)
        .success_threshold(settings.success_threshold)
        .half_open_max_calls(settings.half_open_max_calls);
    match on(settings.slow_call_rate) {
        Some(rate) => builder.slow_calls(settings.slow_call_duration, rate),
        None => builder,
    }
}

fn on(rate: Rate) -> Option<f64> {
    (!rate.is_off()).then(|| rate.part())
}

fn on_transition(server: &str, pool: &OnceLock<WeakSessionPool>, event: &BreakerEvent) {
    let BreakerEvent::Transition {
        from,
        to,
        reason,
        retry_after,
        ..
    } = event
    else {
        return;
    };
    tracing::info!(server, %from, %to, %reason, ?retry_after, "circuit breaker");
    let Some(pool) = pool.get().and_then(WeakSessionPool::upgrade) else {
        return;
    };
    // What serves the first probes must be fresh: sessions from before the trip may be what is broken, and what was
    // being opened then dates from the time the server was failing.
    match to {
        State::Open => {
            pool.pause_refill();
            pool.evict_all();
        }
        State::HalfOpen => {
            pool.evict_all();
            // A probe that is told why the last opening failed would count as one that failed.
            pool.end_backoff();
        }
        _ => pool.resume_refill(),
    }
}

/// What a call's end says about its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, with whatever.
    Alive,
    /// It did not, and should have.
    Fault,
    /// That is not known.
    Nothing,
}

impl Verdict {
    pub(crate) fn of_failure(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Answered => Self::Alive,
            // Credentials and paths are the caller's business.
            CallFailure::Rejected(_) | CallFailure::StaleCredentials => Self::Nothing,
            _ => Self::Fault,
        }
    }

    /// Of a call that got no session. The opening itself has been counted once, for all who waited; a probe has to
    /// say for itself that it failed.
    pub(crate) fn of_acquire(error: &Error, probe: bool) -> Self {
        match error.kind() {
            ErrorKind::Connection | ErrorKind::Timeout
                if probe && error.phase() != Some(Phase::Queue) =>
            {
                Self::Fault
            }
            _ => Self::Nothing,
        }
    }

    /// Of a call whose session was to be opened for it alone, in no pool that would tell of it.
    pub(crate) fn of_opening_alone(error: &Error, probe: bool) -> Self {
        match error.opening() {
            Some(cause) if is_fault(cause) => Self::Fault,
            _ => Self::of_acquire(error, probe),
        }
    }

    /// Of a call that ran out of time. Of one that had no session yet the opening will tell, once, unless it was for
    /// this call `alone`, or for a probe: a half-open breaker hears of no openings, and probes that say nothing would keep
    /// it half-open for ever.
    pub(crate) fn of_running_out_of_time(phase: Phase, alone: bool) -> Self {
        match phase {
            Phase::Queue => Self::Nothing,
            Phase::Call => Self::Fault,
            _ if alone => Self::Fault,
            _ => Self::Nothing,
        }
    }

    pub(crate) fn record(self, permit: mcp_breaker::Permit) {
        match self {
            Self::Alive => permit.success(),
            Self::Fault => permit.fault(),
            Self::Nothing => permit.ignore(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_setting_of_a_breaker_reaches_the_builder() {
        let seconds = Duration::from_secs;
        let mut settings = EffectiveCircuitBreaker::default();
        settings.failure_threshold = 11;
        settings.failure_rate = Rate::percent(12);
        settings.slow_call_rate = Rate::percent(13);
        settings.slow_call_duration = seconds(14);
        settings.minimum_calls = 15;
        settings.window = seconds(16);
        settings.recovery_timeout = seconds(17);
        settings.max_recovery_timeout = seconds(18);
        settings.success_threshold = 19;
        settings.half_open_max_calls = 20;
        let by_hand = Breaker::builder()
            .half_open_max_calls(20)
            .success_threshold(19)
            .max_recovery_timeout(seconds(18))
            .recovery_timeout(seconds(17))
            .window(seconds(16))
            .minimum_calls(15)
            .slow_calls(seconds(14), 0.13)
            .failure_rate(0.12)
            .failure_threshold(11);
        assert_eq!(format!("{:?}", builder(&settings)), format!("{by_hand:?}"));

        settings.slow_call_rate = Rate::OFF;
        settings.failure_rate = Rate::OFF;
        let without_rates = format!("{:?}", builder(&settings));
        assert!(
            without_rates.contains("fault_rate: None, slow_rate: None"),
            "{without_rates}"
        );
    }
}
