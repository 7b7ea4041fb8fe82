//! Builder of a breaker, with the reasons for the defaults.

use std::time::Duration;

use crate::{Breaker, BreakerObserver, InvalidSettings, settings::Settings};

/// Builds a [`Breaker`].
///
/// The defaults suit a dependency called a few times a minute up to thousands of times a second:
///
/// | setting | default | because |
/// | --- | --- | --- |
/// | [`failure_threshold`](Self::failure_threshold) | 5 in a row | Envoy's number. Where one call in twenty fails by chance, five in a row fail once in three million; a dead server is noticed after five calls at any rate |
/// | [`failure_rate`](Self::failure_rate) | 50 % | resilience4j's number: when half the calls fail, half the callers have an outage |
/// | [`minimum_calls`](Self::minimum_calls) | 10 | the same server has five faults in a given ten once in 16,000. With 100 (resilience4j, Polly) a server called less than twice a second is never judged |
/// | [`window`](Self::window) | 60 s | long enough for ten calls at one every six seconds, short enough to forget an incident |
/// | [`slow_calls`](Self::slow_calls) | off | no limit fits all: a lookup of ten seconds is slow, a build is fast |
/// | [`recovery_timeout`](Self::recovery_timeout) | 60 s | resilience4j's number: time to restart. Callers are rejected at once meanwhile |
/// | [`recovery_factor`](Self::recovery_factor) | 2 | a server that stays down is probed after 1, 3, 7 and 15 minutes, then every ten |
/// | [`max_recovery_timeout`](Self::max_recovery_timeout) | 10 min | a person who waits for it still sees it recover |
/// | [`recovery_jitter`](Self::recovery_jitter) | ± 10 % | spreads the probes of breakers that one outage tripped over twelve seconds |
/// | [`half_open_max_calls`](Self::half_open_max_calls) | 3 at once | one may fail by chance, ten may overload a server that starts |
/// | [`success_threshold`](Self::success_threshold) | 2 | one success may be chance |
/// | [`probe_limit`](Self::probe_limit) | 30 s | longer than nearly every call takes |
pub struct BreakerBuilder {
    pub(crate) settings: Settings,
    pub(crate) observers: Vec<Box<dyn BreakerObserver>>,
}

impl BreakerBuilder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
            observers: Vec::new(),
        }
    }

    /// Opens after this number of consecutive faults (5); `None` for no such limit.
    pub fn failure_threshold(mut self, faults: impl Into<Option<u32>>) -> Self {
        self.settings.failure_threshold = faults.into();
        self
    }

    /// Opens when this share of the calls in the window are faults, above 0 to 1 (0.5); `None` for no such limit.
    pub fn failure_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.settings.window.fault_rate = rate.into();
        self
    }

    /// Opens when the share `rate` (above 0 to 1) of the calls in the window took `after` or longer, successes or not
    /// (off). While half-open, a slow probe then reopens as a failed one does. Calls are timed from permit to result. One
    /// that never ends is never slow, so give calls a time limit.
    pub fn slow_calls(mut self, after: Duration, rate: f64) -> Self {
        self.settings.slow_after = after;
        self.settings.window.slow_rate = Some(rate);
        self
    }

    /// Length of the sliding window (60 s).
    pub fn window(mut self, length: Duration) -> Self {
        self.settings.window.length = length;
        self
    }

    /// The rates count only when the window holds this number of calls (10).
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.settings.window.minimum_calls = calls;
        self
    }

    /// How long the breaker stays open after the first trip, jitter aside (60 s).
    pub fn recovery_timeout(mut self, time: Duration) -> Self {
        self.settings.recovery.base = time;
        self
    }

    /// Growth of the recovery time with each repeated trip, at least 1 (2.0). A trip is repeated if it comes from
    /// half-open, or before the breaker has been closed again for as long as it was open.
    pub fn recovery_factor(mut self, factor: f64) -> Self {
        self.settings.recovery.factor = factor;
        self
    }

    /// The recovery time grows no further than this, jitter aside (10 min).
    pub fn max_recovery_timeout(mut self, time: Duration) -> Self {
        self.settings.recovery.max = time;
        self
    }

    /// The recovery time is spread evenly over this share of itself to either side, from 0 to below 1 (0.1).
    pub fn recovery_jitter(mut self, part: f64) -> Self {
        self.settings.recovery.jitter = part;
        self
    }

    /// Probes admitted at once while half-open (3).
    pub fn half_open_max_calls(mut self, probes: u32) -> Self {
        self.settings.probes.max_calls = probes;
        self
    }

    /// Probes that must succeed for the breaker to close (2).
    pub fn success_threshold(mut self, successes: u32) -> Self {
        self.settings.probes.successes = successes;
        self
    }

    /// After this time the place of a probe is given to the next caller (30 s). That is neither a success nor a fault, and
    /// the probe's own result has no effect if it comes later.
    pub fn probe_limit(mut self, time: Duration) -> Self {
        self.settings.probes.time = time;
        self
    }

    /// Adds an observer. Observers are called in the order in which they were added. An observer that holds the breaker
    /// keeps it from being dropped.
    pub fn observer(mut self, observer: impl BreakerObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Builds the breaker, closed.
    ///
    /// # Errors
    /// If a setting is invalid. The error lists every such setting.
    pub fn build(self) -> Result<Breaker, InvalidSettings> {
        self.settings.validate()?;
        Ok(Breaker::from_valid(self.settings, self.observers))
    }
}

impl std::fmt::Debug for BreakerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreakerBuilder")
            .field("settings", &self.settings)
            .field("observers", &self.observers.len())
            .finish()
    }
}
