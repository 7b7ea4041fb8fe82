//! `mcp-pool man`: manual pages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;
use serde_json::json;

use crate::{args::Cli, context::Context, failure::Failure};

/// Prints the manual page, or writes all pages to a folder.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder, as `~/.local/share/man/man1`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut pages = Vec::new();
        let mut command = Cli::command();
        command.build();
        collect(&command, None, &mut pages)?;
        if self.dir.is_none() {
            pages.truncate(1);
        }
        let mut documents = Vec::new();
        for (name, text) in pages {
            match &self.dir {
                None if context.json => documents.push(json!({ "name": name, "text": text })),
                None => context.output.line(text.trim_end())?,
                Some(dir) => {
                    let path = dir.join(&name);
                    write(dir, &path, &text)?;
                    documents.push(json!({ "name": name, "path": path }));
                }
            }
        }
        match (context.json, self.dir) {
            (true, _) => context.output.json(&json!({ "pages": documents })),
            (false, Some(dir)) => {
                let (number, dir) = (documents.len(), dir.display());
                context
                    .output
                    .note(format!("wrote {number} pages to {dir}"));
                Ok(())
            }
            (false, None) => Ok(()),
        }
    }
}

/// The page of a command and of those beneath it.
fn collect(
    command: &clap::Command,
    above: Option<&str>,
    pages: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    let name = match above {
        Some(above) => format!("{above}-{}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    let page = Page::new(command.clone()).title(name.to_uppercase());
    let mut text = Vec::new();
    page.render(&mut text).map_err(Failure::internal)?;
    let text = String::from_utf8(text).map_err(Failure::internal)?;
    pages.push((format!("{name}.1"), text));
    for command in command.get_subcommands() {
        if command.get_name() != "help" {
            collect(command, Some(&name), pages)?;
        }
    }
    Ok(())
}

fn write(dir: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}
