//! B17: `mcp-pool connect`, the process that each client of the daemon has: its start, its memory, and what it adds to a call.
//!
//! The daemon runs already. The rivals are the bare start of a process (`cat`), `mcp-remote` in front of the same gateway, and
//! the same server spoken to directly. `mcp-remote` is taken from `POOL_TEST_CLIENTS_IN`; without it there is no such line.
//!
//! The program is the one beside this bench: `cargo build --profile bench -p mcp-pool-cli` makes it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Instant,
};

use mcp_pool_benches::{
    Target::{AtMost, Below},
    bench, in_turn, median,
};
use serde_json::json;

const SERVER: &str = "--mcp-testkit-server";

fn main() -> ExitCode {
    bench("B17", |bench| {
        let Some(program) = program() else {
            println!(
                "B17 is left out: build the program first, cargo build --profile bench -p mcp-pool-cli"
            );
            return;
        };
        let gateway = Gateway::start(&program);
        let connect = || gateway.connect(&program);
        let cat = || Command::new("cat");

        let started = in_turn(bench.times(60), || start(connect()), || start(cat()));
        let case = "start until initialize is answered";
        bench.judge_figure(case, "connect", started.measured, "ms", Below(20.0));
        bench.judge(case, ("connect", "cat"), &started, AtMost(20.0), "ms");
        let mut memory: Vec<_> = (0..bench.times(10)).map(|_| resident(connect())).collect();
        let memory = median(&mut memory);
        bench.judge_figure("memory", "connect", memory, "MB", Below(6.0));

        if let Some(proxy) = mcp_remote() {
            let remote = || {
                let mut command = Command::new("node");
                command.arg(&proxy).arg(&gateway.url).args([
                    "--allow-http",
                    "--transport",
                    "http-only",
                ]);
                command
            };
            let pair = in_turn(
                bench.times(15).min(15),
                || start(connect()),
                || start(remote()),
            );
            bench.judge(case, ("connect", "mcp-remote"), &pair, AtMost(0.1), "ms");
            let pair = in_turn(
                bench.times(5).min(5),
                || resident(connect()),
                || resident(remote()),
            );
            bench.judge(
                "memory",
                ("connect", "mcp-remote"),
                &pair,
                AtMost(0.2),
                "MB",
            );
        }

        let mut through = Client::start(connect(), "test__echo");
        let mut direct = Client::start(server(), "echo");
        for _ in 0..bench.times(200) {
            through.echo();
            direct.echo();
        }
        let calls = bench.times(500);
        let pair = in_turn(
            bench.times(31),
            || p50(&mut through, calls),
            || p50(&mut direct, calls),
        );
        bench.judge(
            "p50 of echo",
            ("connect", "direct stdio"),
            &pair,
            AtMost(1.5),
            "µs",
        );
    })
}

/// The program, where cargo puts it beside benches and tests.
fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("POOL_BENCH_PROGRAM") {
        return Some(path.into());
    }
    let this = std::env::current_exe().ok()?;
    let path = this.parent()?.parent()?.join("mcp-pool");
    path.exists().then_some(path)
}

fn mcp_remote() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("POOL_TEST_CLIENTS_IN")?);
    let path = folder.join("mcp-remote/node_modules/mcp-remote/dist/proxy.js");
    path.exists().then_some(path)
}

/// This bench as the test server.
fn server() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg(SERVER);
    command
}

/// The gateway, on a Unix socket and on TCP, with a home of its own.
struct Gateway {
    child: Child,
    home: PathBuf,
    url: String,
}

impl Gateway {
    fn start(program: &Path) -> Self {
        let home = std::env::temp_dir().join(format!("mcp-pool-b17-{}", std::process::id()));
        fs::create_dir_all(&home).expect("a folder can be made");
        let this = std::env::current_exe().expect("this program has a path");
        let server =
            json!({ "command": this, "args": [SERVER], "pool": { "sharing": "multiplexed" } });
        let file = home.join("mcp.json");
        fs::write(
            &file,
            json!({ "mcpServers": { "test": server } }).to_string(),
        )
        .expect("a file can be written");
        let mut child = in_home(program, &home)
            .arg("--config")
            .arg(&file)
            .args(["serve", "--listen", "127.0.0.1:0", "--socket"])
            .arg(home.join("socket"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut address = || {
            let mut line = String::new();
            errors
                .read_line(&mut line)
                .expect("it says where it listens");
            let address = line.trim().strip_prefix("listening on ");
            address.unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (url, _socket) = (address(), address());
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        Self { child, home, url }
    }

    fn connect(&self, program: &Path) -> Command {
        let mut command = in_home(program, &self.home);
        command
            .args(["connect", "--socket"])
            .arg(self.home.join("socket"));
        command
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It ends with its servers; nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn in_home(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("XDG_STATE_HOME");
    command
}

/// A process that answers lines.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    call: String,
}

impl Client {
    /// Starts it, and waits for the answer to `initialize`. `cat` says it back, which is as good.
    fn start(mut command: Command, tool: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": tool, "arguments": { "message": "hello" },
        }});
        let mut client = Self {
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
            call: call.to_string(),
        };
        let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" },
        }});
        client.exchange(&initialize.to_string(), "\"id\":1");
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        writeln!(client.input, "{initialized}").expect("it reads");
        client
    }

    /// Waits for the answer, which holds this.
    fn exchange(&mut self, line: &str, id: &str) {
        writeln!(self.input, "{line}").expect("it reads");
        let mut answer = String::new();
        while !answer.contains(id) {
            answer.clear();
            let read = self.output.read_line(&mut answer).expect("it answers");
            assert_ne!(read, 0, "it ended");
        }
    }

    fn echo(&mut self) {
        let call = self.call.clone();
        self.exchange(&call, "\"id\":2");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds from the start until `initialize` is answered.
fn start(command: Command) -> f64 {
    let began = Instant::now();
    let client = Client::start(command, "");
    let took = began.elapsed();
    drop(client);
    took.as_secs_f64() * 1e3
}

/// Megabytes that are resident when `initialize` and a call are answered.
fn resident(command: Command) -> f64 {
    let mut client = Client::start(command, "test__echo");
    client.echo();
    let status = fs::read_to_string(format!("/proc/{}/status", client.child.id()));
    let status = status.expect("memory is read on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.expect("the kernel reports it") * 1024.0 / 1e6
}

/// The median of so many calls, in microseconds.
fn p50(client: &mut Client, calls: usize) -> f64 {
    let mut took: Vec<_> = (0..calls.max(1))
        .map(|_| {
            let began = Instant::now();
            client.echo();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    median(&mut took)
}
