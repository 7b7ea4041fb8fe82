//! `mcp-pool add`: adds a server.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::{
    context::Context,
    failure::Failure,
    servers_file::{ServersFile, problems},
};

/// Adds a server: a command to start, or a URL.
///
/// The spelling is that of `claude mcp add`:
///
///   mcp-pool add time -- uvx mcp-server-time
///   mcp-pool add github https://api.githubcopilot.com/mcp/ -H 'Authorization: Bearer ${TOKEN}'
#[allow(rustdoc::bare_urls, reason = "it is a help text")]
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Add {
    /// The name: letters, digits, hyphens, underscores and dots.
    name: String,

    /// The command and its arguments, or the URL.
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND|URL")]
    command: Vec<String>,

    /// A variable for the command; may be given several times.
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,

    /// A header for the URL; may be given several times.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// How the server is reached. By itself: a URL by HTTP, everything else by stdio.
    #[arg(short, long, value_enum)]
    transport: Option<Transport>,

    /// Who may use a session at the same time.
    #[arg(long, value_enum)]
    sharing: Option<SharingMode>,

    /// Replaces a server of this name.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Stdio,
    Http,
    #[value(hide = true)]
    Sse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SharingMode {
    Multiplexed,
    Exclusive,
    Pinned,
}

impl Add {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        check_name(&self.name)?;
        let entry = self.entry()?;
        let mut file = ServersFile::open(context)?;
        if file.get(&self.name).is_some() && !self.force {
            return Err(Failure::usage(format!(
                "{} is there already in {}",
                self.name,
                file.path.display()
            ))
            .fix("choose another name, or replace it with --force"));
        }
        file.set(&[&self.name], &entry)?;
        file.write()?;
        for problem in problems(&self.name, &entry) {
            context.output.note(format!("note: {problem}"));
        }
        let shown = context.folders.shown(&file.path);
        match context.json {
            true => context
                .output
                .json(&json!({ "added": self.name, "file": file.path })),
            false => context
                .output
                .line(format!("Added {} to {shown}.", self.name)),
        }
    }

    fn entry(&self) -> Result<Value, Failure> {
        let is_url = |text: &String| text.starts_with("http://") || text.starts_with("https://");
        let (first, rest) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::usage("no command"))?;
        let http = match self.transport {
            Some(Transport::Sse) => {
                return Err(Failure::usage("the HTTP+SSE transport is retired")
                    .fix("use the server's streamable HTTP URL, often with /mcp instead of /sse"));
            }
            Some(transport) => transport == Transport::Http,
            None => is_url(first),
        };
        let mut entry = Map::new();
        if http {
            if !is_url(first) {
                return Err(Failure::usage(format!("{first} is no URL"))
                    .fix("write one URL that starts with http:// or https://"));
            }
            if !self.env.is_empty() {
                return Err(
                    Failure::usage("only a command has variables").fix("use -H for headers")
                );
            }
            let header = [&self.header[..], &headers_behind(rest)?].concat();
            entry.insert("type".to_owned(), "http".into());
            entry.insert("url".to_owned(), first.as_str().into());
            let headers = pairs(&header, ':', "-H 'Name: value'")?;
            if !headers.is_empty() {
                entry.insert("headers".to_owned(), headers.into());
            }
        } else {
            if !self.header.is_empty() {
                return Err(Failure::usage("only a URL has headers").fix("use -e for variables"));
            }
            entry.insert("command".to_owned(), first.as_str().into());
            entry.insert("args".to_owned(), rest.into());
            let variables = pairs(&self.env, '=', "-e KEY=VALUE")?;
            if !variables.is_empty() {
                entry.insert("env".to_owned(), variables.into());
            }
        }
        if let Some(sharing) = self.sharing.and_then(|sharing| sharing.to_possible_value()) {
            entry.insert("pool".to_owned(), json!({ "sharing": sharing.get_name() }));
        }
        Ok(entry.into())
    }
}

/// Headers behind the URL, where `claude mcp add` takes them, too.
fn headers_behind(rest: &[String]) -> Result<Vec<String>, Failure> {
    let mut headers = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let header = match word.as_str() {
            "-H" | "--header" => words.next().cloned(),
            word => word.strip_prefix("--header=").map(str::to_owned),
        };
        headers.push(header.ok_or_else(|| {
            Failure::usage("behind a URL there are only headers")
                .fix("write other options in front of the URL")
        })?);
    }
    Ok(headers)
}

fn pairs(texts: &[String], between: char, form: &str) -> Result<Map<String, Value>, Failure> {
    let pair = |text: &String| {
        let pair = text.split_once(between);
        let pair = pair.filter(|(name, _)| !name.trim().is_empty());
        // Without the text, which may be a secret.
        let (name, value) = pair.ok_or_else(|| {
            Failure::usage(format!("an option has no {between} between name and value"))
                .fix(format!("write {form}"))
        })?;
        let value = if between == ':' { value.trim() } else { value };
        Ok((name.trim().to_owned(), Value::from(value)))
    };
    texts.iter().map(pair).collect()
}

/// Names go into the names of tools, so they hold what all clients allow there.
fn check_name(name: &str) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Failure::usage(format!("{name:?} is no name for a server"))
        .fix("use up to 64 letters, digits, hyphens, underscores and dots"))
}
