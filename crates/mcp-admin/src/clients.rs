//! The clients of a gateway, which hands them to the status API.

use serde::Serialize;
use utoipa::ToSchema;

/// What a gateway tells of its clients. The status API knows no gateway.
pub trait Clients: Send + Sync {
    /// The clients whose sessions are in use.
    fn clients(&self) -> Vec<Client>;

    /// The tools that are not what they were at their first use.
    fn changed_tools(&self) -> Vec<ChangedTool>;
}

/// A client of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Client {
    /// On whose behalf it comes.
    pub principal: String,
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol version that it speaks.
    pub protocol_version: String,
    /// `legacy` or `modern`.
    pub era: String,
    /// What it sees: `/mcp`, `/mcp/s/time`.
    pub path: String,
    /// Its calls so far.
    pub calls: u64,
    /// Its calls under way.
    pub in_flight: u64,
    /// Seconds since its last call or stream ended; absent while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<f64>,
}

/// A tool that is not what it was at its first use.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ChangedTool {
    /// The server that has it.
    pub server: String,
    /// What its server calls it.
    pub tool: String,
    /// The hash of what it is now: `mcp-pool approve SERVER.TOOL --sha256 HASH` approves exactly that.
    pub new_sha256: String,
    /// What differs, a line each.
    pub differences: Vec<String>,
}
