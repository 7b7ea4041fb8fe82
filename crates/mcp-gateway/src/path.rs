//! What a client sees: all servers, one, or those of a profile.

use std::fmt;

/// The part of the servers that an address serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    All,
    Server(String),
    Profile(String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("/mcp"),
            Self::Server(name) => write!(f, "/mcp/s/{name}"),
            Self::Profile(name) => write!(f, "/mcp/p/{name}"),
        }
    }
}
