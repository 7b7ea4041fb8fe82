//! The commands, one file each.

mod add;
mod approve;
mod audit;
mod auth;
mod bench;
mod call;
mod complete;
mod completions;
mod config;
mod connect;
mod disable;
mod doctor;
mod enable;
mod import;
mod install;
mod list;
mod logs;
mod man;
mod overview;
mod prompt;
mod read;
mod remove;
mod restart;
mod schema;
mod search;
mod serve;
mod start;
mod status;
mod stop;
mod token;
mod top;
mod uninstall;

use clap::Subcommand;

use crate::{context::Context, failure::Failure};

pub(crate) use connect::Connect;
pub(crate) use overview::run as overview;

/// What `mcp-pool` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Serve),
    Connect(Connect),
    Start(start::Start),
    Stop(stop::Stop),
    Status(status::Status),
    Restart(restart::Restart),
    Logs(logs::Logs),
    Add(add::Add),
    Remove(remove::Remove),
    Enable(enable::Enable),
    Disable(disable::Disable),
    Import(import::Import),
    Install(install::Install),
    Uninstall(uninstall::Uninstall),
    List(list::List),
    Search(search::Search),
    Call(call::Call),
    Read(read::Read),
    Prompt(prompt::Prompt),
    Complete(complete::Complete),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Top(top::Top),
    Approve(approve::Approve),
    Audit(audit::Audit),
    Token(token::Token),
    Auth(auth::Auth),
    Schema(schema::Schema),
    Config(config::Config),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(context),
            Self::Connect(command) => command.run(context),
            Self::Start(command) => command.run(context),
            Self::Stop(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::Restart(command) => command.run(context),
            Self::Logs(command) => command.run(context),
            Self::Add(command) => command.run(context),
            Self::Remove(command) => command.run(context),
            Self::Enable(command) => command.run(context),
            Self::Disable(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::Install(command) => command.run(context),
            Self::Uninstall(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Search(command) => command.run(context),
            Self::Call(command) => command.run(context),
            Self::Read(command) => command.run(context),
            Self::Prompt(command) => command.run(context),
            Self::Complete(command) => command.run(context),
            Self::Doctor(command) => command.run(context),
            Self::Bench(command) => command.run(context),
            Self::Top(command) => command.run(context),
            Self::Approve(command) => command.run(context),
            Self::Audit(command) => command.run(context),
            Self::Token(command) => command.run(context),
            Self::Auth(command) => command.run(context),
            Self::Schema(command) => command.run(context),
            Self::Config(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Man(command) => command.run(context),
        }
    }
}
