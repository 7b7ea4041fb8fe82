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
mod programs;
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

use args::{Cli, ConnectCli};
use clap::{CommandFactory as _, Parser, error::Error};
use clap_complete::CompleteEnv;
use exit::Exit;

/// `mcp-pool`.
#[doc(hidden)]
pub fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).complete();
    Cli::try_parse().map_or_else(|error| misused(&error), Cli::run)
}

/// `mcp-pool-connect`.
#[doc(hidden)]
pub fn connect() -> ExitCode {
    ConnectCli::try_parse().map_or_else(|error| misused(&error), ConnectCli::run)
}

fn misused(error: &Error) -> ExitCode {
    // What cannot be written has no reader.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}
