//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgAction, Parser};

use crate::{
    commands::{self, Command, Connect},
    context::Context,
    exit::Exit,
    failure::Failure,
    folders::Folders,
    output::Output,
    programs,
};

/// Keeps MCP servers warm and shares them between all clients.
#[derive(Debug, Parser)]
#[command(name = "mcp-pool", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// A file of servers, as in `.mcp.json`; may be given several times.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,

    /// Prints exactly one JSON document on standard output.
    #[arg(long, global = true)]
    json: bool,

    /// Prints no remarks on standard error.
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Says more; twice says most.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// Runs the command and says how it ended.
    pub(crate) fn run(self) -> ExitCode {
        let output = Output {
            quiet: self.quiet,
            verbose: self.verbose,
        };
        let ended = Folders::of_user().and_then(|folders| {
            let context = Context {
                folders,
                config: self.config,
                json: self.json,
                output,
            };
            match self.command {
                Some(command) => command.run(&context),
                None => commands::overview(&context),
            }
        });
        exit_code(ended, &output)
    }
}

/// Connects a client that speaks stdio to the daemon. `mcp-pool connect` becomes this program.
#[derive(Debug, Parser)]
#[command(name = programs::CONNECT, version, max_term_width = 100)]
pub(crate) struct ConnectCli {
    /// Prints no remarks on standard error.
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    connect: Connect,
}

impl ConnectCli {
    /// Carries lines until the client closes its end, and says how it ended.
    pub(crate) fn run(self) -> ExitCode {
        let output = Output {
            quiet: self.quiet,
            verbose: 0,
        };
        let ended = Folders::of_user().and_then(|folders| self.connect.carry(&folders, output));
        exit_code(ended, &output)
    }
}

fn exit_code(ended: Result<(), Failure>, output: &Output) -> ExitCode {
    match ended {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
