//! The report, for people and as JSON.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{
    catalog::{Section, Severity},
    daemon::Daemon,
    finding::Finding,
    fix::Fixed,
    runtime::Program,
    server,
};
use crate::{failure::Failure, output::Output};

/// All that was found out. As JSON it is the document of `mcp-pool doctor --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `ok`, `warnings`, or `broken`.
    pub(super) state: &'static str,
    pub(super) findings: Vec<Finding>,
    /// What `--fix` mended.
    pub(super) fixed: Vec<Fixed>,
    pub(super) servers: Vec<server::Report>,
    pub(super) programs: Vec<Program>,
    pub(super) daemon: Daemon,
}

impl Report {
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        for fixed in &self.fixed {
            output.line(format!(
                "{} {} {}",
                paint(GOOD, "fixed"),
                fixed.id,
                fixed.done
            ))?;
        }
        if output.verbose > 0 {
            self.print_facts(output)?;
        }
        for (section, title) in SECTIONS {
            let findings = self.findings.iter();
            let mut findings = findings.filter(|found| found.section == section).peekable();
            if findings.peek().is_some() {
                output.line(paint(BOLD, title))?;
            }
            for finding in findings {
                output.line(shown(finding))?;
            }
        }
        output.line(self.summary())
    }

    fn print_facts(&self, output: Output) -> Result<(), Failure> {
        output.line(paint(BOLD, "Looked at"))?;
        for program in &self.programs {
            let version = program.version.as_deref().unwrap_or("no version");
            output.line(format!("  {version} ({})", program.path.display()))?;
        }
        let daemon = match (&self.daemon.version, self.daemon.running) {
            (_, false) => "it does not run".to_owned(),
            (Some(version), true) => format!("it runs, version {version}"),
            (None, true) => "it runs".to_owned(),
        };
        output.line(format!("  daemon: {daemon}"))?;
        for server in &self.servers {
            output.line(format!("  {}", facts(server)))?;
        }
        Ok(())
    }

    /// One line. It says that all is well only if a tool can be used.
    fn summary(&self) -> String {
        let of = |severity| {
            let findings = self.findings.iter();
            findings.filter(|found| found.severity == severity).count()
        };
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        if errors + warnings > 0 {
            let color = if errors > 0 { BAD } else { ODD };
            let line = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
            return paint(color, &line);
        }
        let tools = self.servers.iter().filter_map(|server| server.tools).sum();
        let servers = self.servers.iter().filter(|server| server.state == "ok");
        let line = format!(
            "All is well: {}, {}.",
            count(servers.count(), "server"),
            count(tools, "tool")
        );
        paint(GOOD, &line)
    }
}

fn shown(finding: &Finding) -> String {
    let (color, word) = match finding.severity {
        Severity::Error => (BAD, "error"),
        Severity::Warning => (ODD, "warning"),
    };
    let server = match &finding.server {
        Some(server) => format!("{server}: "),
        None => String::new(),
    };
    let mut text = format!(
        "  {} {} {server}{}",
        paint(color, word),
        finding.id,
        finding.message
    );
    if let Some(cause) = &finding.cause {
        text.push_str(&format!("\n    {cause}"));
    }
    for line in &finding.stderr {
        text.push_str(&format!("\n    stderr: {line}"));
    }
    if let Some(fix) = &finding.fix {
        text.push_str(&format!("\n    Fix: {fix}"));
    }
    text
}

fn facts(report: &server::Report) -> String {
    let mut facts = vec![format!("{}: {}", report.server, report.state)];
    if let Some(command) = &report.command {
        facts.push(command.display().to_string());
    }
    if let Some(era) = report.era {
        let version = report.protocol_version.as_deref().unwrap_or_default();
        facts.push(format!("{era} {version}").trim_end().to_owned());
    }
    match (report.open_cold_ms, report.open_warm_ms) {
        (Some(cold), Some(warm)) => {
            facts.push(format!("ready after {cold} ms, another after {warm} ms"));
        }
        (Some(cold), None) => facts.push(format!("ready after {cold} ms")),
        _ => {}
    }
    if let (Some(tools), Some(tokens)) = (report.tools, report.tokens) {
        facts.push(format!("{} (about {tokens} tokens)", count(tools, "tool")));
    }
    if let (Some(sharing), Some(reason)) = (report.sharing, &report.sharing_reason) {
        facts.push(format!("{sharing} ({reason})"));
    }
    if let Some(memory) = report.memory_bytes {
        facts.push(format!("{} MiB", memory >> 20));
    }
    facts.join("\n    ")
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

const SECTIONS: [(Section, &str); 5] = [
    (Section::Config, "Config"),
    (Section::Runtime, "Runtime"),
    (Section::Server, "Servers"),
    (Section::Clients, "Clients"),
    (Section::Network, "Network"),
];
const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const ODD: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
