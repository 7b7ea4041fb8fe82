//! The settings of a pool, as partial layers and as effective values.
//!
//! [`PoolSettings`] holds the values that one file, variable or call of code *set*; it may be empty. [`EffectiveSettings`] has
//! a value for every setting, after all layers and defaults, without contradictions.

use std::time::Duration;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diagnostic::{ConfigError, MOST_PROBLEMS, Place, Problem};
use crate::enums::{
    Fallback, Initialization, Lifecycle, OfferedVersion, Replay, Sharing, Validate,
};
use crate::rate::Rate;
use crate::settings_macro::{Setting, SettingsTable, settings};
use crate::value::{self, SettingValue, shown};

settings! {
    /// A layer of pool settings: only those that are set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use mcp_config::{PoolSettings, Sharing};
    ///
    /// let everywhere = PoolSettings::new().max_connections(20).call_timeout(Duration::from_secs(5));
    /// let browser = PoolSettings::new().sharing(Sharing::Pinned).max_connections(3);
    /// let both = browser.over(everywhere);
    /// assert_eq!(both.effective().unwrap().max_connections, 3);
    /// assert_eq!(both.effective().unwrap().call_timeout, Duration::from_secs(5));
    /// ```
    partial PoolSettings;
    /// The settings a pool runs with: a value for everything.
    ///
    /// It comes from [`PoolSettings::effective`], from an [`Entry`](crate::Entry), or from `default()`.
    effective EffectiveSettings;
    variables "MCP_POOL_";
    /// Sessions the pool keeps open, busy and idle together: from the moment two calls have run at once, or from the
    /// start (`initialization`). Counts inside `max_connections`: left alone, it is no more than that.
    min_connections: u32 = 2, value::COUNT;
    /// Sessions the pool opens at most. Left alone, it is no less than `min_connections`.
    max_connections: u32 = 10, value::COUNT_FROM_1;
    /// How long a session beyond the minimum may sit unused before it is closed.
    max_idle_time: Duration = Duration::from_secs(300), value::TIME;
    /// How old a session may grow before it is replaced; up to a tenth less, at random, so that they do not end together.
    max_session_age: Duration = Duration::from_secs(3600), value::TIME;
    /// How long a caller waits for a session: queue, opening and handshake together. A server that is still starting then has four times as long in all.
    connection_timeout: Duration = Duration::from_secs(30), value::TIME;
    /// How long one call may take, from its start to its result.
    call_timeout: Duration = Duration::from_secs(120), value::TIME;
    /// How old the list of tools may become whose server neither announces changes nor gives its lists a time.
    list_max_age: Duration = Duration::from_secs(60), value::TIME;
    /// How often an idle session is probed.
    health_check_interval: Duration = Duration::from_secs(60), value::TIME;
    /// How long one probe may take; less than `health_check_interval`: left alone, at most half of it.
    probe_timeout: Duration = Duration::from_secs(5), value::TIME;
    /// How many more times a failed opening is tried when its cause may pass.
    retry_attempts: u32 = 3, value::COUNT;
    /// How long the first of these tries waits; the next ones wait longer.
    retry_delay: Duration = Duration::from_secs(1), value::TIME;
    /// When sessions are opened, and whether a server that fails stops the start.
    initialization: Initialization = Initialization::Lazy, value::INITIALIZATION;
    /// Who may use a session at the same time. `exclusive` implies a `max_in_flight` of 1.
    sharing: Sharing = Sharing::Multiplexed, value::SHARING;
    /// Calls that run on one session at once, at most.
    max_in_flight: u32 = 16, value::COUNT_FROM_1;
    /// Calls in flight per session at which one more session is opened in the background; at most `max_in_flight`: left
    /// alone, no more than that.
    scale_up_at: u32 = 8, value::COUNT_FROM_1;
    /// Callers that may wait for a place; one more is refused at once. At least 1: who has a session opened waits for it.
    max_waiters: u32 = 1000, value::COUNT_FROM_1;
    /// Sessions of this pool that may be opening at once.
    max_connecting: u32 = 1, value::COUNT_FROM_1;
    /// How long calls in flight may go on when the pool shuts down.
    shutdown_grace: Duration = Duration::from_secs(10), value::TIME;
    /// How long a call that its caller gave up may go on running on an exclusive or pinned session, which takes no other
    /// call in its place meanwhile. After it an exclusive session is replaced, and a pinned one has to answer a probe.
    cancel_grace: Duration = Duration::from_secs(5), value::TIME;
    /// Which handshake a session begins with.
    lifecycle: Lifecycle = Lifecycle::Auto, value::LIFECYCLE;
    /// Which version of the protocol a server is offered. One that is set decides the handshake, whatever `lifecycle` says.
    protocol_version: OfferedVersion = OfferedVersion::Newest, value::OFFERED_VERSION;
    /// Whether a call whose answer was lost is sent again.
    replay: Replay = Replay::Safe, value::REPLAY;
    /// What happens to a call that the pool has no room for.
    fallback: Fallback = Fallback::Direct, value::FALLBACK;
    /// Temporary sessions outside the pool at once, for `fallback = direct`.
    max_direct: u32 = 2, value::COUNT;
    /// Identities whose pools are kept. One more lets the least recently used idle one go; one in use is never let go.
    max_identities: u32 = 1000, value::COUNT_FROM_1;
    /// What is held against a tool's schemas.
    validate: Validate = Validate::Off, value::VALIDATE;
    /// Whether a server's process gets the whole environment, instead of a short safe list and what its entry names.
    inherit_env: bool = false, value::FLAG;
    /// Whether a tool's own hints (read-only, idempotent) are believed.
    trust_annotations: bool = true, value::FLAG;
    /// The largest request or reply, in bytes.
    max_message_size: u64 = 16 << 20, value::SIZE;
    group {
        /// When a server that fails is left alone, and when it is tried again.
        circuit_breaker: CircuitBreakerSettings => EffectiveCircuitBreaker;
    }
}

settings! {
    /// A layer of circuit breaker settings, for [`PoolSettings::circuit_breaker`].
    partial CircuitBreakerSettings;
    /// The circuit breaker settings a pool runs with.
    effective EffectiveCircuitBreaker;
    variables "MCP_CIRCUIT_BREAKER_";
    /// Faults in a row that open the breaker.
    failure_threshold: u32 = 5, value::COUNT_FROM_1;
    /// The part of the calls in the window that opens the breaker when they are faults; 0 for no such limit.
    failure_rate: Rate = Rate::percent(50), value::RATE;
    /// The part of the calls in the window that opens the breaker when they are slow; 0 for no such limit.
    slow_call_rate: Rate = Rate::OFF, value::RATE;
    /// From when on a call is slow, waiting for a session included; only with a `slow_call_rate`.
    slow_call_duration: Duration = Duration::from_secs(60), value::TIME;
    /// Calls that the window must hold before a rate is judged.
    minimum_calls: u32 = 10, value::COUNT_FROM_1;
    /// How far back the window of the rates reaches.
    window: Duration = Duration::from_secs(60), value::TIME;
    /// How long the breaker stays open before it lets a call through to try. Doubles with each trip that follows a failed
    /// try, up to `max_recovery_timeout`.
    recovery_timeout: Duration = Duration::from_secs(60), value::TIME;
    /// How long the breaker stays open at most. Left alone, no less than `recovery_timeout`.
    max_recovery_timeout: Duration = Duration::from_secs(600), value::TIME;
    /// Successes in the half-open state that close the breaker; at most `half_open_max_calls`: left alone, no more than
    /// that.
    success_threshold: u32 = 2, value::COUNT_FROM_1;
    /// Calls let through in the half-open state. Left alone, no fewer than `success_threshold`.
    half_open_max_calls: u32 = 3, value::COUNT_FROM_1;
}

/// Every setting there is, in the order of the documentation.
///
/// ```
/// let settings = mcp_config::settings();
/// let row = settings.iter().find(|setting| setting.name == "max_connections").unwrap();
/// assert_eq!(row.variable, "MCP_POOL_MAX_CONNECTIONS");
/// assert_eq!(row.default, 10);
/// ```
pub fn settings() -> Vec<Setting> {
    PoolSettings::rows()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_layer_holds_only_what_was_set() {
        let layer = PoolSettings::new()
            .max_connections(3)
            .retry_delay(Duration::from_millis(1500));
        assert_eq!(
            serde_json::to_value(&layer).unwrap(),
            json!({"max_connections": 3, "retry_delay": "1s 500ms"})
        );
        assert!(PoolSettings::new().is_empty());
        assert_eq!(
            serde_json::to_value(PoolSettings::new()).unwrap(),
            json!({})
        );
    }

    #[test]
    fn the_upper_layer_wins_setting_by_setting() {
        let lower = PoolSettings::new().max_connections(3).max_waiters(1);
        let upper = PoolSettings::new()
            .max_connections(4)
            .circuit_breaker(CircuitBreakerSettings::new().failure_threshold(9));
        let both = upper.over(lower);
        assert_eq!(both.get("max_connections"), Some(json!(4)));
        assert_eq!(both.get("max_waiters"), Some(json!(1)));
        assert_eq!(
            both.get("circuit_breaker.failure_threshold"),
            Some(json!(9))
        );
        assert_eq!(both.get("circuit_breaker.success_threshold"), None);
    }

    #[test]
    fn every_wrong_setting_is_reported_at_once() {
        let table = json!({
            "max_conections": 3, "max_connections": 0, "sharing": "shared", "call_timeout": 0,
            "circuit_breaker": {"failure_treshold": 1}, "max_waiters": 7,
        });
        let mut problems = Vec::new();
        let settings = PoolSettings::read(&table, &Place::new("f", "pool"), &mut problems);
        let text: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(text.len(), 5, "{text:#?}");
        assert!(
            text.iter().any(|line| line
                == "f: pool.max_conections: unknown setting, did you mean max_connections?")
        );
        assert!(text.iter().any(|line| line
            == "f: pool.circuit_breaker.failure_treshold: unknown setting, did you mean failure_threshold?"));
        assert_eq!(settings, PoolSettings::new().max_waiters(7));
    }

    #[test]
    fn the_table_matches_the_documented_defaults() {
        let defaults = serde_json::to_value(EffectiveSettings::default()).unwrap();
        assert_eq!(defaults["min_connections"], 2);
        assert_eq!(defaults["call_timeout"], 120);
        assert_eq!(defaults["initialization"], "lazy");
        assert_eq!(defaults["max_message_size"], 16 * 1024 * 1024);
        assert_eq!(defaults["circuit_breaker"]["recovery_timeout"], 60);
        assert_eq!(defaults["circuit_breaker"]["failure_rate"], 0.5);
        assert_eq!(defaults["circuit_breaker"]["slow_call_rate"], 0);
        assert_eq!(settings().len(), 39);
        assert!(settings().iter().any(|row| row.variable
            == "MCP_CIRCUIT_BREAKER_FAILURE_THRESHOLD"
            && row.name == "circuit_breaker.failure_threshold"));
    }

    #[test]
    fn deserialising_reports_like_a_file_does() {
        let error =
            serde_json::from_value::<PoolSettings>(json!({"max_conections": 1})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "settings: max_conections: unknown setting, did you mean max_connections?"
        );
    }
}
