//! The transport of an entry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Reader;
use crate::diagnostic::{Place, Problem, nearest};
use crate::redacted::{Template, Templates};
use crate::secret::Secret;
use crate::server::{HttpServer, StdioServer, Transport};
use crate::value::shown;
use crate::value_from::ValueFrom;
use crate::{env_file, file};

impl<'a> Reader<'a> {
    pub(super) fn transport(&mut self) -> Option<Transport> {
        let url = self.first_of(URLS).map(|(field, _)| field);
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
        let Some((field, value)) = self.first_of(KINDS) else {
            return Some((Kind::Unsaid, "type"));
        };
        let word = value
            .as_str()
            .map(|word| word.to_ascii_lowercase().replace(['-', '_'], ""));
        match word.as_deref() {
            Some(word) if STDIO_WORDS.contains(&word) => Some((Kind::Stdio, field)),
            Some(word) if HTTP_WORDS.contains(&word) => Some((Kind::Http, field)),
            Some(word) if SSE_WORDS.contains(&word) => Some((Kind::Sse, field)),
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

    /// The first of several names for one thing. The others that are there mean nothing, and it is said.
    fn first_of(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        let (first, value) = self.fields.first(names)?;
        let others: Vec<_> = names
            .iter()
            .copied()
            .filter(|name| *name != first)
            .collect();
        self.misplaced(&others, &format!("{first} says it already"));
        Some((first, value))
    }

    fn stdio(&mut self) -> Option<Transport> {
        self.misplaced(URLS, "this is a stdio server, which its command reaches");
        self.misplaced(&["headers", "auth"], "only an HTTP server has headers");
        let mut templates = Templates::default();
        let command = self.fields.text("command", &mut templates);
        let args = self.fields.list("args", &mut templates);
        let mut env = self.env_file();
        let of_entry = self.fields.texts("env", &mut templates);
        for name in env.keys().filter(|name| !of_entry.contains_key(*name)) {
            let template = Template {
                text: "envFile".to_owned(),
                values: Vec::new(),
            };
            templates.0.insert(format!("env.{name}"), template);
        }
        let of_entry = of_entry.into_iter();
        env.extend(of_entry.map(|(name, value)| (name, Secret::new(value))));
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
            &["command"],
            "this is an HTTP server, which its URL reaches",
        );
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
        let (mut headers, headers_from) = self.headers(&mut templates);
        let given = headers
            .keys()
            .chain(headers_from.keys())
            .any(|name| name.eq_ignore_ascii_case("authorization"));
        if self.is_token("auth")
            && !given
            && let Some(token) = self.fields.text("auth", &mut templates)
        {
            if let Some(template) = templates.0.remove("auth") {
                templates
                    .0
                    .insert("headers.Authorization".to_owned(), template);
            }
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
    fn headers(
        &mut self,
        templates: &mut Templates,
    ) -> (BTreeMap<String, String>, BTreeMap<String, ValueFrom>) {
        let mut others = Vec::new();
        let texts = self.fields.texts_and("headers", templates, |name, value| {
            others.push((name, value));
        });
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

/// Names for one thing, in the order in which they count.
pub(crate) const URLS: &[&str] = &["httpUrl", "url", "serverUrl"];
pub(crate) const KINDS: &[&str] = &["type", "transport", "transportType"];

/// What clients call a transport, in lower case and without `-` and `_`.
pub(crate) const STDIO_WORDS: &[&str] = &["stdio", "local"];
pub(crate) const HTTP_WORDS: &[&str] = &["http", "streamablehttp", "remote"];
pub(crate) const SSE_WORDS: &[&str] = &["sse"];
