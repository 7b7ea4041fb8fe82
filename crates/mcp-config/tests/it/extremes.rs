//! Smallest and largest values: nothing overflows, and settings that they make ineffective are reported.

use crate::loader;
use std::time::Duration;

use mcp_config::{EffectiveSettings, LimitSettings, PoolSettings};
use serde_json::{Value, json};

/// The least, the most, and what lies beside them, of each kind of setting.
fn extremes(unit: &str) -> Vec<Value> {
    match unit {
        "count" => vec![
            json!(0),
            json!(1),
            json!(2),
            json!(u32::MAX - 1),
            json!(u32::MAX),
        ],
        "seconds" => vec![
            json!("1ns"),
            json!("2ns"),
            json!("1ms"),
            json!(316_223_999),
            json!(316_224_000),
        ],
        "bytes" => vec![json!(1024), json!(4_294_967_296_u64)],
        "0 to 1" => vec![json!(0), json!(0.000_001), json!(1)],
        words => words.split(", ").map(|word| json!(word)).collect(),
    }
}

fn pool(settings: &[(&str, &Value)]) -> Value {
    let mut pool = json!({});
    for (name, value) in settings {
        match name.split_once('.') {
            Some((group, name)) => pool[group][name] = (*value).clone(),
            None => pool[name] = (*value).clone(),
        }
    }
    pool
}

fn assert_sound(s: &EffectiveSettings, of: &Value) {
    let breaker = &s.circuit_breaker;
    let times = [
        s.max_idle_time,
        s.max_session_age,
        s.connection_timeout,
        s.call_timeout,
        s.list_max_age,
        s.health_check_interval,
        s.probe_timeout,
        s.retry_delay,
        s.shutdown_grace,
        s.cancel_grace,
        breaker.window,
        breaker.recovery_timeout,
        breaker.max_recovery_timeout,
        breaker.slow_call_duration,
    ];
    let longest = Duration::from_secs(316_224_000);
    assert!(
        times.iter().all(|time| !time.is_zero() && *time <= longest),
        "{of}: {s:?}"
    );
    assert!(s.min_connections <= s.max_connections, "{of}: {s:?}");
    assert!(
        1 <= s.scale_up_at && s.scale_up_at <= s.max_in_flight,
        "{of}: {s:?}"
    );
    assert!(s.probe_timeout <= s.health_check_interval, "{of}: {s:?}");
    assert!(
        breaker.recovery_timeout <= breaker.max_recovery_timeout,
        "{of}: {s:?}"
    );
    assert!(
        1 <= breaker.success_threshold && breaker.success_threshold <= breaker.half_open_max_calls,
        "{of}: {s:?}"
    );
}

#[test]
fn any_two_settings_at_their_ends_are_refused_or_leave_everything_sound() {
    let rows = mcp_config::settings();
    // The others follow nothing and nothing follows them; alone they are tried, too.
    let related = [
        "connections",
        "in_flight",
        "scale_up",
        "sharing",
        "probe",
        "health",
        "threshold",
        "half_open",
        "recovery",
    ];
    let relates = |name: &str| related.iter().any(|part| name.contains(part));
    let (mut sound, mut refused) = (0, 0);
    for (at, one) in rows.iter().enumerate() {
        let others = rows[at..]
            .iter()
            .filter(|other| other.name == one.name || relates(&one.name) && relates(&other.name));
        for other in others {
            for first in extremes(&one.unit) {
                for second in extremes(&other.unit) {
                    let table = pool(&[(&one.name, &first), (&other.name, &second)]);
                    let settings = serde_json::from_value::<PoolSettings>(table.clone());
                    match settings.ok().and_then(|settings| settings.effective().ok()) {
                        Some(effective) => {
                            assert_sound(&effective, &table);
                            sound += 1;
                        }
                        None => refused += 1,
                    }
                }
            }
        }
    }
    assert!(
        sound > 1000 && refused > 300,
        "{sound} sound, {refused} refused"
    );
}

fn notes(pool: Value) -> Vec<String> {
    let text = json!({"a": {"command": "x", "pool": pool}}).to_string();
    let limits = LimitSettings::new().max_total_connections(50);
    let config = loader().limits(limits).text("f", text).load().unwrap();
    config.check().unwrap();
    config.notes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_setting_that_another_keeps_from_taking_effect_is_told() {
    for (pool, reported) in [
        (
            json!({"connection_timeout": 20, "call_timeout": 10}),
            "connection_timeout: 20 has no effect, a call ends before that: \
             call_timeout is 10 (f: a.pool.call_timeout)",
        ),
        (
            json!({"retry_delay": "1m", "connection_timeout": 60}),
            "retry_delay: 60 has no effect, no failed opening is tried again: \
             connection_timeout is 60 (f: a.pool.connection_timeout)",
        ),
        (
            json!({"circuit_breaker": {"slow_call_rate": 0.5, "slow_call_duration": 9}, "call_timeout": 9}),
            "circuit_breaker.slow_call_duration: 9 has no effect, no call is ever so slow: \
             call_timeout is 9 (f: a.pool.call_timeout)",
        ),
        (
            json!({"max_idle_time": "2h", "max_session_age": "1h"}),
            "max_idle_time: 7200 has no effect, no session grows so old: \
             max_session_age is 3600 (f: a.pool.max_session_age)",
        ),
        (
            json!({"max_connections": 51}),
            "max_connections: 51 is never reached: the limit max_total_connections, over all servers, is 50",
        ),
    ] {
        assert_eq!(notes(pool), [format!("f: a.pool.{reported}")]);
    }
}

#[test]
fn a_default_that_another_setting_overtakes_is_not_told() {
    for pool in [
        json!({"call_timeout": 10}),
        json!({"retry_delay": "5m"}),
        json!({"max_session_age": "1s"}),
        json!({"max_connections": 50}),
        json!({"circuit_breaker": {"slow_call_duration": 900}, "call_timeout": 9}),
    ] {
        assert_eq!(notes(pool.clone()), [""; 0], "{pool}");
    }
}
