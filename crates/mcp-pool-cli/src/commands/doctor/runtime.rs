//! Section Runtime: commands, launchers, and what the daemon leaves on this machine.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mcp_config::StdioServer;
use serde::Serialize;
use tokio::{process::Command, time::timeout};

use super::{catalog, finding::Finding};

/// A launcher of servers, such as `node`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// As it says itself; `null` if it does not.
    pub(super) version: Option<String>,
}

/// Where the command of a server is.
///
/// # Errors
/// A finding: it is not there, or cannot be run.
pub(super) fn command(name: &str, server: &StdioServer) -> Result<PathBuf, Box<Finding>> {
    if let Some(folder) = server.cwd.as_deref().filter(|folder| !folder.is_dir()) {
        let message = format!("the folder {} does not exist", folder.display());
        let found = catalog::NO_FOLDER.found(message).of(name);
        let fix = format!("mkdir -p {}", super::config::quoted(folder));
        return Err(Box::new(found.fix(fix)));
    }
    let found = find(&server.command, &path_of(server), server.cwd.as_deref());
    found.map_err(|missing| {
        let command = &server.command;
        Box::new(match missing {
            Missing::NoFile => catalog::NO_COMMAND
                .found(format!("the command {command} is not found"))
                .cause("it is in no folder of PATH")
                .of(name)
                .fix(install(command)),
            Missing::NotExecutable(path) => catalog::NOT_EXECUTABLE
                .found(format!("{} may not be run", path.display()))
                .of(name)
                .fix(format!("chmod +x {}", super::config::quoted(&path))),
        })
    })
}

/// The launchers that the servers use, each with its version, asked side by side.
pub(super) async fn launchers(
    commands: &[(String, StdioServer, PathBuf)],
    findings: &mut Vec<Finding>,
) -> Vec<Program> {
    let mut used: BTreeMap<PathBuf, (&str, OsString, &str)> = BTreeMap::new();
    for (server, stdio, path) in commands {
        let Some(launcher) = launcher(&stdio.command) else {
            continue;
        };
        let search = path_of(stdio);
        match find(launcher, &search, None) {
            Ok(path) => drop(used.insert(path, (launcher, search, server))),
            Err(_) if Path::new(&stdio.command).file_name() == Some(OsStr::new(launcher)) => {
                used.insert(path.clone(), (launcher, search, server));
            }
            Err(_) => {
                let message = format!("{} needs {launcher}, which is not found", stdio.command);
                let found = catalog::NO_COMMAND.found(message).of(server);
                findings.push(found.fix(install(launcher)));
            }
        }
    }
    let asked = used
        .into_iter()
        .map(async |(path, (name, search, server))| {
            let version = version(&path, name, &search).await;
            (path, name, server, version)
        });
    let mut programs = Vec::new();
    for (path, name, server, version) in futures(asked).await {
        let shown = path.display();
        match &version {
            Err(why) => {
                let found = catalog::BROKEN_LAUNCHER
                    .found(format!("{shown} does not say its version"))
                    .cause(why)
                    .of(server);
                findings.push(found.fix(match name {
                    "docker" | "podman" => format!("start {name}: its service does not answer"),
                    _ => install(name),
                }));
            }
            Ok(version) if is_old(name, version) => {
                let found = catalog::OLD_LAUNCHER
                    .found(format!("{shown} is {version}, too old for most servers"));
                findings.push(found.of(server).fix(install(name)));
            }
            Ok(_) => {}
        }
        programs.push(Program {
            name: name.to_owned(),
            path,
            version: version.ok(),
        });
    }
    programs
}

/// Waits for all, side by side.
pub(super) async fn futures<T>(tasks: impl Iterator<Item: Future<Output = T>>) -> Vec<T> {
    let mut tasks: Vec<_> = tasks.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (task, result) in tasks.iter_mut().zip(&mut results) {
            if result.is_none() {
                match task.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *result = Some(done),
                    std::task::Poll::Pending => waiting = true,
                }
            }
        }
        match waiting {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

async fn version(path: &Path, name: &str, search: &OsStr) -> Result<String, String> {
    let arguments: &[&str] = match name {
        // The service has to answer, too.
        "docker" | "podman" => &["version", "--format", "{{.Server.Version}}"],
        _ => &["--version"],
    };
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env("PATH", search)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(VERSION_LIMIT, command.output()).await;
    let output = output.map_err(|_| format!("no answer within {} s", VERSION_LIMIT.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    let first = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.map(|line| line.chars().take(200).collect::<String>())
    };
    match (output.status.success(), first(&output.stdout)) {
        (true, Some(version)) => Ok(version),
        _ => Err(first(&output.stderr).unwrap_or_else(|| output.status.to_string())),
    }
}

/// The program that has to be there for this command, if it is one of the usual launchers.
fn launcher(command: &str) -> Option<&'static str> {
    let name = Path::new(command).file_name()?.to_str()?;
    Some(match name {
        "node" | "npx" | "npm" => "node",
        "uv" | "uvx" => "uv",
        "python" => "python",
        "python3" | "pipx" => "python3",
        "docker" => "docker",
        "podman" => "podman",
        "bun" | "bunx" => "bun",
        "deno" => "deno",
        _ => return None,
    })
}

fn is_old(name: &str, version: &str) -> bool {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<u32>().ok());
    let version = (numbers.next(), numbers.next().unwrap_or_default());
    let (Some(major), minor) = version else {
        return false;
    };
    match name {
        "node" => major < 18,
        "python" | "python3" => (major, minor) < (3, 10),
        _ => false,
    }
}

fn install(command: &str) -> String {
    let from = match Path::new(command).file_name().and_then(OsStr::to_str) {
        Some("node" | "npx" | "npm") => "https://nodejs.org",
        Some("uv" | "uvx") => "https://docs.astral.sh/uv",
        Some("python" | "python3") => "https://www.python.org",
        Some("docker") => "https://docs.docker.com/get-docker",
        Some("bun" | "bunx") => "https://bun.sh",
        Some("deno") => "https://deno.com",
        _ => return format!("install {command}, or write its full path: command -v {command}"),
    };
    format!("install {command}: {from}")
}

/// The search path that the process of the server gets.
fn path_of(server: &StdioServer) -> OsString {
    match server.env.get("PATH") {
        Some(path) => path.expose().into(),
        None => std::env::var_os("PATH").unwrap_or_default(),
    }
}

enum Missing {
    NoFile,
    NotExecutable(PathBuf),
}

/// As `execvp` looks for it.
fn find(command: &str, search: &OsStr, folder: Option<&Path>) -> Result<PathBuf, Missing> {
    let runs = |path: &Path| {
        let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.permissions().mode() & 0o111 != 0)
    };
    let candidates: Vec<PathBuf> = match command.contains('/') {
        true => vec![folder.unwrap_or(Path::new("")).join(command)],
        false => std::env::split_paths(search)
            .map(|folder| folder.join(command))
            .collect(),
    };
    let mut missing = Missing::NoFile;
    for path in candidates {
        match runs(&path) {
            Some(true) => return Ok(path),
            Some(false) => missing = Missing::NotExecutable(path),
            None => {}
        }
    }
    Err(missing)
}

const VERSION_LIMIT: Duration = Duration::from_secs(8);
