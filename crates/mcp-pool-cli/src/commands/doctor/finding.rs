//! A finding: what is wrong, why, and how to mend it.

use std::path::PathBuf;

use serde::Serialize;

use super::catalog::{Kind, Section, Severity};

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) id: &'static str,
    pub(super) section: Section,
    pub(super) severity: Severity,
    /// The server that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<String>,
    pub(super) message: String,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    /// The last lines that the server wrote to stderr.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stderr: Vec<String>,
    /// What to do: a command if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
    /// What `--fix` does.
    #[serde(skip)]
    pub(super) mend: Option<Mend>,
}

/// What `--fix` may do.
#[derive(Clone, Debug)]
pub(super) enum Mend {
    /// Takes a file or folder from other users.
    MakePrivate(PathBuf),
    /// Removes a socket that has no daemon.
    RemoveSocket(PathBuf),
}

impl Finding {
    pub(super) fn new(kind: Kind, message: String) -> Self {
        Self {
            id: kind.id,
            section: kind.section,
            severity: kind.severity,
            server: None,
            message,
            cause: None,
            stderr: Vec::new(),
            fix: None,
            mend: None,
        }
    }

    pub(super) fn of(mut self, server: impl Into<String>) -> Self {
        self.server = Some(server.into());
        self
    }

    pub(super) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Keeps the last lines.
    pub(super) fn stderr(mut self, lines: &[String]) -> Self {
        let first = lines.len().saturating_sub(MAX_LINES);
        self.stderr = lines[first..].to_vec();
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub(super) fn mend(mut self, mend: Mend) -> Self {
        self.mend = Some(mend);
        self
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

const MAX_LINES: usize = 10;
