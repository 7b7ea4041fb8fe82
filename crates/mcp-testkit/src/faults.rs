//! Faults of a server from its start. Faults at a call are tools (`hostile.rs`).
//!
//! Each fault is one of real servers: wrappers that print, processes that hang, servers that fail under two calls at once. All
//! can be combined. On a connection inside the test's own process, an exit drops the connection.

use std::{path::PathBuf, str::FromStr, time::Duration};

/// The faults of one server; the default has none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// Exit (code 0) after answering this many tool calls.
    pub exit_after_calls: Option<u64>,
    /// Exit (code 1) when this tool is called, with no answer.
    pub exit_mid_call: Option<String>,
    /// Exit at once with this code, before anything is read.
    pub exit_at_start: Option<u8>,
    /// Print this on stderr at the start.
    pub stderr: Option<String>,
    /// Where the server falls silent, if it does.
    pub hang: Option<Hang>,
    /// Close stdout after answering this many tool calls, and live on.
    pub close_stdout_after: Option<u64>,
    /// Print lines that are not JSON-RPC before and between the replies.
    pub garbage: bool,
    /// Write this many bytes to stderr at the start, blocking until it is read.
    pub flood_stderr: Option<usize>,
    /// Write unsolicited messages without end, from the first tool call on.
    pub flood: Option<Flood>,
    /// Outlive SIGTERM.
    pub ignore_sigterm: bool,
    /// Outlive the end of stdin.
    pub ignore_eof: bool,
    /// Spawn a grandchild at the start.
    pub grandchild: Option<Grandchild>,
    /// Fail the first openings.
    pub fail_first: Option<FailFirst>,
    /// Read nothing for this long.
    pub slow_start: Option<Duration>,
    /// Handle one request at a time, in the order of their arrival.
    pub single_threaded: bool,
    /// Answer a tool call that overlaps another with an error result.
    pub forbid_overlap: bool,
}

/// Where a server falls silent while its process lives on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hang {
    /// Reads nothing and answers nothing from the start.
    BeforeHandshake,
    /// Answers the handshake, then reads but answers nothing.
    AfterHandshake,
    /// Answers the handshake, then stops reading, so that the client's pipe fills.
    FreezeStdin,
}

/// What a server writes without end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flood {
    /// Requests `ping`.
    Pings,
    /// Requests `roots/list`.
    Roots,
    /// Log messages.
    Logs,
    /// Progress for tokens of its own invention.
    Progress,
    /// Log messages of a mebibyte.
    Large,
    /// Lists that are short on the connection and large in memory, as replies to no request.
    Heavy,
    /// Lines that are no messages.
    Noise,
}

impl FromStr for Flood {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "pings" => Self::Pings,
            "roots" => Self::Roots,
            "logs" => Self::Logs,
            "progress" => Self::Progress,
            "large" => Self::Large,
            "heavy" => Self::Heavy,
            "noise" => Self::Noise,
            _ => return Err(format!("no such flood: {text}")),
        })
    }
}

/// How a grandchild ends once its parent is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grandchild {
    /// At the end of the stdin it inherited, as the server behind an `npx` wrapper does.
    HeedsStdin,
    /// Only by a signal, as a daemon left behind does.
    IgnoresStdin,
    /// Only by a signal to itself: it has a session of its own, as a browser does.
    Detached,
}

/// The first openings fail, later ones succeed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailFirst {
    /// How many fail.
    pub openings: u64,
    /// How they fail.
    pub how: OpeningFailure,
    /// The file that counts openings across processes; without it each server counts its own.
    pub state_file: Option<PathBuf>,
}

/// What a failed opening looks like to the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpeningFailure {
    /// `initialize` and `server/discover` are answered with a JSON-RPC error.
    Error,
    /// The process exits (code 1) before it reads anything.
    Exit,
}

impl FromStr for Grandchild {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "heeds" => Ok(Self::HeedsStdin),
            "ignores" => Ok(Self::IgnoresStdin),
            "detached" => Ok(Self::Detached),
            _ => Err(format!(
                "no such grandchild: {text} (heeds, ignores or detached)"
            )),
        }
    }
}

impl Grandchild {
    pub(crate) fn as_argument(self) -> &'static str {
        match self {
            Self::HeedsStdin => "heeds",
            Self::IgnoresStdin => "ignores",
            Self::Detached => "detached",
        }
    }
}
