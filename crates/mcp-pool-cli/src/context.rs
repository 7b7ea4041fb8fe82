//! What every command has: the options that all have in common, and where this user's files are.

use std::path::PathBuf;

use mcp_config::Loader;

use crate::{exit::Exit, failure::Failure, folders::Folders, output::Output};

/// The options that all commands have in common, and what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) folders: Folders,
    /// The files that were named by `--config`. Without one it is the file of this user.
    pub(crate) config: Vec<PathBuf>,
    pub(crate) json: bool,
    pub(crate) output: Output,
}

impl Context {
    /// The files of servers: those named by `--config`, else `MCP_CONFIG_PATH`, else this user's.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        if !self.config.is_empty() {
            return self.config.clone();
        }
        match std::env::var_os("MCP_CONFIG_PATH").filter(|path| !path.is_empty()) {
            Some(path) => vec![path.into()],
            None => vec![self.folders.servers()],
        }
    }

    /// Whether the servers may be those of the daemon: no file was named. The daemon may have those of other files: see
    /// [`has_files_of`](crate::daemon::has_files_of).
    pub(crate) fn may_use_daemon(&self) -> bool {
        self.config.is_empty()
    }

    /// Loads the files of servers and the settings beside them. This user's own file need not exist.
    pub(crate) fn loader(&self) -> Result<Loader, Failure> {
        let mut loader = Loader::new().process_environment();
        let own = self.folders.servers();
        for file in self.files() {
            if file.exists() {
                loader = loader.file(file);
            } else if file != own {
                return Err(Failure::usage(format!("{}: no such file", file.display())));
            }
        }
        // Without servers there may be settings, such as tokens of clients.
        if self.files() == [own.as_path()] && !own.exists() {
            let mut settings = self.settings_files().into_iter();
            if let Some(settings) = settings.find(|file| file.exists()) {
                loader = loader.settings_file(settings);
            }
        }
        Ok(loader)
    }

    /// The settings files that there may be, beside the first file of servers.
    pub(crate) fn settings_files(&self) -> [PathBuf; 4] {
        let files = self.files();
        let folder = files.first().and_then(|file| file.parent());
        let extensions = ["toml", "yaml", "yml", "json"];
        extensions.map(|extension| {
            let name = format!("mcp-pool.{extension}");
            folder.map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name))
        })
    }

    /// Runs a future, on a runtime of its own.
    pub(crate) fn block_on<T>(
        &self,
        future: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
        runtime.block_on(future)
    }
}
