//! `mcp-pool connect`: stdio to the daemon.
//!
//! One such process runs for each client, so it is kept small: it reads no configuration, owns no server, has one thread, and
//! becomes a program of its own (see [`programs`]).

use std::{
    cell::Cell,
    ffi::OsString,
    io,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use clap::Args;
use http::{HeaderMap, HeaderValue};

use crate::{
    bridge,
    context::Context,
    daemon::{Dial, Socket},
    exit::Exit,
    failure::Failure,
    folders::Folders,
    output::Output,
    programs, version,
};

/// Connects a client that speaks stdio to the daemon.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// What `status` calls the client.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,

    /// The socket of a gateway that runs already, in place of this user's daemon.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Connect {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        if !context.may_use_daemon() {
            let message = "connect reads no configuration: the daemon has the servers";
            let fix = "mcp-pool --config FILE serve --socket PATH, and connect --socket PATH";
            return Err(Failure::usage(message).fix(fix));
        }
        self.replace(&context.output);
        self.carry(&context.folders, context.output)
    }

    /// Makes this process the small program. Returns only if that cannot be started.
    fn replace(&self, output: &Output) {
        let Ok(program) = small_program() else {
            return;
        };
        let mut command = Command::new(program);
        if output.quiet {
            command.arg("--quiet");
        }
        if let Some(client) = &self.client {
            command.arg(format!("--client={client}"));
        }
        if let Some(socket) = &self.socket {
            let mut argument = OsString::from("--socket=");
            argument.push(socket);
            command.arg(argument);
        }
        // Without it this program does the same.
        let _ = command.exec();
    }

    /// Carries lines until the client closes its end.
    ///
    /// # Errors
    /// [`Exit::Unreachable`] if there is no daemon and none can be started.
    pub(crate) fn carry(self, folders: &Folders, output: Output) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
        let ended = runtime.block_on(self.exchange(folders, output));
        // A read of standard input cannot be interrupted.
        runtime.shutdown_background();
        ended
    }

    async fn exchange(self, folders: &Folders, output: Output) -> Result<(), Failure> {
        let connection = random()?;
        let attach = format!(
            "/daemon/attach?connection={connection}&pid={}&client={}",
            std::process::id(),
            plain(self.client.as_deref().unwrap_or_default()),
        );
        let name = HeaderValue::from_str(&connection).map_err(Failure::internal)?;
        let dial = match self.socket {
            Some(path) => Dial::running(Socket::at(path)),
            None => Dial::starting(Socket::at(folders.socket())),
        };
        let dial = dial.named(name);
        // The first request finds a daemon that is there, or waits for this one.
        if let Err(unreachable) = dial.connect().await {
            let failure = Failure::new(Exit::Unreachable, unreachable.0);
            return Err(failure.fix("mcp-pool doctor"));
        }
        let reported = Cell::new(false);
        let answered = |headers: &HeaderMap| {
            if let Some(difference) = version::difference(headers)
                && !reported.replace(true)
            {
                output.note(difference);
            }
        };
        let dial = Arc::new(dial);
        tokio::select! {
            () = bridge::hold(&dial, &attach, answered) => Ok(()),
            carried = bridge::run(Arc::clone(&dial), "/mcp", tokio::io::stdin(), tokio::io::stdout()) => {
                carried.map_err(|error| Failure::internal(format!("cannot write the output: {error}")))
            }
        }
    }
}

/// The program beside this one, if it has the same owner: in a folder where everyone may write it may be anyone's.
fn small_program() -> io::Result<PathBuf> {
    let (own, small) = (std::env::current_exe()?, programs::path(programs::CONNECT)?);
    if own.metadata()?.uid() == small.metadata()?.uid() {
        Ok(small)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn random() -> Result<String, Failure> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A name as a query can have it.
fn plain(name: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    name.chars()
        .map(|character| if allowed(character) { character } else { '_' })
        .take(64)
        .collect()
}
