//! Secrets that a file holds in plain text.
//!
//! A value that comes from a variable, a command or an `envFile` is not in the file of servers.

use crate::secret_scan;
use crate::server::{HttpServer, ServerConfig, StdioServer, Transport};

impl ServerConfig {
    /// The fields that hold a secret in plain text: `env.GITHUB_TOKEN`, `args[1]`, `headers.Authorization`, `url`.
    ///
    /// Detection is by names and by the forms of common tokens, and best effort.
    pub fn plain_secrets(&self) -> Vec<String> {
        match self.transport() {
            Transport::Stdio(stdio) => of_stdio(stdio),
            Transport::Http(http) => of_http(http),
        }
    }
}

fn of_stdio(stdio: &StdioServer) -> Vec<String> {
    let args: Vec<_> = stdio.args.iter().map(String::as_str).collect();
    let secrets = secret_scan::secrets(&args).into_iter().enumerate();
    let args = secrets
        .filter(|(_, ranges)| !ranges.is_empty())
        .map(|(index, _)| format!("args[{index}]"));
    let env = stdio
        .env
        .iter()
        .filter(|(name, value)| secret_scan::is_secret(name, value.expose()))
        .map(|(name, _)| format!("env.{name}"));
    args.chain(env)
        .filter(|field| !stdio.templates.0.contains_key(field))
        .collect()
}

fn of_http(http: &HttpServer) -> Vec<String> {
    let url = secret_scan::is_secret_url(&http.url).then(|| "url".to_owned());
    let headers = http
        .headers
        .iter()
        .filter(|(name, value)| secret_scan::is_secret(name, value.expose()))
        .map(|(name, _)| format!("headers.{name}"));
    url.into_iter()
        .chain(headers)
        .filter(|field| !http.templates.0.contains_key(field))
        .collect()
}
