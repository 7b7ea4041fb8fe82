//! What a command says when it fails: what failed, why, and a command that mends it.

use std::fmt;

use mcp_pooled_tools::Error;

use crate::exit::Exit;

/// The end of a command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    /// Further lines, such as the last ones of the server's standard error.
    details: Vec<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            details: Vec::new(),
            fix: None,
        }
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A fault of this program, or of the system under it.
    pub(crate) fn internal(message: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, message)
    }

    /// Adds lines that say why.
    pub(crate) fn details(mut self, lines: impl IntoIterator<Item: Into<String>>) -> Self {
        self.details.extend(lines.into_iter().map(Into::into));
        self
    }

    /// Adds what to do: a command if there is one.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for line in &self.details {
            write!(f, "\n  {line}")?;
        }
        match &self.fix {
            Some(fix) => write!(f, "\nFix: {fix}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    /// A failed call, with the exit code of its kind.
    fn from(error: Error) -> Self {
        let stderr = error.stderr().to_vec();
        Self::new(exit_of(&error), error).details(stderr)
    }
}

/// What the daemon passes on of a failure of its own is an error of the protocol, which says what kind it was.
fn exit_of(error: &Error) -> Exit {
    let data = error.protocol().and_then(|error| error.data.as_ref());
    match data.filter(|data| data["source"] == "mcp-pool") {
        None => Exit::of_kind(error.kind().as_str()),
        Some(data) if data["phase"] == "authorize" => Exit::Blocked,
        Some(data) => match data["kind"].as_str() {
            Some(kind) => Exit::of_kind(kind),
            // What does not exist is refused before anything is sent.
            None if data["phase"].is_null() => Exit::Usage,
            None => Exit::Unreachable,
        },
    }
}
