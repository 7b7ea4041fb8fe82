//! `mcp-pool import`: takes over the servers that clients have in their files.

use std::{collections::BTreeSet, env, path::PathBuf};

use clap::{Args, ValueEnum as _};
use serde::Serialize;

use crate::{
    clients::{Client, ClientFile, is_off},
    context::Context,
    failure::Failure,
    import::{Imported, Outcome, take_over},
    servers_file::ServersFile,
};

/// Takes over the servers that clients have in their files.
///
/// Reads the files of this user, and changes none of them.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Only from this client; may be given several times.
    #[arg(long, value_enum, value_name = "CLIENT")]
    from: Vec<Client>,

    /// From the files of the project in this folder, too. Look at them first: their author decides what is started.
    #[arg(long)]
    project: bool,

    /// Shows what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    servers: Vec<&'a Imported>,
    /// Files that were read.
    files: BTreeSet<PathBuf>,
    /// Files that could not be read, and why.
    problems: Vec<String>,
    /// The file that was written.
    into: PathBuf,
    dry_run: bool,
}

impl Import {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let clients = match self.from.is_empty() {
            true => Client::value_variants().to_vec(),
            false => self.from.clone(),
        };
        let project = match self.project {
            true => Some(env::current_dir().map_err(Failure::internal)?),
            false => None,
        };
        let files = ClientFile::there(&clients, &context.folders, project.as_deref());
        let mut into = ServersFile::open(context)?;
        let mut problems = Vec::new();
        let mut found = Vec::new();
        for file in files {
            match file.open() {
                Ok(document) => found.push((file.servers(&document), file)),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        // A server that is on in one client and off in another is on.
        let mut all = Vec::new();
        for off in [false, true] {
            for (servers, file) in &found {
                let is = |server: &&crate::clients::ClientServer| {
                    server.entry.as_ref().is_ok_and(is_off) == off
                };
                let servers = servers.iter().filter(is).cloned().collect();
                all.extend(take_over(&mut into, file, servers)?);
            }
        }
        if !self.dry_run {
            into.write()?;
        }
        let report = Report {
            servers: all.iter().collect(),
            files: found.iter().map(|(_, file)| file.path.clone()).collect(),
            problems,
            into: into.path.clone(),
            dry_run: self.dry_run,
        };
        if context.json {
            context.output.json(&report)?;
        } else {
            self.show(context, &report)?;
        }
        match report.problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::usage("not every file could be read").details(report.problems)),
        }
    }

    fn show(&self, context: &Context, report: &Report<'_>) -> Result<(), Failure> {
        let output = context.output;
        for file in &report.files {
            let servers = report.servers.iter().filter(|server| server.file == *file);
            let servers: Vec<_> = servers.collect();
            let shown = context.folders.shown(file);
            match servers.first() {
                Some(server) => output.line(format!("{} ({shown})", server.client.title()))?,
                None => output.line(format!("{shown}: no servers"))?,
            }
            for server in servers {
                output.line(line(server))?;
                for note in &server.notes {
                    output.line(format!("      {note}"))?;
                }
            }
        }
        if report.files.is_empty() && report.problems.is_empty() {
            return output.line("No file of a known client here. Add a server: mcp-pool add");
        }
        let is_new =
            |server: &&&Imported| matches!(server.outcome, Outcome::Added | Outcome::Renamed);
        let count = report.servers.iter().filter(is_new).count();
        let into = context.folders.shown(&report.into);
        let servers = if count == 1 { "server" } else { "servers" };
        match (self.dry_run, count) {
            (_, 0) => output.line(format!("Nothing new for {into}.")),
            (true, _) => output.line(format!("Would add {count} {servers} to {into}.")),
            (false, _) => output.line(format!("Added {count} {servers} to {into}.")),
        }
    }
}

fn line(server: &Imported) -> String {
    let name = &server.name;
    let ours = server.ours.as_deref().unwrap_or_default();
    match server.outcome {
        Outcome::Added => format!("  + {name}"),
        Outcome::Renamed => format!("  + {ours} (another server is called {name})"),
        Outcome::Present if ours == name => format!("  = {name} (there already)"),
        Outcome::Present => format!("  = {name} (there already as {ours})"),
        Outcome::LeftOut => format!("  - {name} (left out)"),
    }
}
