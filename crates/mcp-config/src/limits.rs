//! Limits over all servers, and the switches for debugging.

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::diagnostic::{ConfigError, MOST_PROBLEMS, Place, Problem};
use crate::settings_macro::{Setting, SettingsTable, settings};
use crate::value::{self, SettingValue, shown};

settings! {
    /// A layer of limits over all servers: only those that are set.
    partial LimitSettings;
    /// Limits over all servers together.
    effective GlobalLimits;
    variables "MCP_";
    /// Sessions open at once over all servers.
    max_total_connections: u32 = 100, value::COUNT_FROM_1;
    /// Sessions that may be opening at once over all servers.
    max_connecting: u32 = 4, value::COUNT_FROM_1;
}

impl GlobalLimits {
    /// Every limit there is, as rows for documentation.
    pub fn settings() -> Vec<Setting> {
        LimitSettings::rows()
    }
}

/// Switches for debugging, from the environment only: they are for one run, not for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Switches {
    /// `MCP_SINGLE_CONNECTION`: every pool has one session and runs one call at a time, and none beside it. Settings show
    /// it already.
    pub single_connection: bool,
    /// `MCP_DISABLE_HEALTH_CHECKS`: no session is probed for being idle, whatever its pool says; one on which a call ran
    /// out of time still is. Settings show it already, as a `health_check_interval` of ten years.
    pub disable_health_checks: bool,
    /// `MCP_ENABLE_MOCKS`: every server is replaced by the in-process test server.
    pub enable_mocks: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_documented_defaults_and_variables() {
        let limits = GlobalLimits::default();
        assert_eq!(
            (limits.max_total_connections, limits.max_connecting),
            (100, 4)
        );
        let variables: Vec<_> = GlobalLimits::settings()
            .into_iter()
            .map(|row| row.variable)
            .collect();
        assert_eq!(
            variables,
            ["MCP_MAX_TOTAL_CONNECTIONS", "MCP_MAX_CONNECTING"]
        );
    }
}
