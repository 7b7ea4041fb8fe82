//! One server's entry in a file: from its fields to a [`ServerConfig`].
//!
//! Fields mean what the clients that write them say they mean. What is unknown is kept in a list and otherwise
//! ignored, because every client adds fields of its own; what is wrong is collected, and costs this server only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::expand::Scope;
use crate::fields::Fields;
use crate::problem::{MOST_PROBLEMS, Place, Problem, nearest};
use crate::secret::Secret;
use crate::server::{HttpServer, ServerConfig, StdioServer, Transport};
use crate::settings::PoolSettings;
use crate::shown::Templates;
use crate::value::shown;
use crate::value_from::ValueFrom;
use crate::{env_file, file};

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
        parsed.server = reader
            .transport()
            .map(|transport| ServerConfig::new(transport).pool(parsed.pool.clone()));
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
    /// and so do we: it is most often meant as seconds.
    fn timeout(&mut self) -> Option<PoolSettings> {
        let value = self.fields.get("timeout")?;
        let at = self.at.key("timeout");
        match value.as_f64() {
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

    fn unknown_fields(&mut self) -> Vec<String> {
        let unknown: Vec<_> = self
            .fields
            .table
            .keys()
            .filter(|name| !KNOWN.contains(&name.as_str()) && !self.is_token(name))
            .cloned()
            .collect();
        for name in unknown.iter().take(MOST_PROBLEMS) {
            if let Some(near) = nearest(name, KNOWN.iter().copied()) {
                let note = self.at.key(name).problem("unknown field, ignored");
                self.fields
                    .notes
                    .push(note.hint(format!("did you mean {near}?")));
            }
        }
        unknown
    }

    /// FastMCP's field `auth`: a token, or the word `oauth`, which is none. Cursor keeps a table there.
    fn is_token(&self, field: &str) -> bool {
        field == "auth"
            && self
                .fields
                .get(field)
                .and_then(Value::as_str)
                .is_some_and(|word| word != "oauth")
    }

    fn pool(&mut self) -> PoolSettings {
        match self.fields.get("pool") {
            None => PoolSettings::new(),
            Some(table) => {
                PoolSettings::read(table, &self.at.key("pool"), &mut self.fields.problems)
            }
        }
    }

    fn transport(&mut self) -> Option<Transport> {
        let url = self
            .fields
            .first(&["httpUrl", "url", "serverUrl"])
            .map(|(field, _)| field);
        let (kind, kind_field) = self.kind()?;
        match (kind, url, self.fields.get("command").is_some()) {
            (Kind::Sse, Some("httpUrl"), _) => self.http("httpUrl"),
            (Kind::Sse, ..) => self.refuse(
                self.at.key(kind_field).problem("the HTTP+SSE transport is retired and not supported").hint(
                    "use \"type\": \"http\" with the server's streamable HTTP URL (often the same address with /mcp \
                     instead of /sse), or put a stdio bridge in front of it",
                ),
            ),
            (Kind::Stdio | Kind::Unsaid, None, true) | (Kind::Stdio, Some(_), true) => self.stdio(),
            (Kind::Http, Some(url), _) | (Kind::Unsaid, Some(url), false) => self.http(url),
            (Kind::Stdio, _, false) => self.refuse(self.at.key("command").problem("a stdio server needs a command")),
            (Kind::Http, None, _) => self.refuse(self.at.key("url").problem("an http server needs a url")),
            (Kind::Unsaid, Some(url), true) => self.refuse(
                self.at
                    .problem(format!("both command and {url} are given"))
                    .hint("remove one, or add \"type\": \"stdio\" or \"http\""),
            ),
            (Kind::Unsaid, None, false) => {
                let near = |name: &str| nearest(name, ["command", "url"]);
                let near = self.fields.table.keys().find_map(|name| Some((name, near(name)?)));
                let hint = match near {
                    Some((name, near)) => format!("did you mean {near} instead of {name}?"),
                    None => "a server needs one of them".to_owned(),
                };
                self.refuse(self.at.problem("neither command nor url is given").hint(hint))
            }
        }
    }

    /// With the field that says it. `None` is a kind that we do not have, reported.
    fn kind(&mut self) -> Option<(Kind, &'static str)> {
        let Some((field, value)) = self.fields.first(&["type", "transport", "transportType"])
        else {
            return Some((Kind::Unsaid, "type"));
        };
        let word = value
            .as_str()
            .map(|word| word.to_ascii_lowercase().replace(['-', '_'], ""));
        match word.as_deref() {
            Some("stdio" | "local") => Some((Kind::Stdio, field)),
            Some("http" | "streamablehttp" | "remote") => Some((Kind::Http, field)),
            Some("sse") => Some((Kind::Sse, field)),
            _ => {
                let problem = self
                    .at
                    .key(field)
                    .problem(format!("{} is not a transport we have", shown(value)));
                self.fields
                    .problems
                    .push(problem.hint("expected stdio, http or streamable-http"));
                None
            }
        }
    }

    fn stdio(&mut self) -> Option<Transport> {
        self.misplaced(&["headers"], "only an HTTP server has headers");
        let mut templates = Templates::default();
        let command = self.fields.text("command", &mut templates);
        let args = self.fields.list("args", &mut templates);
        let mut env = self.env_file();
        env.extend(
            self.fields
                .texts("env")
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value))),
        );
        let cwd = self
            .fields
            .text("cwd", &mut templates)
            .map(|cwd| self.in_workspace(&cwd));
        Some(Transport::Stdio(StdioServer {
            command: command?,
            args,
            env,
            cwd,
            templates,
        }))
    }

    fn http(&mut self, field: &'static str) -> Option<Transport> {
        self.misplaced(
            &["args", "env", "cwd", "envFile"],
            "only a stdio server has a process",
        );
        self.url = field;
        let mut templates = Templates::default();
        let url = self.fields.text(field, &mut templates);
        if let Some(template) = templates.0.remove(field) {
            templates.0.insert("url".to_owned(), template);
        }
        let (mut headers, headers_from) = self.headers();
        let given = headers
            .keys()
            .chain(headers_from.keys())
            .any(|name| name.eq_ignore_ascii_case("authorization"));
        if self.is_token("auth")
            && !given
            && let Some(token) = self.fields.text("auth", &mut Templates::default())
        {
            headers.insert("Authorization".to_owned(), format!("Bearer {token}"));
        }
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect();
        let url = url?;
        if url.trim_end_matches('/').ends_with("/sse") {
            let note = self.at.key(field).problem("the URL ends in /sse");
            let hint =
                "if the server speaks only the retired HTTP+SSE transport, it will not answer";
            self.fields.notes.push(note.hint(hint));
        }
        Some(Transport::Http(HttpServer {
            url,
            headers,
            headers_from,
            templates,
        }))
    }

    /// Those whose values stand there, and those whose values come from elsewhere.
    fn headers(&mut self) -> (BTreeMap<String, String>, BTreeMap<String, ValueFrom>) {
        let mut others = Vec::new();
        let texts = self
            .fields
            .texts_and("headers", |name, value| others.push((name, value)));
        let mut places = BTreeMap::new();
        for (name, value) in others {
            let at = self.at.key("headers").key(name);
            let Some(table) = value.as_object() else {
                let expected = "a text, or a table with env, file or command";
                self.fields.wrong_kind(&at, value, expected);
                continue;
            };
            let mut fields = self.fields.within(table, &at);
            let place = ValueFrom::read(&mut fields, |path| self.in_workspace(path));
            let (problems, notes) = (fields.problems, fields.notes);
            self.fields.problems.extend(problems);
            self.fields.notes.extend(notes);
            places.extend(place.map(|place| (name.to_owned(), place)));
        }
        (texts, places)
    }

    /// The variables of `envFile`.
    fn env_file(&mut self) -> BTreeMap<String, Secret> {
        let Some(path) = self.fields.text("envFile", &mut Templates::default()) else {
            return BTreeMap::new();
        };
        let path = self.in_workspace(&path);
        self.files.push(path.clone());
        match file::read(&path) {
            Ok(text) => {
                let (variables, strange) = env_file::parse(&text);
                let at = Place::new(path.to_string_lossy(), "");
                let note = |line| at.problem(format!("line {line} sets no variable"));
                self.fields.notes.extend(strange.into_iter().map(note));
                variables
                    .into_iter()
                    .map(|(name, value)| (name, Secret::new(value)))
                    .collect()
            }
            Err(problem) => {
                let message = format!("{}: {}", problem.source, problem.message);
                self.fields
                    .problems
                    .push(self.at.key("envFile").problem(message));
                BTreeMap::new()
            }
        }
    }

    fn in_workspace(&self, path: &str) -> PathBuf {
        self.workspace
            .map_or_else(|| PathBuf::from(path), |workspace| workspace.join(path))
    }

    fn misplaced(&mut self, fields: &[&str], why: &str) {
        for field in fields {
            if self.fields.get(field).is_some_and(|value| !is_empty(value)) {
                let note = self.at.key(field).problem(format!("ignored: {why}"));
                self.fields.notes.push(note);
            }
        }
    }

    fn refuse(&mut self, problem: Problem) -> Option<Transport> {
        self.fields.problems.push(problem);
        None
    }
}

enum Kind {
    Stdio,
    Http,
    Sse,
    Unsaid,
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
        _ => false,
    }
}

/// The fields that mean something here.
const KNOWN: &[&str] = &[
    "type",
    "transport",
    "transportType",
    "command",
    "args",
    "env",
    "cwd",
    "envFile",
    "url",
    "httpUrl",
    "serverUrl",
    "headers",
    "timeout",
    "disabled",
    "enabled",
    "description",
    "pool",
];
