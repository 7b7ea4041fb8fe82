//! One server: its transport and the settings of its pool.
//!
//! It can be compared and hashed: a changed server needs a new pool, and an unchanged one keeps its sessions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::aggregator::Exposure;
use crate::diagnostic::{ConfigError, Place, Problem};
use crate::redacted::Templates;
use crate::secret::Secret;
use crate::secret_forms::{basic_of_user, percent_encoded};
use crate::secret_scan;
use crate::settings::PoolSettings;
use crate::value_from::ValueFrom;

/// A server as a file or a program describes it.
///
/// ```
/// use mcp_config::{PoolSettings, ServerConfig, Transport};
///
/// let server = ServerConfig::stdio("npx")
///     .args(["-y", "@modelcontextprotocol/server-github"])
///     .env("GITHUB_TOKEN", "secret")
///     .pool(PoolSettings::new().max_connections(4));
/// let Transport::Stdio(stdio) = server.transport() else { unreachable!() };
/// assert_eq!(stdio.args.len(), 2);
/// assert!(!format!("{server:?}").contains("secret"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ServerConfig {
    transport: Transport,
    #[serde(skip_serializing_if = "PoolSettings::is_empty")]
    pool: PoolSettings,
    #[serde(skip)]
    exposure: Exposure,
    #[serde(skip)]
    wrong_setters: Vec<WrongSetter>,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Transport {
    /// A child process that speaks over its standard input and output.
    Stdio(StdioServer),
    /// A URL that speaks streamable HTTP.
    Http(HttpServer),
}

/// A server started as a child process.
///
/// `Debug` and JSON show values of the environment as `***`, and arguments as the file wrote them: `${TOKEN}`, not
/// what it stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StdioServer {
    /// The program: a path, or a name to look up in `PATH`.
    pub command: String,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Variables for its environment, beside the safe ones every server gets.
    pub env: BTreeMap<String, Secret>,
    /// The folder it is started in; by default that of this process.
    pub cwd: Option<PathBuf>,
    pub(crate) templates: Templates,
}

/// A server reached by streamable HTTP.
///
/// `Debug` and JSON show values of headers as `***`, and the URL as the file wrote it, without a password or query.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HttpServer {
    /// Where it listens.
    pub url: String,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Secret>,
    /// Headers whose values are read when a session opens, and again when the server has refused them.
    pub headers_from: BTreeMap<String, ValueFrom>,
    pub(crate) templates: Templates,
}

/// A setter that does not fit the transport. It is reported by [`ServerConfig::validate`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WrongSetter {
    field: &'static str,
    message: &'static str,
    hint: &'static str,
}

impl ServerConfig {
    /// A server started as a child process: a program's name, or its path.
    pub fn stdio(command: impl Into<String>) -> Self {
        Self::new(Transport::Stdio(StdioServer {
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            templates: Templates::default(),
        }))
    }

    /// A server reached by streamable HTTP at `url`.
    pub fn http(url: impl Into<String>) -> Self {
        Self::new(Transport::Http(HttpServer {
            url: url.into(),
            headers: BTreeMap::new(),
            headers_from: BTreeMap::new(),
            templates: Templates::default(),
        }))
    }

    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            pool: PoolSettings::new(),
            exposure: Exposure::new(),
            wrong_setters: Vec::new(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(self, arg: impl Into<String>) -> Self {
        self.args([arg])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        match &mut self.transport {
            Transport::Stdio(stdio) => stdio.args.extend(args.into_iter().map(Into::into)),
            Transport::Http(_) => self.wrong_setter(
                "args",
                NO_PROCESS,
                ".header(..) sets what an HTTP server receives",
            ),
        }
        self
    }

    /// Sets a variable of the process's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        match &mut self.transport {
            Transport::Stdio(stdio) => {
                stdio.env.insert(name.into(), value.into());
            }
            Transport::Http(_) => self.wrong_setter(
                "env",
                NO_PROCESS,
                ".header(..) sets what an HTTP server receives",
            ),
        }
        self
    }

    /// Sets the folder the process is started in.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        match &mut self.transport {
            Transport::Stdio(stdio) => {
                stdio.cwd = Some(dir.into());
                stdio.templates.0.remove("cwd");
            }
            Transport::Http(_) => self.wrong_setter("cwd", NO_PROCESS, "remove it"),
        }
        self
    }

    /// Sets a header sent with every request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        let name = name.into();
        if let Some(http) = self.http_without(&name) {
            http.headers.insert(name, value.into());
        }
        self
    }

    /// Sets a header whose value is read when a session opens, and again when the server has refused it (401).
    #[must_use]
    pub fn header_from(mut self, name: impl Into<String>, place: ValueFrom) -> Self {
        let name = name.into();
        if let Some(http) = self.http_without(&name) {
            http.headers_from.insert(name, place);
        }
        self
    }

    /// The HTTP server, with this header unset.
    fn http_without(&mut self, header: &str) -> Option<&mut HttpServer> {
        if matches!(self.transport, Transport::Stdio(_)) {
            self.wrong_setter(
                "headers",
                "a stdio server has no headers",
                ".env(..) sets what its process receives",
            );
        }
        let Transport::Http(http) = &mut self.transport else {
            return None;
        };
        http.headers
            .retain(|name, _| !name.eq_ignore_ascii_case(header));
        http.headers_from
            .retain(|name, _| !name.eq_ignore_ascii_case(header));
        Some(http)
    }

    /// Sets what this server's pool does differently; settings given before stay unless given again.
    #[must_use]
    pub fn pool(mut self, settings: PoolSettings) -> Self {
        self.pool = settings.over(self.pool);
        self
    }

    /// Sets what is exposed of this server where many are one, in place of what was set before.
    #[must_use]
    pub fn exposure(mut self, exposure: Exposure) -> Self {
        self.exposure = exposure;
        self
    }

    /// What is exposed of this server where many are one.
    pub fn exposed(&self) -> &Exposure {
        &self.exposure
    }

    /// How the server is reached.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// What is set for this server's pool.
    pub fn pool_settings(&self) -> &PoolSettings {
        &self.pool
    }

    /// Every secret in the way the server is reached, in every form in which a message may quote it: values of its
    /// environment and headers, what looks like a secret in its arguments and URL, and what variables stand for there, but
    /// for well-known ones such as `HOME` and `PATH`. Values that are asked for later ([`ValueFrom`]) are not among them.
    pub fn secrets(&self) -> Vec<Secret> {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.secrets(),
            Transport::Http(http) => http.secrets(),
        }
    }

    /// Whether this server can be used as it is described.
    ///
    /// # Errors
    /// Everything that is wrong: an empty command, a URL that is none, a setter that does not fit the transport, a
    /// setting outside its limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check(&Place::new("code", ""), "url", &mut problems);
        self.pool.check(&Place::new("code", "pool"), &mut problems);
        ConfigError::check(problems)
    }

    /// Everything wrong with the way the server is reached; `url` is the field that its URL was read from.
    pub(crate) fn check(&self, at: &Place, url: &str, problems: &mut Vec<Problem>) {
        for wrong_setter in &self.wrong_setters {
            problems.push(
                at.key(wrong_setter.field)
                    .problem(wrong_setter.message)
                    .hint(wrong_setter.hint),
            );
        }
        self.exposure.check(&at.key("aggregator"), problems);
        match &self.transport {
            Transport::Stdio(stdio) => stdio.check(at, problems),
            Transport::Http(http) => http.check(at, url, problems),
        }
    }

    fn wrong_setter(&mut self, field: &'static str, message: &'static str, hint: &'static str) {
        self.wrong_setters.push(WrongSetter {
            field,
            message,
            hint,
        });
    }
}

impl StdioServer {
    fn secrets(&self) -> Vec<Secret> {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let written = secret_scan::secrets(&args).into_iter().zip(args);
        let written = written.flat_map(|(ranges, arg)| {
            ranges
                .into_iter()
                .map(move |range| Secret::from(&arg[range]))
        });
        let of_variables = ["args", "env"].into_iter();
        let of_variables = of_variables.flat_map(|field| self.templates.values(field));
        let values = self.env.values().chain(of_variables).cloned();
        values.chain(written).collect()
    }

    fn check(&self, at: &Place, problems: &mut Vec<Problem>) {
        if self.command.trim().is_empty() {
            problems.push(at.key("command").problem("the command is empty"));
        }
        if self.command.contains('\0') {
            problems.push(
                at.key("command")
                    .problem("a command cannot hold a zero byte"),
            );
        }
        for (index, arg) in self.args.iter().enumerate() {
            if arg.contains('\0') {
                problems.push(
                    at.key("args")
                        .index(index)
                        .problem("an argument cannot hold a zero byte"),
                );
            }
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                problems.push(
                    at.key("env")
                        .key(name)
                        .problem("not a name a variable can have"),
                );
            }
            if value.expose().contains('\0') {
                problems.push(
                    at.key("env")
                        .key(name)
                        .problem("a variable cannot hold a zero byte"),
                );
            }
        }
    }
}

impl HttpServer {
    fn secrets(&self) -> Vec<Secret> {
        let headers = self.headers.values().map(|value| value.expose().to_owned());
        let headers = headers.chain(basic_of_user(&self.url));
        let mut secrets: Vec<_> = headers
            .flat_map(|value| Secret::of_header(&value))
            .collect();
        for range in secret_scan::in_url(&self.url) {
            let whole = &self.url[range];
            // `key=value&other=value`, `me:password`: a message may quote the value without its name.
            let values = whole
                .split(['&', '#'])
                .filter_map(|pair| pair.split_once(['=', ':']).map(|(_, value)| value));
            secrets.extend(std::iter::once(whole).chain(values).map(Secret::from));
        }
        for field in ["url", "headers"] {
            for value in self.templates.values(field) {
                secrets.push(value.clone());
                secrets.push(percent_encoded(value.expose()).into());
            }
        }
        secrets
    }

    fn check(&self, at: &Place, url: &str, problems: &mut Vec<Problem>) {
        let rest = self
            .url
            .strip_prefix("https://")
            .or_else(|| self.url.strip_prefix("http://"));
        let host = rest
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .unwrap_or_default();
        if host.is_empty()
            || self
                .url
                .contains(|c: char| c.is_whitespace() || c.is_control())
        {
            let problem = at.key(url).problem("not a URL an MCP server can have");
            problems
                .push(problem.hint("expected http:// or https://, then a host, without spaces"));
        }
        for name in self.headers.keys().chain(self.headers_from.keys()) {
            if name.is_empty() || !name.bytes().all(is_header_byte) {
                let at = at.key("headers").key(name);
                problems.push(at.problem("not a name a header can have"));
            }
        }
        for (name, place) in &self.headers_from {
            place.check(&at.key("headers").key(name), problems);
        }
        for (name, value) in &self.headers {
            let at = at.key("headers").key(name);
            if value
                .expose()
                .contains(|c: char| c.is_control() && c != '\t')
            {
                problems.push(at.problem(
                    "a header's value cannot hold a line break or another control character",
                ));
            }
        }
    }
}

/// RFC 9110, section 5.6.2: the characters of a token.
fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const NO_PROCESS: &str = "an HTTP server has no process of ours";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setter_that_does_not_fit_is_reported_and_not_lost() {
        let error = ServerConfig::stdio("x")
            .header("A", "b")
            .validate()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "code: headers: a stdio server has no headers, .env(..) sets what its process receives"
        );
        let error = ServerConfig::http("http://h/mcp")
            .arg("a")
            .env("B", "c")
            .current_dir("d")
            .validate()
            .unwrap_err();
        assert_eq!(error.problems().len(), 3);
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_is_tried() {
        for url in [
            "",
            "localhost:80",
            "ftp://h/",
            "http://",
            "https:///mcp",
            "http://a b/",
            "http://h/\n",
        ] {
            assert!(ServerConfig::http(url).validate().is_err(), "{url:?}");
        }
        assert!(
            ServerConfig::http("https://mcp.example.com/mcp")
                .validate()
                .is_ok()
        );
        assert!(ServerConfig::stdio(" ").validate().is_err());
        assert!(ServerConfig::stdio("a").env("A=B", "c").validate().is_err());
        assert!(
            ServerConfig::http("http://h/")
                .header("Author ization", "c")
                .validate()
                .is_err()
        );
        assert!(
            ServerConfig::http("http://h/")
                .header("Authorization", "c\r\nX: y")
                .validate()
                .is_err()
        );
        assert!(
            ServerConfig::stdio("a")
                .pool(PoolSettings::new().max_connections(0))
                .validate()
                .is_err()
        );
    }

    #[test]
    fn no_secret_is_shown_by_debug_or_json() {
        let stdio = ServerConfig::stdio("x").env("TOKEN", "hunter2");
        let http = ServerConfig::http("https://me:hunter2@h/mcp?key=hunter2")
            .header("Authorization", "hunter2");
        for server in [stdio, http] {
            let shown = format!("{server:?} {}", serde_json::to_string(&server).unwrap());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
        }
    }
}
