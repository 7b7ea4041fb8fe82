//! Durations and sizes as people write them.
//!
//! A bare number is seconds; a text carries its unit. A duration of whole seconds is written as a number, and a finer one as a
//! text with units, so that no nanosecond is lost.

use std::time::Duration;

use serde_json::Value;

/// Reads `30`, `0.5` (seconds), `"500ms"`, `"5m"`, `"1h 30m"`, and `"30"` (seconds, as a variable would hold it).
///
/// `None` if it is neither, negative, or beyond what a [`Duration`] holds.
///
/// ```
/// use std::time::Duration;
/// use mcp_config::duration;
///
/// assert_eq!(duration::parse("500ms"), Some(Duration::from_millis(500)));
/// assert_eq!(duration::parse("1.5"), Some(Duration::from_millis(1500)));
/// assert_eq!(duration::parse("soon"), None);
/// ```
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// Writes a duration so that [`parse`] gives the same one back: `30s`, `1m 500ms`.
pub fn format(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(crate) fn from_json(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => Duration::try_from_secs_f64(number.as_f64()?).ok(),
        },
        Value::String(text) => parse(text),
        _ => None,
    }
}

pub(crate) fn to_json(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        duration.as_secs().into()
    } else {
        format(duration).into()
    }
}

/// Reads a size in bytes: `1048576`, `16MiB`, `16 MB`. Powers of two and of ten as their units say.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_seconds_and_a_text_carries_its_unit() {
        assert_eq!(from_json(&json!(30)), Some(Duration::from_secs(30)));
        assert_eq!(from_json(&json!(0.25)), Some(Duration::from_millis(250)));
        assert_eq!(from_json(&json!("5m")), Some(Duration::from_secs(300)));
        assert_eq!(from_json(&json!("1h")), Some(Duration::from_secs(3600)));
        assert_eq!(from_json(&json!("1h 30m")), Some(Duration::from_secs(5400)));
        assert_eq!(from_json(&json!(" 30 ")), Some(Duration::from_secs(30)));
    }

    #[test]
    fn nonsense_and_overflow_are_refused_without_panic() {
        for value in [
            json!(-1),
            json!(1e300),
            json!("NaN"),
            json!("inf"),
            json!(""),
            json!("5 parsecs"),
            json!([]),
            json!(null),
        ] {
            assert_eq!(from_json(&value), None, "{value}");
        }
    }

    #[test]
    fn sizes_take_units_of_two_and_of_ten() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("16 MB"), Some(16_000_000));
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("99999999999999999999"), None);
        assert_eq!(parse_size("20000000000g"), None);
        assert_eq!(parse_size("much"), None);
    }

    proptest! {
        #[test]
        fn a_duration_written_and_read_again_is_itself(seconds in 0..u64::MAX / 2, nanos in 0..1_000_000_000u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(from_json(&to_json(duration)), Some(duration));
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
