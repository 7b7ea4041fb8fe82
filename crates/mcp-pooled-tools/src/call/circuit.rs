//! The circuit breaker in front of a pool: a permit for each attempt, its settings, and the faults that it counts beside
//! calls. What the end of a call counts as is in [`classify`](super::classify).

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use mcp_breaker::{Breaker, BreakerBuilder, BreakerEvent, State};
use mcp_config::{EffectiveCircuitBreaker, EffectiveSettings, Rate};
use mcp_pool_core::{
    CloseReason, OpenError, OpenErrorKind, Phase, PoolEvent, SessionPool, WeakSessionPool,
};
use tracing::Instrument;

use super::{
    Call, Failed, HeldRoute, Route,
    checkout::{self, NoSession},
    classify::Verdict,
    gate,
    span::CallSpan,
};
use crate::{
    error::{Error, ErrorKind},
    reply::Reply,
    server::Snapshot,
    telemetry::Telemetry,
};

/// A session that ends within this time of being ready, without our doing and without having answered anything, counts as a
/// fault of its server.
const FLAP: Duration = Duration::from_secs(5);

/// Makes an attempt if the breaker lets it through, and records how it ended.
pub(super) async fn around(
    call: &Call<'_>,
    route: &Route<'_>,
    snapshot: &Snapshot,
    span: &CallSpan<'_>,
) -> Result<Result<Reply, Failed>, Replaced> {
    gate::pass("circuit", snapshot);
    let permit = match route.pool.permit(snapshot, call.deadline.longest()) {
        Ok(permit) => permit,
        Err(error) => return Ok(Err(Failed::without_request(error))),
    };
    let probe = permit.is_probe();
    *call.progress.permit.lock() = Some(permit);
    let outcome = match checkout::from_pool(call, route, snapshot, span).await {
        Ok(outcome) => outcome,
        Err(NoSession::Replaced) => {
            call.progress.record(Verdict::Nothing);
            return Err(Replaced);
        }
        Err(NoSession::Failed(error)) => {
            call.progress
                .record(Verdict::without_session(&error, probe));
            return Ok(Err(Failed::without_request(error)));
        }
    };
    gate::pass("classify", snapshot);
    call.progress.record(match &outcome {
        Ok(_) => Verdict::Answered,
        Err(failed) => failed.verdict(),
    });
    Ok(outcome)
}

/// Another pool has replaced that of the attempt's snapshot.
pub(super) struct Replaced;

/// The same for a session that is held, within the call's deadline.
pub(super) async fn around_held(
    call: &Call<'_>,
    held: &HeldRoute<'_>,
    span: &CallSpan<'_>,
) -> Result<Reply, Error> {
    let permit = held.breaker.try_acquire();
    let permit = permit.map_err(|rejected| Error::circuit_open(call.server, rejected))?;
    let dead = held.session.session().has_ended();
    let outcome = {
        let calling = checkout::held(call, (held.session, held.scope), span);
        let calling = pin!(calling.instrument(span.to_instrument()));
        call.deadline.within(calling).await
    };
    let outcome = match outcome {
        Ok(outcome) => outcome.map_err(|failed| failed.error),
        Err(ended) => Err(call.interrupted(ended, call.progress.phase().unwrap_or(Phase::Queue))),
    };
    let verdict = outcome
        .as_ref()
        .map_or_else(Verdict::of, |_| Verdict::Answered);
    match verdict {
        Verdict::Answered if permit.is_probe() => Verdict::Nothing,
        Verdict::Fault if dead => Verdict::Nothing,
        verdict => verdict,
    }
    .record(permit);
    outcome
}

/// A breaker, and the pool whose old sessions go when it opens.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    breaker: Breaker,
    pool: Arc<OnceLock<WeakSessionPool>>,
}

impl Circuit {
    pub(crate) fn new(telemetry: &Telemetry, settings: &EffectiveSettings) -> Result<Self, Error> {
        let pool: Arc<OnceLock<WeakSessionPool>> = Arc::default();
        let server = telemetry.metrics.name();
        let (guarded, name) = (Arc::clone(&pool), Arc::clone(server));
        let telemetry = telemetry.clone();
        let breaker = builder(&settings.circuit_breaker)
            .probe_limit(probe_limit(settings))
            .observer(move |event: &BreakerEvent| telemetry.on_breaker_event(event))
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
    pub(crate) fn attach(&self, pool: &SessionPool) {
        let _ = self.pool.set(pool.downgrade());
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What happens in the pool beside the calls: an opening that fails for many callers is one fault, not many.
    pub(crate) fn on_pool_event(&self, event: &PoolEvent) {
        let fault = match event {
            PoolEvent::OpenFailed { error, .. } => is_fault(error),
            // A call that was lost with its session has reported it.
            PoolEvent::Closed {
                reason: CloseReason::Broken,
                age,
                called: false,
                served: false,
                ..
            } => *age < FLAP,
            // That a call ran out of time is no fault: that its session is silent is.
            PoolEvent::Probed {
                alive: false,
                after_timeout: true,
                ..
            } => true,
            _ => false,
        };
        // While the breaker is open there is nothing to add to it.
        if fault
            && matches!(self.breaker.state(), State::Closed | State::HalfOpen)
            && let Ok(permit) = self.breaker.try_acquire()
        {
            permit.fault();
        }
    }
}

/// Whether an opening failed through its server. What it is given, credentials and configuration, is not the server's.
fn is_fault(cause: &OpenError) -> bool {
    !cause.is_authentication() && cause.kind() != OpenErrorKind::Config
}

/// How long a probe of a half-open breaker may take: as long as the longest call, which waits for a session first.
fn probe_limit(settings: &EffectiveSettings) -> Duration {
    /// The longest that a breaker takes.
    const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);
    let limit = settings
        .connection_timeout
        .saturating_add(settings.call_timeout);
    limit.min(LONGEST)
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
    // being opened then dates from the time the server was failing. The state of a scope is not lost for that.
    match to {
        State::Open => {
            pool.pause_refill();
            pool.evict_stateless();
        }
        State::HalfOpen => {
            pool.evict_stateless();
            // A probe that gets the error of the last opening would count as a fault.
            pool.end_backoff();
        }
        _ => pool.resume_refill(),
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
