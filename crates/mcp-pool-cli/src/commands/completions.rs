//! `mcp-pool completions`: completion scripts.

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;
use serde_json::json;

use crate::{context::Context, failure::Failure};

/// Prints the completion script of a shell.
///
/// The script asks this program for candidates, so that servers and tools are completed. They come from the configuration
/// and from the lists on disk: no server is started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo 'source <(mcp-pool completions bash)' >> ~/.bashrc
  echo 'source <(mcp-pool completions zsh)' >> ~/.zshrc
  mcp-pool completions fish > ~/.config/fish/completions/mcp-pool.fish")]
pub(crate) struct Completions {
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let shell = self.shell.to_possible_value();
        let shell = shell.as_ref().map_or("bash", |shell| shell.get_name());
        let shells = Shells::builtins();
        let completer = shells
            .completer(shell)
            .ok_or_else(|| Failure::internal(format!("no completion for {shell}")))?;
        let mut script = Vec::new();
        completer
            .write_registration("COMPLETE", NAME, NAME, NAME, &mut script)
            .map_err(Failure::internal)?;
        let script = String::from_utf8(script).map_err(Failure::internal)?;
        if context.json {
            let document = json!({ "shell": shell, "script": script });
            return context.output.json(&document);
        }
        context.output.line(script.trim_end())
    }
}

const NAME: &str = "mcp-pool";
