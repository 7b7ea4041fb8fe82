//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgAction, Parser};

use crate::{
    commands::{self, Command},
    context::Context,
    exit::Exit,
    folders::Folders,
    output::Output,
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
        match ended {
            Ok(()) => Exit::Ok.into(),
            Err(failure) => {
                output.failure(&failure);
                failure.exit.into()
            }
        }
    }
}
