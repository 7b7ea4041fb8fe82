//! One server's entry in a file: from its fields to a [`ServerConfig`].
//!
//! Fields mean what their clients define. Unknown fields are listed and ignored, because every client adds its own. A problem
//! disables this server only.

mod transport;
mod unsupported;

#[cfg(feature = "schema")]
pub(crate) use transport::{HTTP_WORDS, KINDS, SSE_WORDS, STDIO_WORDS, URLS};

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::aggregator::Exposure;
use crate::diagnostic::{Place, Problem};
use crate::expand::Scope;
use crate::fields::Fields;
use crate::server::ServerConfig;
use crate::settings::PoolSettings;
use crate::value::shown;

/// What an entry says.
#[derive(Debug, Default)]
pub(crate) struct ParsedEntry {
    /// The server, if its transport could be read.
    pub(crate) server: Option<ServerConfig>,
    /// Why the file itself switches it off.
    pub(crate) switched_off: Option<String>,
    pub(crate) description: Option<String>,
    /// The table `pool`.
    pub(crate) pool: PoolSettings,
    /// The field `timeout`, as a layer below the entry's own `pool` table.
    pub(crate) timeout: Option<PoolSettings>,
    pub(crate) unknown_fields: Vec<String>,
    /// Files the entry refers to.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<Problem>,
}

/// Reads the entry at `at`. Relative paths are those of `workspace`.
pub(crate) fn read(
    entry: &Value,
    at: &Place,
    scope: &Scope<'_>,
    workspace: Option<&Path>,
) -> ParsedEntry {
    let Some(table) = entry.as_object() else {
        let problem = at.problem(format!(
            "{} is not allowed here, expected a table with command or url",
            shown(entry)
        ));
        return ParsedEntry {
            problems: vec![problem],
            ..ParsedEntry::default()
        };
    };
    let mut reader = Reader {
        fields: Fields::new(table, at, scope),
        at,
        workspace,
        files: Vec::new(),
        url: "url",
    };
    let mut parsed = ParsedEntry {
        switched_off: reader.switched_off(),
        description: reader
            .fields
            .get("description")
            .and_then(Value::as_str)
            .map(str::to_owned),
        timeout: reader.timeout(),
        unknown_fields: reader.unknown_fields(),
        ..ParsedEntry::default()
    };
    if parsed.switched_off.is_none() {
        parsed.pool = reader.pool();
        let exposure = reader.exposure();
        parsed.server = reader.transport().map(|transport| {
            let server = ServerConfig::new(transport).pool(parsed.pool.clone());
            server.exposure(exposure)
        });
        if let Some(server) = &parsed.server {
            server.check(at, reader.url, &mut reader.fields.problems);
        }
    }
    parsed.files = reader.files;
    parsed.problems = reader.fields.problems;
    parsed.notes = reader.fields.notes;
    parsed
}

struct Reader<'a> {
    fields: Fields<'a>,
    at: &'a Place,
    workspace: Option<&'a Path>,
    files: Vec<PathBuf>,
    /// The field that the URL stands in: clients have several names for it.
    url: &'static str,
}

impl Reader<'_> {
    fn switched_off(&mut self) -> Option<String> {
        let mut reason = None;
        for (field, meaning) in [("disabled", true), ("enabled", false)] {
            match self.fields.get(field) {
                None => {}
                Some(Value::Bool(value)) if *value == meaning => {
                    reason = Some(format!("{field} is {value}"));
                }
                Some(Value::Bool(_)) => {}
                Some(other) => self
                    .fields
                    .wrong_kind(&self.at.key(field), other, "true or false"),
            }
        }
        reason
    }

    /// Milliseconds, as Claude Code, Gemini CLI and FastMCP have it. Claude Code takes no notice of less than a second,
    /// and so do we: it is most often meant as seconds. Cline and Roo write seconds, an hour at most, and a list of tools
    /// that run without a question beside them; other clients with such a list write milliseconds.
    fn timeout(&mut self) -> Option<PoolSettings> {
        let value = self.fields.get("timeout")?;
        let at = self.at.key("timeout");
        let of_cline = ["autoApprove", "alwaysAllow"]
            .iter()
            .any(|field| self.fields.get(field).is_some());
        match value.as_f64() {
            Some(seconds) if of_cline && (1.0..=3600.0).contains(&seconds) => {
                Some(PoolSettings::new().call_timeout(Duration::from_secs_f64(seconds)))
            }
            Some(millis) if (1000.0..1e11).contains(&millis) => {
                Some(PoolSettings::new().call_timeout(Duration::from_secs_f64(millis / 1000.0)))
            }
            Some(_) => {
                let note = at.problem(format!("{value} is ignored"));
                let hint =
                    "it is in milliseconds and at least 1000; pool.call_timeout takes seconds";
                self.fields.notes.push(note.hint(hint));
                None
            }
            None => {
                self.fields
                    .wrong_kind(&at, value, "a number of milliseconds");
                None
            }
        }
    }

    /// The table `aggregator`.
    fn exposure(&mut self) -> Exposure {
        match self.fields.get("aggregator") {
            None => Exposure::new(),
            Some(table) => {
                let at = self.at.key("aggregator");
                Exposure::read(table, &at, &mut self.fields.problems)
            }
        }
    }

    fn pool(&mut self) -> PoolSettings {
        match self.fields.get("pool") {
            None => PoolSettings::new(),
            Some(table) => {
                PoolSettings::read(table, &self.at.key("pool"), &mut self.fields.problems)
            }
        }
    }
}
