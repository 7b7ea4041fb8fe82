//! Exit codes, as MCP Inspector's command line has them where it has one.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// Wrong usage or configuration.
    Usage = 1,
    /// A fault of this program.
    Internal = 2,
    /// The server asks for credentials, or refuses those it got.
    Authentication = 3,
    /// The server or the daemon cannot be reached, or did not answer in time.
    Unreachable = 4,
    /// The tool reported an error.
    ToolError = 5,
    /// A policy forbids it.
    Blocked = 6,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// That of a failed call, by the name of its [kind](mcp_pooled_tools::ErrorKind::as_str).
    pub(crate) fn of_kind(kind: &str) -> Self {
        match kind {
            "authentication" => Self::Authentication,
            "validation" | "config" => Self::Usage,
            "protocol" => Self::ToolError,
            "cancelled" => Self::Interrupted,
            "shutting_down" | "task" => Self::Internal,
            _ => Self::Unreachable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
