//! `mcp-pool doctor`: what is wrong and how to mend it.
//!
//! Servers are opened beside the daemon, in pools of this process: a daemon's warm sessions would hide that a server does not
//! start any more. No tool is called.

mod catalog;
mod clients;
mod config;
mod daemon;
mod finding;
mod fix;
mod memory;
mod network;
mod report;
mod runtime;
mod server;

use clap::Args;
use mcp_config::{Config, Transport};
use tokio::time::timeout;

use self::{
    catalog::Section,
    finding::Finding,
    report::Report,
    runtime::{Program, futures},
};
use crate::{context::Context, exit::Exit, failure::Failure};

/// Finds what is wrong and says how to mend it.
///
/// Each finding has an id, which docs/doctor.md describes. No tool is called.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Looks at this server alone.
    server: Option<String>,

    /// Mends what is safe to mend: modes of files, and the socket of a daemon that has ended.
    #[arg(long)]
    fix: bool,

    /// Ends with exit code 1 if there are warnings, too.
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut report = context.block_on(self.examine(context))?;
        if self.fix {
            report.fixed = fix::apply(&mut report.findings);
        }
        report.findings.sort_by_key(|found| found.section);
        report.state = match &*report.findings {
            [] => "ok",
            findings if findings.iter().any(Finding::is_error) => "broken",
            _ => "warnings",
        };
        if context.json {
            context.output.json(&report)?;
        } else {
            report.print(context.output)?;
        }
        self.verdict(&report.findings)
    }

    async fn examine(&self, context: &Context) -> Result<Report, Failure> {
        let mut findings = Vec::new();
        let only = self.server.as_deref();
        let config = config::check(context, only, &mut findings);
        if let (Some(only), Some(config)) = (only, &config)
            && !config.servers.contains_key(only)
        {
            return Err(Failure::usage(format!("no server has the name {only}"))
                .fix("mcp-pool config show lists the servers"));
        }
        let daemon = daemon::check(context, &mut findings).await;
        let mut servers = Vec::new();
        let mut programs = Vec::new();
        if let Some(config) = &config {
            (servers, programs) = examine_servers(context, config, only, &mut findings).await?;
            let tools: usize = servers.iter().filter_map(|server| server.tools).sum();
            // Of one server alone it is not known how many tools there are in all.
            let tools_of_all = if only.is_none() { tools } else { 0 };
            clients::check(context, tools_of_all, &mut findings);
            if tools == 0 && !config.servers.is_empty() {
                let found = catalog::NO_USABLE_TOOL.found("no tool can be used");
                findings.push(found.fix("mend what is found above, or mcp-pool enable NAME"));
            }
        }
        Ok(Report {
            state: "ok",
            findings,
            fixed: Vec::new(),
            servers,
            programs,
            daemon,
        })
    }

    /// Errors of the configuration alone are the user's to mend; any other error is a server that cannot be reached.
    fn verdict(&self, findings: &[Finding]) -> Result<(), Failure> {
        let errors: Vec<_> = findings.iter().filter(|found| found.is_error()).collect();
        // That no tool is left follows from the others.
        let follows = |found: &Finding| found.id == catalog::NO_USABLE_TOOL.id && errors.len() > 1;
        let broken = errors
            .iter()
            .find(|found| found.section != Section::Config && !follows(found));
        let (exit, first) = match (broken, errors.first()) {
            (Some(broken), _) => (Exit::Unreachable, broken),
            (None, Some(wrong)) => (Exit::Usage, wrong),
            (None, None) if self.strict && !findings.is_empty() => {
                return Err(Failure::usage("there are warnings"));
            }
            (None, None) => return Ok(()),
        };
        let server = first.server.as_ref().map(|server| format!("{server}: "));
        let server = server.unwrap_or_default();
        let message = format!("{} {server}{}", first.id, first.message);
        Err(Failure::new(exit, message))
    }
}

/// Opens all servers side by side and closes them again.
async fn examine_servers(
    context: &Context,
    config: &Config,
    only: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Result<(Vec<server::Report>, Vec<Program>), Failure> {
    let entries: Vec<_> = config
        .servers
        .values()
        .filter(|entry| only.is_none_or(|only| only == entry.name()))
        .collect();
    let mut reports = Vec::new();
    let mut commands = Vec::new();
    for entry in &entries {
        let mut report = server::Report {
            server: entry.name().to_owned(),
            state: "broken",
            ..server::Report::default()
        };
        match entry.server().map(|server| server.transport()) {
            Err(mcp_config::Disabled::SwitchedOff(_)) => report.state = "off",
            Err(_) => {}
            Ok(Transport::Stdio(stdio)) => {
                report.transport = "stdio";
                match runtime::command(entry.name(), stdio) {
                    Ok(path) => {
                        report.command = Some(path.clone());
                        commands.push((entry.name().to_owned(), stdio.clone(), path));
                    }
                    Err(found) => findings.push(*found),
                }
            }
            Ok(Transport::Http(http)) => {
                report.transport = "http";
                findings.extend(network::check(entry.name(), http));
            }
            Ok(_) => {}
        }
        reports.push(report);
    }
    let manager = server::pools(config, &context.folders).await?;
    let mut of_launchers = Vec::new();
    let probes = entries
        .iter()
        .zip(&mut reports)
        .map(async |(entry, report)| {
            let reachable = report.transport == "http" || report.command.is_some();
            if !reachable {
                return Vec::new();
            }
            let found = server::probe(&manager, config, entry, report).await;
            if report.era.is_some() {
                let (sharing, reason) = server::sharing(entry, report.era);
                report.sharing = Some(sharing);
                report.sharing_reason = Some(reason);
            }
            found
        });
    let (found, programs) = tokio::join!(
        futures(probes),
        runtime::launchers(&commands, &mut of_launchers)
    );
    findings.extend(of_launchers);
    findings.extend(found.into_iter().flatten());
    findings.extend(server::clashes(&reports));
    // What does not end by then is ended with this process.
    let _ = timeout(server::LIMIT, manager.shutdown()).await;
    Ok((reports, programs))
}
