//! Header values that are read while the program runs.
//!
//! A token in a file or from a program changes after the configuration was read. So the configuration holds the place, and it
//! is read when a session opens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::diagnostic::{Place, Problem};
use crate::duration;
use crate::fields::Fields;
use crate::redacted::Templates;
use crate::secret::Secret;

/// Where the value of a header comes from.
///
/// In a file: `{"env": "TOKEN"}`, `{"file": "/run/secrets/token"}` or `{"command": ["op", "read", "op://…"]}`, each
/// with a `"prefix"` if one is wanted, and a command with `"timeout"` and `"env"`.
///
/// `Debug` and JSON show a command without its arguments and variables: they may hold secrets.
///
/// ```
/// use mcp_config::{ServerConfig, ValueFrom};
///
/// let token = ValueFrom::command("op", ["read", "op://vault/github/token"]).prefix("Bearer ");
/// let server = ServerConfig::http("https://mcp.example.com/mcp").header_from("Authorization", token);
/// assert!(server.validate().is_ok());
/// assert!(!format!("{server:?}").contains("vault"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ValueFrom {
    place: ValuePlace,
    prefix: String,
}

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValuePlace {
    /// A variable of this process, read each time.
    Env(String),
    /// A file, read each time, without the line end at its end.
    File(PathBuf),
    /// A program, run each time, and what it writes to its stdout.
    Command(ValueCommand),
}

/// A program that writes a value to its stdout.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ValueCommand {
    /// The program: a path, or a name to look up in `PATH`.
    pub program: String,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Variables for its environment, beside the safe ones every server gets.
    pub env: BTreeMap<String, Secret>,
    /// How long it may take.
    pub timeout: Duration,
    templates: Templates,
}

impl ValueCommand {
    /// Every secret in the command: values of its environment, and what variables stand for in its arguments.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.env.values().chain(self.templates.values("command"))
    }
}

impl ValueFrom {
    /// A variable of this process.
    pub fn env(name: impl Into<String>) -> Self {
        Self::new(ValuePlace::Env(name.into()))
    }

    /// A file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(ValuePlace::File(path.into()))
    }

    /// A program, with its arguments. It may take ten seconds.
    pub fn command<A: Into<String>>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::new(ValuePlace::Command(ValueCommand {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            timeout: TIMEOUT,
            templates: Templates::default(),
        }))
    }

    fn new(place: ValuePlace) -> Self {
        Self {
            place,
            prefix: String::new(),
        }
    }

    /// Puts a text in front of the value: `Bearer `, most often. It is no secret.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Limits the time of a command. Of no consequence to the others.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        if let ValuePlace::Command(command) = &mut self.place {
            command.timeout = limit;
        }
        self
    }

    /// Sets a variable of a command's environment. Of no consequence to the others.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        if let ValuePlace::Command(command) = &mut self.place {
            command.env.insert(name.into(), value.into());
        }
        self
    }

    /// The place.
    pub fn place(&self) -> &ValuePlace {
        &self.place
    }

    /// The text in front of the value.
    pub fn prefix_text(&self) -> &str {
        &self.prefix
    }

    /// Reads the table at `fields`; what is wrong with it is left there.
    pub(crate) fn read(
        fields: &mut Fields<'_>,
        path: impl FnOnce(&str) -> PathBuf,
    ) -> Option<Self> {
        for name in fields.table.keys() {
            if !KNOWN.contains(&name.as_str()) {
                let known = KNOWN.iter().copied();
                fields
                    .problems
                    .push(Problem::unknown(&fields.at.key(name), "field", name, known));
            }
        }
        let wrong = fields.problems.len();
        let given = |field| fields.get(field).is_some();
        let (command, file, env) = (given("command"), given("file"), given("env"));
        let timeless = !command && given("timeout");
        let read = match (command, file, env) {
            (true, false, _) => Self::read_command(fields),
            (false, true, false) => fields
                .text("file", &mut Templates::default())
                // The project's folder would make one of it.
                .map(|file| {
                    Self::file(if file.is_empty() {
                        PathBuf::new()
                    } else {
                        path(&file)
                    })
                }),
            (false, false, true) => fields.text("env", &mut Templates::default()).map(Self::env),
            (false, false, false) => {
                let problem = fields.at.problem("neither env, file nor command is given");
                fields
                    .problems
                    .push(problem.hint("a value needs one of them"));
                None
            }
            _ => {
                let problem = fields
                    .at
                    .problem("more than one of env, file and command is given");
                fields
                    .problems
                    .push(problem.hint("a value comes from one place"));
                None
            }
        };
        if timeless {
            let problem = fields
                .at
                .key("timeout")
                .problem("only a command takes time");
            fields.problems.push(problem.hint("remove it"));
        }
        let prefix = fields.text("prefix", &mut Templates::default());
        let value = read?.prefix(prefix.unwrap_or_default());
        (fields.problems.len() == wrong).then_some(value)
    }

    fn read_command(fields: &mut Fields<'_>) -> Option<Self> {
        let mut templates = Templates::default();
        let mut words = fields.list("command", &mut templates).into_iter();
        let program = words.next().unwrap_or_default();
        templates.0.remove("command[0]");
        let mut value = Self::command(program, words);
        if let ValuePlace::Command(command) = &mut value.place {
            command.templates = templates;
        }
        // Whatever stands in them is a secret as a whole.
        for (name, text) in fields.texts("env", &mut Templates::default()) {
            value = value.variable(name, text);
        }
        match fields.get("timeout") {
            None => {}
            Some(given) => match duration::from_json(given).filter(|limit| !limit.is_zero()) {
                Some(limit) => value = value.timeout(limit),
                None => {
                    let expected = "seconds as a number above zero, or a text such as \"5s\"";
                    match given {
                        Value::Number(_) | Value::String(_) => {
                            let problem = fields.at.key("timeout");
                            let problem = problem.problem("not a time that can pass");
                            fields
                                .problems
                                .push(problem.hint(format!("expected {expected}")));
                        }
                        other => fields.wrong_kind(&fields.at.key("timeout"), other, expected),
                    }
                }
            },
        }
        Some(value)
    }

    /// Everything that cannot work, wherever it was written.
    pub(crate) fn check(&self, at: &Place, problems: &mut Vec<Problem>) {
        match &self.place {
            ValuePlace::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                problems.push(at.key("env").problem("not a name a variable can have"));
            }
            ValuePlace::File(path) if path.as_os_str().is_empty() => {
                problems.push(at.key("file").problem("the path is empty"));
            }
            ValuePlace::Command(command) => {
                let at = at.key("command");
                if command.program.trim().is_empty() {
                    problems.push(at.problem("the command is empty"));
                }
                if command.timeout.is_zero() {
                    problems.push(at.problem("the command has no time to run"));
                }
                let zero = |text: &String| text.contains('\0');
                let names = command.env.iter();
                let variables = names.flat_map(|(name, value)| [name.as_str(), value.expose()]);
                if zero(&command.program)
                    || command.args.iter().any(zero)
                    || variables.into_iter().any(|text| text.contains('\0'))
                {
                    problems.push(at.problem("a command cannot hold a zero byte"));
                }
            }
            _ => {}
        }
        if self.prefix.contains(|c: char| c.is_control() && c != '\t') {
            problems.push(
                at.key("prefix").problem(
                    "a header's value cannot hold a line break or another control character",
                ),
            );
        }
    }
}

/// A place without its secrets.
#[derive(Debug, Serialize)]
struct Redacted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    prefix: &'a str,
}

impl ValueFrom {
    fn redacted(&self) -> Redacted<'_> {
        let mut shown = Redacted {
            env: None,
            file: None,
            command: None,
            prefix: &self.prefix,
        };
        match &self.place {
            ValuePlace::Env(name) => shown.env = Some(name),
            ValuePlace::File(path) => shown.file = Some(path),
            ValuePlace::Command(command) => shown.command = Some(&command.program),
        }
        shown
    }
}

impl fmt::Debug for ValueFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.redacted().fmt(f)
    }
}

impl Serialize for ValueFrom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.redacted().serialize(serializer)
    }
}

impl fmt::Debug for ValueCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueCommand")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &self.env)
            .field("timeout", &self.timeout)
            .finish()
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
const KNOWN: &[&str] = &["env", "file", "command", "prefix", "timeout"];
