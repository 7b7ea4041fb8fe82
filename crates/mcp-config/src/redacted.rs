//! Servers as they may be shown.
//!
//! A token reaches a server in many ways: in a header, in the environment, but also as `--token=${TOKEN}` or
//! `?key=${KEY}`. So `Debug` and JSON of a server print secrets as `***`, and every expanded text as its file wrote
//! it, with the reference and not with what it stands for.

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

/// Texts as they stood in the file before expansion, by field, for showing.
///
/// Two servers are the same if they run the same, however their files wrote it: templates take no part in equality.
#[derive(Clone, Default)]
pub(crate) struct Templates(pub(crate) BTreeMap<String, Template>);

#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) text: String,
    /// What its variables stand for.
    pub(crate) values: Vec<Secret>,
}

impl Templates {
    fn show<'a>(&'a self, field: &str, value: &'a str) -> &'a str {
        self.text(field).unwrap_or(value)
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(|template| template.text.as_str())
    }

    /// What variables stand for in a field, or in one of its items.
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

/// A server as it may be shown: both `Debug` and JSON print this.
#[derive(Debug, Serialize)]
struct ShownStdio<'a> {
    command: &'a str,
    args: Vec<Cow<'a, str>>,
    env: &'a BTreeMap<String, Secret>,
    cwd: Option<&'a Path>,
}

#[derive(Debug, Serialize)]
struct ShownHttp<'a> {
    url: String,
    headers: BTreeMap<&'a str, ShownHeader<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownHeader<'a> {
    Value(&'a Secret),
    From(&'a ValueFrom),
}

impl fmt::Debug for ShownHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::From(place) => place.fmt(f),
        }
    }
}

impl StdioServer {
    fn shown(&self) -> ShownStdio<'_> {
        let show = |(index, arg)| self.templates.show(&format!("args[{index}]"), arg);
        let args = self.args.iter().map(String::as_str).enumerate();
        ShownStdio {
            command: self.templates.show("command", &self.command),
            args: secret_scan::shown(&args.map(show).collect::<Vec<_>>()),
            env: &self.env,
            cwd: self
                .cwd
                .as_deref()
                .map(|cwd| self.templates.text("cwd").map_or(cwd, Path::new)),
        }
    }
}

impl HttpServer {
    fn shown(&self) -> ShownHttp<'_> {
        ShownHttp {
            url: secret_scan::shown_url(self.templates.show("url", &self.url)),
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), ShownHeader::Value(value)))
                .chain(
                    self.headers_from
                        .iter()
                        .map(|(name, place)| (name.as_str(), ShownHeader::From(place))),
                )
                .collect(),
        }
    }
}

impl fmt::Debug for StdioServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for StdioServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

impl Serialize for HttpServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}
