//! Any settings printed and read again are themselves, by file and by variables.

use crate::loader;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::time::Duration;

use mcp_config::{
    CircuitBreakerSettings, Fallback, GlobalLimits, Initialization, Lifecycle, LimitSettings,
    OfferedVersion, PoolSettings, Rate, Replay, Sharing, Validate,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn time() -> impl Strategy<Value = Option<Duration>> + Clone {
    let fine = (0..300_000_000u64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos));
    let whole = (1..300_000_000u64).prop_map(Duration::from_secs);
    option::of(prop_oneof![fine, whole].prop_filter("above zero", |time| !time.is_zero()))
}

fn count() -> impl Strategy<Value = Option<u32>> + Clone {
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

/// Two values of which the first is the lesser: a rule between settings would refuse them the other way around.
fn ascending<T: Ord + Debug>(
    values: impl Strategy<Value = Option<T>> + Clone,
) -> impl Strategy<Value = (Option<T>, Option<T>)> {
    (values.clone(), values).prop_map(|(one, other)| {
        if one.is_some() && other.is_some() && one > other {
            (other, one)
        } else {
            (one, other)
        }
    })
}

prop_compose! {
    fn breaker()(
        failure_threshold in count(), minimum_calls in count(), failure_rate in rate(), slow_call_rate in rate(),
        slow_call_duration in time(), window in time(),
        (recovery_timeout, max_recovery_timeout) in ascending(time()),
        (success_threshold, half_open_max_calls) in ascending(count()),
    ) -> CircuitBreakerSettings {
        let mut settings = CircuitBreakerSettings::new();
        set!(settings, failure_threshold, minimum_calls, failure_rate, slow_call_rate, slow_call_duration, window);
        set!(settings, recovery_timeout, max_recovery_timeout, success_threshold, half_open_max_calls);
        settings
    }
}

prop_compose! {
    fn counts()(
        (min_connections, max_connections) in ascending(count()), (scale_up_at, max_in_flight) in ascending(count()),
        max_waiters in count(), max_connecting in count(), max_direct in count(), max_identities in count(), retry_attempts in count(),
        max_message_size in option::of(1024..1u64 << 32),
    ) -> PoolSettings {
        let mut settings = PoolSettings::new();
        set!(settings, min_connections, max_connections, scale_up_at, max_in_flight, max_waiters, max_connecting);
        set!(settings, max_direct, max_identities, retry_attempts, max_message_size);
        settings
    }
}

prop_compose! {
    fn times()(
        max_idle_time in time(), max_session_age in time(), connection_timeout in time(), call_timeout in time(),
        retry_delay in time(), shutdown_grace in time(), cancel_grace in time(),
        list_max_age in time(),
        (probe_timeout, health_check_interval) in ascending(time())
            .prop_filter("less than", |(one, other)| one.is_none() || one != other),
    ) -> PoolSettings {
        let mut settings = PoolSettings::new();
        set!(settings, max_idle_time, max_session_age, connection_timeout, call_timeout, retry_delay, shutdown_grace);
        set!(settings, probe_timeout, health_check_interval, cancel_grace, list_max_age);
        settings
    }
}

prop_compose! {
    fn choices()(
        sharing in option::of(select(Sharing::ALL)), lifecycle in option::of(select(Lifecycle::ALL)),
        initialization in option::of(select(Initialization::ALL)), replay in option::of(select(Replay::ALL)),
        protocol_version in option::of(select(OfferedVersion::ALL)),
        fallback in option::of(select(Fallback::ALL)), validate in option::of(select(Validate::ALL)),
        inherit_env in any::<Option<bool>>(), trust_annotations in any::<Option<bool>>(),
    ) -> PoolSettings {
        let mut settings = PoolSettings::new();
        set!(settings, sharing, lifecycle, protocol_version, initialization, replay, fallback, validate, inherit_env, trust_annotations);
        settings
    }
}

fn settings() -> impl Strategy<Value = PoolSettings> {
    (counts(), times(), choices(), breaker())
        .prop_map(|(a, b, c, breaker)| a.over(b).over(c).circuit_breaker(breaker))
}

prop_compose! {
    fn limits()(max_total_connections in count(), max_connecting in count()) -> LimitSettings {
        let mut limits = LimitSettings::new();
        set!(limits, max_total_connections, max_connecting);
        limits
    }
}

#[test]
fn no_setting_is_left_out_here() {
    let mut runner = TestRunner::deterministic();
    let mut never: BTreeSet<String> = mcp_config::settings()
        .into_iter()
        .map(|row| row.name)
        .collect();
    for _ in 0..100 {
        let settings = settings().new_tree(&mut runner).unwrap().current();
        never.retain(|name| settings.get(name).is_none());
    }
    assert_eq!(never, BTreeSet::new());
}

proptest! {
    #[test]
    fn settings_written_as_json_and_read_again_are_themselves(settings in settings()) {
        let text = serde_json::to_string(&settings).unwrap();
        prop_assert_eq!(serde_json::from_str::<PoolSettings>(&text).unwrap(), settings);
    }

    #[test]
    fn effective_settings_come_out_of_a_file_as_they_went_in(settings in settings()) {
        let effective = settings.effective().unwrap();
        let text = serde_json::json!({"a": {"command": "x", "pool": effective}}).to_string();
        let config = loader().text("f.json", &text).load().unwrap();
        prop_assert_eq!(config.servers["a"].settings(), &effective);
        let yaml = loader().text("f.yaml", &text).load().unwrap();
        prop_assert_eq!(yaml.servers["a"].settings(), &effective);
        prop_assert_eq!(PoolSettings::from(effective.clone()).effective().unwrap(), effective);
    }

    #[test]
    fn settings_given_by_variables_are_the_same_as_in_a_file(settings in settings()) {
        let effective = settings.effective().unwrap();
        let variables = mcp_config::settings().into_iter().filter_map(|row| {
            let value = settings.get(&row.name)?;
            Some((row.variable, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        });
        let config = loader().environment(variables).text("f", r#"{"a": {"command": "x"}}"#).load().unwrap();
        prop_assert_eq!(config.servers["a"].settings(), &effective);
    }
    #[test]
    fn a_settings_file_of_toml_is_the_same_as_code(settings in settings(), limits in limits()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp-pool.toml");
        let mut text = "[defaults]\n".to_owned();
        for row in mcp_config::settings() {
            if let Some(value) = settings.get(&row.name) {
                text += &format!("{} = {value}\n", row.name);
            }
        }
        text += "[limits]\n";
        for (name, value) in serde_json::to_value(&limits).unwrap().as_object().unwrap() {
            text += &format!("{name} = {value}\n");
        }
        fs::write(&path, &text).unwrap();
        let read = loader().settings_file(path).load().unwrap();
        let code = loader().defaults(settings.clone()).limits(limits).load().unwrap();
        prop_assert_eq!(&read.defaults, &settings.effective().unwrap());
        prop_assert_eq!((&read.defaults, &read.limits), (&code.defaults, &code.limits), "{}", text);
    }

    #[test]
    fn limits_are_the_same_by_variables_and_code_and_as_json(limits in limits()) {
        let json = serde_json::to_value(&limits).unwrap();
        prop_assert_eq!(&serde_json::from_value::<LimitSettings>(json.clone()).unwrap(), &limits);
        let variables = GlobalLimits::settings().into_iter().filter_map(|row| {
            Some((row.variable, json.get(&row.name)?.to_string()))
        });
        let by_variables = loader().environment(variables).load().unwrap().limits;
        let by_code = loader().limits(limits).load().unwrap().limits;
        prop_assert_eq!(&by_variables, &by_code);
        for (name, value) in json.as_object().unwrap() {
            prop_assert_eq!(&serde_json::to_value(&by_code).unwrap()[name], value);
        }
    }
}
