//! What a breaker has seen.

/// Totals since the breaker was built, and the window as it stands. Reading them changes nothing.
///
/// The totals only grow, [`reset`](crate::Breaker::reset) or not, so that they can back the counters of a metrics
/// system. Calls made while the breaker is disabled are in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Permits that came back: the successes, faults and ignored. (Those still out are not counted: that would cost the
    /// hot path a tenth, and whoever holds the permits knows.)
    pub calls: u64,
    /// Results recorded as success.
    pub successes: u64,
    /// Results recorded as fault.
    pub faults: u64,
    /// Results recorded as ignored, and permits dropped.
    pub ignored: u64,
    /// Successes and faults that took too long. Zero unless slow calls are watched.
    pub slow: u64,
    /// Results, of those above, that came too late to move anything: the state had changed since their permit was
    /// given, or they were probes whose place had been taken back.
    pub late: u64,
    /// Calls refused.
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

/// Durations go out as seconds with a fraction: what JSON is read by does not know Rust's pair of numbers.
#[cfg(feature = "serde")]
pub(crate) fn seconds<S: serde::Serializer>(
    duration: &Option<std::time::Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&duration.map(|duration| duration.as_secs_f64()), serializer)
}
