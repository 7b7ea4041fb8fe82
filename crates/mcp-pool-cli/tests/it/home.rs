//! A home folder of its own for a test: none of this machine's files, and no variable of the process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fresh home folder, in which the command runs. It is removed when it is dropped.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A home folder whose one server is `kit`, the test server.
    pub(crate) fn with_kit() -> Self {
        let home = Self::new();
        home.servers(json!({ "kit": test_server(&[]) }));
        home
    }

    /// Runs the command: its exit code, standard output and standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
        let code = output.status.code().expect("it exits");
        (code, text(output.stdout), text(output.stderr))
    }

    /// Runs a command that succeeds: its standard output and standard error.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> (String, String) {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        (out, err)
    }

    /// The command with these arguments. Only `PATH` is handed on.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        Command::from_std(self.process(arguments))
    }

    /// The same, to be started as a process that runs beside the test.
    pub(crate) fn process(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mcp-pool"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .current_dir(self.path())
            .args(arguments);
        command
    }

    /// Writes a file into the home folder.
    pub(crate) fn write(&self, path: impl AsRef<Path>, text: impl AsRef<str>) -> PathBuf {
        let path = self.path().join(path);
        let folder = path.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).expect("a folder can be made");
        fs::write(&path, text.as_ref()).expect("a file can be written");
        path
    }

    /// Writes the servers of this user.
    pub(crate) fn servers(&self, servers: Value) -> PathBuf {
        let file = json!({ "mcpServers": servers });
        self.write(".config/mcp-pool/mcp.json", file.to_string())
    }
}

/// An entry that starts the test server with these arguments.
pub(crate) fn test_server(arguments: &[&str]) -> Value {
    json!({ "command": mcp_testkit::binary(), "args": arguments })
}
