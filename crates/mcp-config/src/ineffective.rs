//! Settings that have no effect because of another setting.
//!
//! They contradict nothing, so the server works. Only a setting that was set is reported; a default gives way silently.

use crate::config::Entry;
use crate::diagnostic::Problem;
use crate::limits::GlobalLimits;
use crate::origin::{Origin, SettingOrigin};

/// Notes about settings of a server without effect. Cheap if there are none.
pub(crate) fn notes(entry: &Entry, limits: &GlobalLimits) -> Vec<Problem> {
    let settings = entry.settings();
    let breaker = &settings.circuit_breaker;
    let ineffective = [
        (
            settings.connection_timeout > settings.call_timeout,
            "connection_timeout",
            "call_timeout",
            "a call ends before that",
        ),
        (
            settings.retry_attempts > 0 && settings.retry_delay >= settings.connection_timeout,
            "retry_delay",
            "connection_timeout",
            "no failed opening is tried again",
        ),
        (
            !breaker.slow_call_rate.is_off() && breaker.slow_call_duration >= settings.call_timeout,
            "circuit_breaker.slow_call_duration",
            "call_timeout",
            "no call is ever so slow",
        ),
        (
            settings.max_idle_time > settings.max_session_age,
            "max_idle_time",
            "max_session_age",
            "no session grows so old",
        ),
    ];
    let mut notes = Vec::new();
    if ineffective.iter().any(|(holds, ..)| *holds) {
        let origins = entry.settings_with_origin();
        let set = |name: &str| {
            origins
                .iter()
                .find(|found| found.setting == name)
                .filter(is_set)
        };
        for (_, name, by, why) in ineffective.into_iter().filter(|(holds, ..)| *holds) {
            if let (Some(found), Some(other)) = (set(name), set(by)) {
                let message = format!(
                    "{} has no effect, {why}: {by} is {} ({})",
                    found.value, other.value, other.origin
                );
                notes.push(entry.place_of(found).problem(message));
            }
        }
    }
    if settings.max_connections > limits.max_total_connections {
        let origins = entry.settings_with_origin();
        let found = origins
            .iter()
            .find(|found| found.setting == "max_connections");
        if let Some(found) = found.filter(is_set) {
            let message = format!(
                "{} is never reached: the limit max_total_connections, over all servers, is {}",
                found.value, limits.max_total_connections
            );
            notes.push(entry.place_of(found).problem(message));
        }
    }
    notes
}

fn is_set(found: &&SettingOrigin) -> bool {
    !matches!(found.origin, Origin::Default | Origin::Follows(_))
}
