//! `mcp-pool install`: points a client at the daemon.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::Args;
use mcp_config::Document;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    clients::{Client, ClientServer, is_off, own_entry},
    context::Context,
    failure::Failure,
    import::{Imported, take_over},
    installation::{Installation, read, take_us_out},
    safe_write,
    servers_file::{ServersFile, problems},
};

/// Points a client at the daemon, which serves the client's servers from then on.
///
/// The servers in the client's file are taken over first, and then out of it, so that none is started twice. `uninstall`
/// restores the file.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The client; may be given several times.
    #[arg(long, value_enum, required = true, value_name = "CLIENT")]
    client: Vec<Client>,

    /// Shows what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What was done for one client.
#[derive(Debug, Serialize)]
struct Installed {
    client: Client,
    file: PathBuf,
    /// What the file was before; nothing if there was none.
    backup: Option<PathBuf>,
    /// The entry that starts the bridge.
    entry: Value,
    /// Servers that the daemon serves now.
    moved: Vec<Imported>,
    /// Servers that the client goes on to start.
    kept: Vec<Kept>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Kept {
    name: String,
    why: String,
}

impl Install {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        if !context.may_use_daemon() {
            return Err(
                Failure::usage("the daemon serves the servers of this user only")
                    .fix("leave --config out, or write the client's entry by hand"),
            );
        }
        let mut all = Vec::new();
        for client in &self.client {
            let installed = self.install(context, *client)?;
            if !context.json {
                show(context, &installed)?;
            }
            all.push(installed);
        }
        match context.json {
            true => context.output.json(&all),
            false => Ok(()),
        }
    }

    fn install(&self, context: &Context, client: Client) -> Result<Installed, Failure> {
        let file = client.user_file(&context.folders);
        let mut own = ServersFile::open(context)?;
        // For its own errors: a folder, another encoding, a file that does not parse.
        file.open().map_err(Failure::usage)?;
        safe_write::check(&file.path)?;
        let now = read(&file.path)?;
        let earlier = Installation::find(&context.folders, client)?;
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.path != file.path) {
            let (title, path) = (client.title(), earlier.path.display());
            let failure = Failure::usage(format!("{title} uses the daemon already, by {path}"));
            return Err(failure.fix(format!("mcp-pool uninstall --client {}", client.name())));
        }
        // As if it had never been installed, with what the user changed since.
        let before = match (&earlier, &now) {
            (Some(earlier), Some(now)) => earlier.undone(&file, now)?.text,
            _ => now,
        };
        let text = before.clone().unwrap_or_default();
        let mut document = Document::parse(&file.path, text).map_err(Failure::usage)?;
        take_us_out(&mut document, &file)?;

        let (moving, kept) = sort(file.servers(&document));
        let removed: Vec<String> = moving.iter().map(|server| server.name.clone()).collect();
        let moved = take_over(&mut own, &file, moving)?;
        for name in &removed {
            document.remove(&file.at(name)).map_err(Failure::usage)?;
        }
        let entry = own_entry(client, &program()?, environment());
        let is_free = |name: &&str| document.get(&file.at(name)).is_none();
        let name = ["mcp-pool", "mcp-pool-daemon"].into_iter().find(is_free);
        let name = name.ok_or_else(|| Failure::usage("the name mcp-pool is taken in its file"))?;
        document
            .set(&file.at(name), &entry)
            .map_err(Failure::usage)?;

        let backup = before.as_ref().map(|_| safe_write::backup_of(&file.path));
        if !self.dry_run {
            // In this order nothing is lost, wherever it ends.
            own.write()?;
            let after = document.text();
            let installation = Installation::new(&file, before.clone(), after, removed);
            installation.write(&context.folders)?;
            if let Some(before) = &before {
                safe_write::back_up(&file.path, before)?;
            }
            safe_write::replace(&file.path, after)?;
        }
        Ok(Installed {
            client,
            file: file.path,
            backup,
            entry,
            moved,
            kept,
            dry_run: self.dry_run,
        })
    }
}

/// Those that the daemon can serve, and those that only the client can.
fn sort(servers: Vec<ClientServer>) -> (Vec<ClientServer>, Vec<Kept>) {
    let (mut moving, mut kept) = (Vec::new(), Vec::new());
    for server in servers {
        let why = match &server.entry {
            Err(reason) => Some((*reason).to_owned()),
            Ok(entry) if is_off(entry) => Some("it is switched off".to_owned()),
            Ok(entry) => problems(&server.name, entry).into_iter().next(),
        };
        match why {
            None => moving.push(server),
            Some(why) => kept.push(Kept {
                name: server.name,
                why,
            }),
        }
    }
    (moving, kept)
}

fn show(context: &Context, installed: &Installed) -> Result<(), Failure> {
    let output = context.output;
    let file = context.folders.shown(&installed.file);
    let title = installed.client.title();
    let done = if installed.dry_run {
        "Would point"
    } else {
        "Pointed"
    };
    output.line(format!("{done} {title} at the daemon, in {file}."))?;
    for server in &installed.moved {
        let ours = server.ours.as_deref().unwrap_or_default();
        match *ours == server.name {
            true => output.line(format!("  {ours}"))?,
            false => output.line(format!("  {ours} (there: {})", server.name))?,
        }
        for note in &server.notes {
            output.line(format!("      {note}"))?;
        }
    }
    if !installed.kept.is_empty() {
        output.line(format!("{title} goes on to start:"))?;
    }
    for kept in &installed.kept {
        output.line(format!("  {}\n      {}", kept.name, kept.why))?;
    }
    if let Some(backup) = &installed.backup {
        let backup = context.folders.shown(backup);
        output.line(format!("What it was before: {backup}"))?;
    }
    output.note(format!("Restart {title} to use it."));
    Ok(())
}

fn program() -> Result<PathBuf, Failure> {
    env::current_exe()
        .map_err(|error| Failure::internal(format!("no path to this program: {error}")))
}

/// Variables that say where this user's files are. Clients hand few variables on, and not these.
fn environment() -> Map<String, Value> {
    let is_path = |name: &&str| {
        let value = env::var_os(name);
        value.is_some_and(|value| Path::new(&value).is_absolute())
    };
    let names = [
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "MCP_CONFIG_PATH",
    ];
    let names = names.into_iter().filter(is_path);
    names
        .filter_map(|name| Some((name.to_owned(), env::var(name).ok()?.into())))
        .collect()
}
