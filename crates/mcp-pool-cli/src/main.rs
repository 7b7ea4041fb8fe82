#![doc = include_str!("../README.md")]

mod args;
mod arguments;
mod bridge;
mod clients;
mod commands;
mod completion;
mod content;
mod context;
mod credentials;
mod daemon;
mod duration;
mod exit;
mod failure;
mod folders;
mod import;
mod installation;
mod nearest;
mod output;
mod progress;
mod questions;
mod safe_write;
mod servers;
mod servers_file;
mod signature;
mod table;
mod terminal;
mod tools;
mod version;

use std::process::ExitCode;

use args::Cli;
use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompleteEnv;
use exit::Exit;

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What cannot be written has no reader.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
            .into();
        }
    };
    cli.run()
}
