//! Output: what was asked for on standard output, everything else on standard error.
//!
//! `anstream` takes the colours away where the reader is no terminal, or where `NO_COLOR` or `TERM=dumb` asks for it.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::failure::Failure;

/// Writes to standard output and standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) quiet: bool,
    pub(crate) verbose: u8,
}

impl Output {
    /// Writes a text and a line break to standard output.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        written(writeln!(anstream::stdout().lock(), "{}", text.as_ref()))
    }

    /// Writes one JSON document to standard output.
    pub(crate) fn json(self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).map_err(Failure::internal)?;
        written(writeln!(io::stdout().lock(), "{text}"))
    }

    /// Writes a remark to standard error, unless `--quiet` was given.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            // Nothing depends on it.
            let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
        }
    }

    /// Writes a remark to standard error if `--verbose` was given.
    pub(crate) fn detail(self, text: impl AsRef<str>) {
        if self.verbose > 0 {
            self.note(text);
        }
    }

    /// Writes why the program ends.
    pub(crate) fn failure(self, failure: &Failure) {
        let _ = writeln!(anstream::stderr().lock(), "{failure}");
    }
}

/// A reader that went away, as `head` does, is no failure.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::internal(format!(
            "cannot write the output: {error}"
        ))),
        _ => Ok(()),
    }
}
