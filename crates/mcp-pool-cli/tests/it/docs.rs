//! Every console block of the documentation does what it shows.
//!
//! A block with output is run by trycmd, all of a document one after the other, in a home folder where one server is
//! configured, `demo`, the test server. `...` stands for any lines, `[..]` for any text in a line. Of a block without output
//! each command is run by a shell in the folder of the repository, and has to succeed. [`NOT_RUN`] has the others.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::home::{Home, test_server};

/// Commands that are not run, by what keeps them from it.
const NOT_RUN: &[(&str, &[&str])] = &[
    (
        "a step of the gate runs it: tests, example, agents, benches",
        &[
            ".ci/run",
            ".ci/run lints docs",
            "cargo run --manifest-path examples/agents/Cargo.toml --bin adk",
            "cargo run --manifest-path examples/agents/Cargo.toml --bin rig",
            "cargo run --release --example quickstart",
            "cargo test --workspace",
            "POOL_BENCH_EVERYTHING=path/to/server-everything/dist/index.js cargo bench -p mcp-pool-benches",
        ],
    ),
    (
        "it measures for minutes",
        &[
            "benches/b12_rivals.sh",
            "cargo build --profile bench -p mcp-pool-cli && cargo bench -p mcp-pool-benches --bench b17_connect",
            "cargo run --release -p mcp-pool-benches --bin report",
        ],
    ),
    (
        "it rewrites documents",
        &[
            "UPDATE_DOCS=1 cargo test -p mcp-config --test it docs",
            "UPDATE_DOCS=1 cargo test -p mcp-metrics --test it docs",
        ],
    ),
    (
        "it serves until it is stopped",
        &[
            "cargo run --example status_server --features admin",
            "cargo run --release --example gateway",
            "cargo run --release --example gateway -- --port 8931 --config .mcp.json",
        ],
    ),
    (
        "it needs a daemon that runs",
        &["curl --unix-socket \"$XDG_RUNTIME_DIR/mcp-pool/daemon.sock\" http://localhost/daemon"],
    ),
    (
        "it downloads a package",
        &[
            "cargo install mcp-pool-cli",
            "cargo run --release --example quickstart -- npx -y @modelcontextprotocol/server-everything",
            "npx mcp-pool import",
            "npx mcp-pool list",
            "pip install mcp-pool",
            "uvx mcp-pool import",
            "uvx mcp-pool list",
        ],
    ),
    (
        "it needs a browser, a container engine, macOS, or the systemd of a user",
        &[
            "docker build -f packaging/container/Dockerfile -t mcp-pool .",
            "docker run -p 127.0.0.1:8931:8931 -v ./mcp.json:/etc/mcp-pool/mcp.json:ro -v mcp-pool:/var/lib/mcp-pool mcp-pool",
            "launchctl bootstrap gui/$UID ~/Library/LaunchAgents/io.github.mcp-pool.plist",
            "loginctl enable-linger",
            "open http://127.0.0.1:9888/",
            "systemctl --user daemon-reload",
            "systemctl --user enable --now mcp-pool.socket",
        ],
    ),
];

#[test]
fn console_blocks_of_the_documentation_do_what_they_show() {
    let (mut run, mut passed_over) = (0, BTreeSet::new());
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let (shown, plain): (Vec<_>, Vec<_>) = { blocks(&text).into_iter() }
            .partition(|block| block.iter().any(|line| is_output(line)));
        run += shown.len();
        if !shown.is_empty() {
            run_by_trycmd(&document, &shown);
        }
        let home = home();
        for line in plain.concat() {
            let command = line.strip_prefix("$ ").unwrap_or_default();
            // What follows is a remark.
            let command = command.split(" # ").next().unwrap_or_default().trim();
            if is_not_run(command) {
                passed_over.insert(command.to_owned());
            } else {
                run_by_shell(&home, &document, command);
                run += 1;
            }
        }
    }
    assert!(run > 20, "only {run} blocks and commands were found");
    let listed = NOT_RUN.iter().flat_map(|(_, commands)| *commands);
    let listed: BTreeSet<_> = listed.map(|command| (*command).to_owned()).collect();
    assert_eq!(passed_over, listed, "some that are listed stand nowhere");
}

fn is_not_run(command: &str) -> bool {
    let mut lists = NOT_RUN.iter();
    lists.any(|(_, commands)| commands.contains(&command))
}

/// All that is written for people, but for what changed.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = |folder: &Path| {
        let files = fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    let mut folders = vec![root.clone(), root.join("docs"), root.join("examples")];
    folders.extend(list(&root.join("crates")));
    folders.extend(list(&root.join("packaging")));
    let folders = folders.iter().filter(|folder| folder.is_dir());
    let files = folders.flat_map(|folder| list(folder));
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    let mut documents: Vec<_> = files.filter(is_markdown).collect();
    documents.sort();
    documents
}

/// The lines of each console block.
fn blocks(text: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let body = lines.by_ref().take_while(|line| *line != "```");
        let body: Vec<_> = body.map(str::to_owned).collect();
        if language.starts_with("console") {
            assert_eq!(
                language, "console",
                "a block that is not run is listed here"
            );
            blocks.push(body);
        }
    }
    blocks
}

fn is_output(line: &str) -> bool {
    !line.starts_with("$ ")
}

/// A home with a server, and one in the file of a client.
fn home() -> Home {
    let home = Home::new();
    home.servers(json!({ "demo": test_server(&[]) }));
    let file = json!({ "mcpServers": { "kit": test_server(&[]) } });
    home.write(".cursor/mcp.json", file.to_string());
    home
}

fn run_by_trycmd(document: &Path, blocks: &[Vec<String>]) {
    let home = home();
    let blocks = blocks.iter().map(|block| {
        let commands = block.iter().filter(|line| !is_output(line));
        for command in commands {
            let runs_ours = command.starts_with("$ mcp-pool ");
            assert!(runs_ours, "{}: {command}", document.display());
        }
        format!("```console\n{}\n```\n", block.join("\n"))
    });
    let blocks: Vec<_> = blocks.collect();
    let name = document.file_name().unwrap();
    let case = home.write(Path::new("docs").join(name), blocks.join("\n"));
    let folder = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    trycmd::TestCases::new()
        .register_bin("mcp-pool", Path::new(env!("CARGO_BIN_EXE_mcp-pool")))
        .env("HOME", folder(""))
        .env("XDG_CONFIG_HOME", folder(".config"))
        .env("XDG_STATE_HOME", folder(".local/state"))
        .env("XDG_RUNTIME_DIR", folder("run"))
        .env("COLUMNS", "80")
        .env("NO_COLOR", "1")
        .case(case)
        .run();
}

#[track_caller]
fn run_by_shell(home: &Home, document: &Path, command: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_mcp-pool"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let own = home.process(&[]);
    let mut shell = std::process::Command::new("bash");
    shell.args(["-euc", command]).env_clear();
    for (name, value) in own.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = shell.env("PATH", path).current_dir(root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {command}: {said}",
        document.display()
    );
}
