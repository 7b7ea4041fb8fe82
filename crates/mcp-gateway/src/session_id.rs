//! Session ids that hold their session.
//!
//! `<replica>.<sealed>`: the replica is readable, so that a balancer can route by it. The rest is sealed, and says all that
//! is needed to go on with the session in another process. An id that does not open, is too old, or belongs to another
//! principal is as unknown as any.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{
    keys::{Keys, hash, short},
    principal::Principal,
};

/// What a client said of itself when it initialized.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Opened {
    /// Seconds since 1970.
    #[serde(rename = "t")]
    issued: u64,
    #[serde(rename = "p")]
    principal: String,
    #[serde(rename = "c")]
    pub(crate) client_name: String,
    #[serde(rename = "w")]
    pub(crate) client_version: String,
    /// Capabilities of the client.
    #[serde(rename = "a")]
    pub(crate) capabilities: serde_json::Value,
    #[serde(rename = "v")]
    pub(crate) protocol_version: String,
    #[serde(rename = "u")]
    path: String,
    /// The process that made it.
    #[serde(rename = "i")]
    pub(crate) incarnation: u32,
}

impl Opened {
    pub(crate) fn new(
        principal: &Principal,
        path: &str,
        (client_name, client_version): (String, String),
        capabilities: serde_json::Value,
        protocol_version: String,
        incarnation: u32,
    ) -> Self {
        Self {
            issued: seconds(),
            principal: name_of(principal),
            client_name,
            client_version,
            capabilities,
            protocol_version,
            path: path.to_owned(),
            incarnation,
        }
    }

    pub(crate) fn seal(&self, keys: &Keys, replica: &str) -> String {
        let content = serde_json::to_vec(self).expect("a struct of text");
        format!("{replica}.{}", keys.seal(&purpose(replica), &content))
    }

    /// What an id holds for this principal at this path, if it is not older than `max_age`.
    pub(crate) fn open(
        id: &str,
        keys: &Keys,
        principal: &Principal,
        path: &str,
        max_age: Duration,
    ) -> Option<Self> {
        let (replica, sealed) = id.split_once('.')?;
        let content = keys.open(&purpose(replica), sealed)?;
        let opened: Self = serde_json::from_slice(&content).ok()?;
        let age = seconds().saturating_sub(opened.issued);
        let valid = opened.principal == name_of(principal)
            && opened.path == path
            && age <= max_age.as_secs();
        valid.then_some(opened)
    }
}

/// A name of a session that says nothing of its id.
pub(crate) fn scope_of(id: &str) -> String {
    short(&hash(&[b"session", id.as_bytes()]))
}

fn name_of(principal: &Principal) -> String {
    short(&hash(&[b"principal", principal.to_string().as_bytes()]))
}

fn purpose(replica: &str) -> String {
    format!("mcp-session-id {replica}")
}

#[allow(
    clippy::disallowed_methods,
    reason = "an age that outlives the process"
)]
fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
