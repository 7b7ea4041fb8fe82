//! The health of a server, judged from its snapshot.

mod rules;

pub use rules::HealthRules;
use serde::Serialize;

/// The health of one server or of all. Later values are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nothing is wrong.
    #[default]
    Healthy,
    /// Something is wrong, but calls are served.
    Warning,
    /// Calls fail, or too many of them.
    Critical,
}

/// The health of a server, with reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Health {
    /// The worst of the reasons.
    pub status: HealthStatus,
    /// What is wrong, the worst first.
    pub reasons: Vec<HealthReason>,
}

/// A reason why a server is not healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HealthReason {
    /// How serious it is.
    pub status: HealthStatus,
    /// What is wrong.
    pub message: String,
}

impl Health {
    /// Adds a reason for a warning.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.add(HealthStatus::Warning, message.into());
    }

    /// Adds a reason that is critical.
    pub fn critical(&mut self, message: impl Into<String>) {
        self.add(HealthStatus::Critical, message.into());
    }

    fn add(&mut self, status: HealthStatus, message: String) {
        self.status = self.status.max(status);
        let worse = self.reasons.partition_point(|known| known.status >= status);
        self.reasons.insert(worse, HealthReason { status, message });
    }
}

impl HealthStatus {
    /// Its number in `mcp_pool_health`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// `healthy`, `warning` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
