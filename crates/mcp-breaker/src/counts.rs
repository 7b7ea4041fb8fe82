//! Counts of a breaker: totals and the sliding window.

/// Totals since the breaker was built, and the current window. Reading them changes nothing.
///
/// The totals only grow, also over a [`reset`](crate::Breaker::reset), so that a metrics system can use them as counters.
/// Calls made while the breaker is disabled are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Permits that came back: successes, faults and ignored. Permits still out are not counted: that would slow the hot
    /// path by a tenth.
    pub calls: u64,
    /// Results recorded as success.
    pub successes: u64,
    /// Results recorded as fault.
    pub faults: u64,
    /// Results recorded as ignored, and permits dropped.
    pub ignored: u64,
    /// Successes and faults that took too long. Zero unless slow calls are watched.
    pub slow: u64,
    /// Results, of those above, that came too late to have an effect: the state had changed since the permit was granted,
    /// or the probe's place had been taken back.
    pub late: u64,
    /// Calls rejected.
    pub rejected: u64,
    /// Times the breaker opened by itself, from half-open too.
    pub times_opened: u64,
    /// Hung probes whose place was taken back.
    pub probes_released: u64,
    /// Faults since the last success, while closed.
    pub consecutive_faults: u32,
    /// Probes out now.
    pub probes_out: u32,
    /// Probes that have succeeded since the breaker went half-open.
    pub probe_successes: u32,
    /// The sliding window, if the breaker has one.
    pub window: Option<WindowCounts>,
}

/// The calls in the sliding window. Probes are not in it, and it starts empty when the breaker closes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowCounts {
    /// Successes and faults.
    pub calls: u64,
    /// Faults among them.
    pub faults: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Faults over calls, from 0 to 1; `None` without calls.
    pub fault_rate: Option<f64>,
    /// Slow calls over calls, from 0 to 1; `None` without calls.
    pub slow_rate: Option<f64>,
}

/// A duration in JSON is a number of seconds with a fraction.
#[cfg(feature = "serde")]
pub(crate) fn seconds<S: serde::Serializer>(
    duration: &Option<std::time::Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&duration.map(|duration| duration.as_secs_f64()), serializer)
}
