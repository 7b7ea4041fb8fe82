#![doc = include_str!("../README.md")]

mod args;
mod bridge;
mod commands;
mod context;
mod credentials;
mod daemon;
mod exit;
mod failure;
mod folders;
mod output;
mod version;

use std::process::ExitCode;

use args::Cli;
use clap::Parser as _;
use exit::Exit;

fn main() -> ExitCode {
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
