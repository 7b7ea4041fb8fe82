//! Redacted views of servers, for `Debug` and JSON.
//!
//! A token may be in a header or variable, in `--token=${TOKEN}` or in `?key=${KEY}`. Secrets print as `***`. An expanded text
//! prints as its file wrote it, with the reference and not its value.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

use serde::{Serialize, Serializer};

use crate::secret::Secret;
use crate::secret_scan;
use crate::server::{HttpServer, StdioServer};
use crate::value_from::ValueFrom;

/// Texts of the file before expansion, by field.
///
/// Two servers are the same if they run the same, however their files wrote it: templates take no part in equality.
#[derive(Clone, Default)]
pub(crate) struct Templates(pub(crate) BTreeMap<String, Template>);

#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) text: String,
    /// The values of its variables.
    pub(crate) values: Vec<Secret>,
}

impl Templates {
    fn show<'a>(&'a self, field: &str, value: &'a str) -> &'a str {
        self.text(field).unwrap_or(value)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(|template| template.text.as_str())
    }

    /// The values of variables in a field or its items.
    pub(crate) fn values(&self, field: &str) -> impl Iterator<Item = &Secret> {
        let within = move |name: &str| {
            let rest = name.strip_prefix(field);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        };
        let of_field = self.0.iter().filter(move |(name, _)| within(name));
        of_field.flat_map(|(_, template)| &template.values)
    }
}

impl PartialEq for Templates {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Templates {}

impl Hash for Templates {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A redacted server: both `Debug` and JSON print this.
#[derive(Debug, Serialize)]
struct RedactedStdio<'a> {
    command: &'a str,
    args: Vec<Cow<'a, str>>,
    env: &'a BTreeMap<String, Secret>,
    cwd: Option<&'a Path>,
}

#[derive(Debug, Serialize)]
struct RedactedHttp<'a> {
    url: String,
    headers: BTreeMap<&'a str, RedactedHeader<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RedactedHeader<'a> {
    Value(&'a Secret),
    From(&'a ValueFrom),
}

impl fmt::Debug for RedactedHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::From(place) => place.fmt(f),
        }
    }
}

impl StdioServer {
    fn redacted(&self) -> RedactedStdio<'_> {
        let show = |(index, arg)| self.templates.show(&format!("args[{index}]"), arg);
        let args = self.args.iter().map(String::as_str).enumerate();
        RedactedStdio {
            command: self.templates.show("command", &self.command),
            args: secret_scan::redacted(&args.map(show).collect::<Vec<_>>()),
            env: &self.env,
            cwd: self
                .cwd
                .as_deref()
                .map(|cwd| self.templates.text("cwd").map_or(cwd, Path::new)),
        }
    }
}

impl HttpServer {
    fn redacted(&self) -> RedactedHttp<'_> {
        RedactedHttp {
            url: secret_scan::redacted_url(self.templates.show("url", &self.url)),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), RedactedHeader::Value(value)))
                .chain(
                    self.headers_from
                        .iter()
                        .map(|(name, place)| (name.as_str(), RedactedHeader::From(place))),
                )
                .collect(),
        }
    }
}

impl fmt::Debug for StdioServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl Serialize for StdioServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}

impl Serialize for HttpServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}
