//! Any settings printed and read again are themselves, by file and by variables.

use std::time::Duration;

use mcp_config::{
    CircuitBreakerSettings, Fallback, Initialization, Lifecycle, Loader, PoolSettings, Rate,
    Replay, Sharing, Validate,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn time() -> impl Strategy<Value = Option<Duration>> {
    let fine = (0..300_000_000u64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let whole = (1..300_000_000u64).prop_map(Duration::from_secs);
    option::of(prop_oneof![fine, whole].prop_filter("above zero", |time| !time.is_zero()))
}

fn count() -> impl Strategy<Value = Option<u32>> {
    option::of(1..u32::MAX)
}

fn rate() -> impl Strategy<Value = Option<Rate>> {
    option::of((0.0..=1.0).prop_map(Rate::of))
}

macro_rules! set {
    ($settings:ident, $($name:ident),+) => {
        $(if let Some(value) = $name { $settings = $settings.$name(value); })+
    };
}

prop_compose! {
    fn breaker()(
        failure_threshold in count(), recovery_timeout in time(), success_threshold in count(),
        failure_rate in rate(), slow_call_rate in rate(), slow_call_duration in time(), window in time(),
    ) -> CircuitBreakerSettings {
        let mut settings = CircuitBreakerSettings::new();
        set!(settings, failure_threshold, recovery_timeout, success_threshold);
        set!(settings, failure_rate, slow_call_rate, slow_call_duration, window);
        settings
    }
}

prop_compose! {
    fn counts_and_times()(
        min_connections in count(), max_in_flight in count(), max_waiters in count(), retry_attempts in count(),
        max_idle_time in time(), call_timeout in time(), retry_delay in time(), shutdown_grace in time(),
        max_message_size in option::of(1024..1u64 << 32),
    ) -> PoolSettings {
        let mut settings = PoolSettings::new();
        set!(settings, min_connections, max_in_flight, max_waiters, retry_attempts, max_idle_time, call_timeout);
        set!(settings, retry_delay, shutdown_grace, max_message_size);
        settings
    }
}

prop_compose! {
    fn choices()(
        sharing in option::of(select(Sharing::ALL)), lifecycle in option::of(select(Lifecycle::ALL)),
        initialization in option::of(select(Initialization::ALL)), replay in option::of(select(Replay::ALL)),
        fallback in option::of(select(Fallback::ALL)), validate in option::of(select(Validate::ALL)),
        inherit_env in any::<Option<bool>>(), trust_annotations in any::<Option<bool>>(),
    ) -> PoolSettings {
        let mut settings = PoolSettings::new();
        set!(settings, sharing, lifecycle, initialization, replay, fallback, validate, inherit_env, trust_annotations);
        settings
    }
}

fn settings() -> impl Strategy<Value = PoolSettings> {
    (counts_and_times(), choices(), breaker())
        .prop_map(|(a, b, breaker)| a.over(b).circuit_breaker(breaker))
}

proptest! {
    #[test]
    fn settings_written_as_json_and_read_again_are_themselves(settings in settings()) {
        let text = serde_json::to_string(&settings).unwrap();
        prop_assert_eq!(serde_json::from_str::<PoolSettings>(&text).unwrap(), settings);
    }

    #[test]
    fn effective_settings_come_out_of_a_file_as_they_went_in(settings in settings()) {
        let Ok(effective) = settings.effective() else { return Ok(()) };
        let text = serde_json::json!({"a": {"command": "x", "pool": effective}}).to_string();
        let config = Loader::new().text("f.json", &text).load().unwrap();
        prop_assert_eq!(config.servers["a"].settings(), &effective);
        let yaml = Loader::new().text("f.yaml", &text).load().unwrap();
        prop_assert_eq!(yaml.servers["a"].settings(), &effective);
        prop_assert_eq!(PoolSettings::from(effective.clone()).effective().unwrap(), effective);
    }

    #[test]
    fn settings_given_by_variables_are_the_same_as_in_a_file(settings in settings()) {
        let Ok(effective) = settings.effective() else { return Ok(()) };
        let variables = mcp_config::settings().into_iter().filter_map(|row| {
            let value = settings.get(&row.name)?;
            Some((row.variable, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        });
        let config = Loader::new().environment(variables).text("f", r#"{"a": {"command": "x"}}"#).load().unwrap();
        prop_assert_eq!(config.servers["a"].settings(), &effective);
    }
}
