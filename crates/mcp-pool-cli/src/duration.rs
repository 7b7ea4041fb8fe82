//! Times on the command line: `30`, `1.5` (seconds), `500ms`, `2m`.

use std::time::Duration;

/// The time that a text says.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 30s, 500ms or 2m, got `{text}`");
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong()),
        Err(_) => humantime::parse_duration(text).map_err(|_| wrong()),
    };
    parsed.and_then(|time| match time.is_zero() {
        true => Err(wrong()),
        false => Ok(time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(parse("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "0", "-1", "soon", "NaN", "1e300"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
