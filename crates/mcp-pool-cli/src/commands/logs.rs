//! `mcp-pool logs`: the log of the daemon, and what its servers wrote to their standard error.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tokio::time::sleep;

use crate::{context::Context, failure::Failure};

/// Shows the log of the daemon, and what its servers wrote to standard error.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Only lines of this server.
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// Shows new lines as they come.
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let path = context.folders.log();
        if context.json && self.follow {
            return Err(Failure::usage(
                "--json prints one document, and --follow has no end",
            ));
        }
        let mut lines = Vec::new();
        for file in files(&path) {
            let Ok(file) = File::open(file) else { continue };
            lines.extend(BufReader::new(file).lines().map_while(Result::ok));
        }
        lines.retain(|line| self.shows(line));
        if context.json {
            return context
                .output
                .json(&json!({ "file": path, "lines": lines }));
        }
        for line in &lines {
            context.output.line(line)?;
        }
        if self.follow {
            return context.block_on(self.follow(context, &path));
        }
        if lines.is_empty() {
            context
                .output
                .note(format!("{}: nothing is logged", path.display()));
        }
        Ok(())
    }

    fn shows(&self, line: &str) -> bool {
        self.server.as_ref().is_none_or(|server| {
            let field = format!(" server={server}");
            line.match_indices(&field).any(|(at, _)| {
                let rest = &line[at + field.len()..];
                rest.is_empty() || rest.starts_with(' ')
            })
        })
    }

    /// Shows what is appended, also to the file that takes its place. Ends by Ctrl-C.
    async fn follow(&self, context: &Context, path: &Path) -> Result<(), Failure> {
        let mut open = at_end(path);
        let mut line = String::new();
        loop {
            // Looked at first: a file that gives its place up meanwhile is read to its end.
            let now = std::fs::metadata(path).map(|found| found.ino()).ok();
            if let Some((reader, _)) = &mut open {
                while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                    // The rest of it is still to be written.
                    if line.ends_with('\n') {
                        if self.shows(line.trim_end()) {
                            context.output.line(line.trim_end())?;
                        }
                        line.clear();
                    }
                }
            }
            if now.is_some() && now != open.as_ref().map(|(_, inode)| *inode) {
                open = at_start(path);
                line.clear();
            }
            sleep(PAUSE).await;
        }
    }
}

fn at_start(path: &Path) -> Option<(BufReader<File>, u64)> {
    let file = File::open(path).ok()?;
    let inode = file.metadata().ok()?.ino();
    Some((BufReader::new(file), inode))
}

fn at_end(path: &Path) -> Option<(BufReader<File>, u64)> {
    let (mut reader, inode) = at_start(path)?;
    reader.seek(SeekFrom::End(0)).ok()?;
    Some((reader, inode))
}

/// The file and the ones before it, the oldest first.
fn files(path: &Path) -> impl Iterator<Item = PathBuf> {
    let older = (1..=3)
        .rev()
        .map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    older.chain([path.to_owned()])
}

const PAUSE: Duration = Duration::from_millis(250);
