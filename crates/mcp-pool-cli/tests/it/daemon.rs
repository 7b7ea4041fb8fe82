//! The daemon's life: one for a user, its files, its start and its end.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::fs::PermissionsExt as _,
    },
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    routing::{get, post},
};
use mcp_testkit::process::{Signal, alive, by_marker, signal};
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use crate::{
    documents::document,
    fake::FakeDaemon,
    home::{Home, test_server},
    lines::Lines,
};

/// A home whose processes end with the test.
pub(crate) struct World(pub(crate) Home);

impl World {
    /// With the test server as `test`, which all clients share.
    pub(crate) fn new() -> Self {
        let mut server = test_server(&[]);
        server["pool"] = json!({ "sharing": "multiplexed" });
        Self::of(&server)
    }

    fn of(server: &Value) -> Self {
        let home = Home::new();
        home.servers(json!({ "test": server }));
        Self(home)
    }

    pub(crate) fn connect(&self) -> Lines {
        Lines::start(self.0.process(&["connect", "--client", "tests"]))
    }

    #[track_caller]
    pub(crate) fn start(&self) -> u32 {
        let document = document(&self.0, &["start"], 0);
        number(&document["pid"])
    }

    /// The processes that have this home.
    pub(crate) fn processes(&self) -> Vec<u32> {
        by_marker(&self.0.path().to_string_lossy())
    }

    /// The process of the daemon, which runs.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        number(&document(&self.0, &["status"], 0)["daemon"]["pid"])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended meanwhile.
            let _ = signal(pid, Signal::KILL);
        }
    }
}

#[track_caller]
fn number(value: &Value) -> u32 {
    let number = value.as_u64().expect("a number");
    number.try_into().expect("the id of a process")
}

/// Waits until something holds, for as long as a slow machine needs.
#[track_caller]
pub(crate) fn until(holds: impl Fn() -> bool) {
    for _ in 0..1_200 {
        if holds() {
            return;
        }
        pause(50);
    }
    panic!("not within a minute");
}

#[allow(clippy::disallowed_methods, reason = "no runtime is blocked")]
fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn five_connects_at_once_start_one_daemon_and_one_process_of_a_shared_server() {
    five_connects(&World::new());
}

#[test]
fn five_connects_at_once_start_one_process_of_a_modern_server_whose_sharing_is_not_set() {
    five_connects(&World::of(&test_server(&[])));
}

/// After a restart of the daemon, which knows the tools from the catalogue and not the era of the server.
#[track_caller]
fn five_connects(world: &World) {
    let mut first = world.connect();
    first.initialize();
    first.call(
        "test__echo",
        json!({ "message": "its tools are known from now on" }),
    );
    first.close();
    document(&world.0, &["stop"], 0);
    assert_eq!(world.processes(), [0_u32; 0]);
    let mut clients: Vec<_> = (0..5).map(|_| world.connect()).collect();
    let mut servers = Vec::new();
    for client in &mut clients {
        let welcome = client.initialize();
        assert_eq!(
            welcome["result"]["serverInfo"]["name"], "mcp-pool",
            "{welcome}"
        );
        let answer = client.call("test__whoami", json!({}));
        servers.push(answer["result"]["structuredContent"]["pid"].clone());
    }
    assert!(servers.iter().all(Value::is_u64), "{servers:?}");
    assert!(servers.iter().all(|pid| *pid == servers[0]), "{servers:?}");
    let connects: Vec<_> = clients.iter().map(Lines::pid).collect();
    let mut others = world.processes();
    others.retain(|pid| !connects.contains(pid));
    let is_daemon = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("--daemon")
    };
    let daemons: Vec<_> = others.iter().copied().filter(is_daemon).collect();
    assert_eq!(daemons, [world.pid()]);
    let mut all = daemons;
    all.push(number(&servers[0]));
    all.sort_unstable();
    others.sort_unstable();
    assert_eq!(others, all);
    let status = document(&world.0, &["status"], 0);
    let connections = status["daemon"]["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 5);
    assert_eq!(connections[0]["client"], "tests");
}

#[test]
fn sigterm_ends_the_daemon_and_leaves_no_process_and_no_socket() {
    let world = World::new();
    let pid = world.start();
    let mut client = world.connect();
    client.initialize();
    client.call("test__echo", json!({ "message": "hello" }));
    let (status, said) = client.close();
    assert!(status.success(), "{said}");
    signal(pid, Signal::TERM).unwrap();
    until(|| world.processes().is_empty());
    assert!(!world.0.path().join("run/mcp-pool/daemon.sock").exists());
}

#[test]
fn stop_returns_when_the_daemon_and_its_servers_have_ended_and_may_be_repeated() {
    let world = World::new();
    world.start();
    let mut client = world.connect();
    client.initialize();
    client.call("test__echo", json!({ "message": "hello" }));
    assert_eq!(document(&world.0, &["stop"], 0)["stopped"], true);
    assert_eq!(world.processes(), [client.pid()]);
    assert_eq!(document(&world.0, &["stop"], 0)["stopped"], false);
    let answer = client.call("test__echo", json!({ "message": "again" }));
    assert_eq!(answer["result"]["content"][0]["text"], "again", "{answer}");
}

#[test]
fn the_daemon_ends_by_itself_without_a_client_and_stays_with_one() {
    let world = World::new();
    let started = document(&world.0, &["start", "--linger", "1s"], 0);
    let pid = number(&started["pid"]);
    // One that sends nothing is a client, too.
    let client = world.connect();
    until(|| {
        !status(&world)["daemon"]["connections"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    pause(2_500);
    assert!(alive(pid), "a client is connected");
    client.close();
    until(|| !alive(pid));
    assert_eq!(world.processes(), [0_u32; 0]);
}

fn status(world: &World) -> Value {
    let output = world.0.command(&["status", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_files_of_the_daemon_are_for_their_owner_alone() {
    let world = World::new();
    world.start();
    let mode = |path: &str| {
        let found = fs::metadata(world.0.path().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("run/mcp-pool"), 0o700);
    assert_eq!(mode("run/mcp-pool/daemon.sock"), 0o600);
    assert_eq!(mode(".local/state/mcp-pool"), 0o700);
    for file in ["version", "key", "daemon.log"] {
        assert_eq!(
            mode(&format!(".local/state/mcp-pool/{file}")),
            0o600,
            "{file}"
        );
    }
}

#[test]
fn a_new_binary_beside_an_old_daemon_says_so_and_how_to_mend_it() {
    let world = World::new();
    world.start();
    let newer = |arguments: &[&str]| {
        let mut command = world.0.process(arguments);
        command.env("POOL_TEST_VERSION", "99.0.0");
        command
    };
    let told = format!(
        "mcp-pool is 99.0.0 and its daemon {}",
        env!("CARGO_PKG_VERSION")
    );
    for arguments in [&["status"][..], &["start"]] {
        let output = newer(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(&told) && said.contains("Fix: mcp-pool stop"),
            "{said}"
        );
    }
    let screen = newer(&[]).output().unwrap();
    assert!(String::from_utf8_lossy(&screen.stdout).contains(&told));
    let mut client = Lines::start(newer(&["connect"]));
    client.initialize();
    until(|| {
        !status(&world)["daemon"]["connections"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let (_, said) = client.close();
    assert!(said.contains(&told), "{said}");
}

#[test]
fn a_state_folder_of_a_later_form_is_refused() {
    let world = World::new();
    world.0.write(".local/state/mcp-pool/version", "2\n");
    let output = world.0.command(&["start"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("has form 2") && said.contains("Fix: "),
        "{said}"
    );
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let world = World::new();
    world.0.write(".config/mcp-pool/mcp.json", "{ nothing");
    let output = world.0.command(&["start"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("mcp.json") && said.contains("Fix: mcp-pool config check"),
        "{said}"
    );
    assert_eq!(world.processes(), [0_u32; 0]);
}

#[test]
fn start_ends_as_the_daemon_does_where_its_address_is_in_use() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = format!("[gateway]\nlisten = \"{address}\"\n");
    world.0.write(".config/mcp-pool/mcp-pool.toml", settings);
    let (code, _, said) = world.0.run(&["start"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains(&address.to_string()), "{said}");
}

#[test]
fn a_link_that_leads_nowhere_is_not_replaced_by_an_empty_file_of_servers() {
    let world = World(Home::new());
    let folder = world.0.path().join(".config/mcp-pool");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("not-mounted/mcp.json", folder.join("mcp.json")).unwrap();
    world.start();
    let target = fs::read_link(folder.join("mcp.json")).unwrap();
    assert_eq!(target.to_str(), Some("not-mounted/mcp.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_returns_when_the_next_daemon_has_taken_the_place_of_the_one_that_ended() {
    let world = World(Home::new());
    let folder = world.0.path().join("run/mcp-pool");
    let stopped = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stopped);
    let info = async move || {
        let pid = if stopped.load(Ordering::Relaxed) {
            2
        } else {
            1
        };
        Json(json!({ "pid": pid }))
    };
    let socket = folder.join("daemon.sock");
    // As a daemon that starts does, which binds it.
    let bound = socket.clone();
    let stop = async move || {
        fs::set_permissions(&bound, fs::Permissions::from_mode(0o600)).unwrap();
        asked.store(true, Ordering::Relaxed);
    };
    let routes = Router::new()
        .route("/daemon", get(info))
        .route("/daemon/stop", post(stop));
    let _daemon = FakeDaemon::at(&socket, routes);
    let lock = fs::File::create(folder.join("daemon.lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(document(&world.0, &["stop"], 0)["stopped"], true);
}

#[test]
fn a_server_that_is_added_while_the_daemon_runs_is_told_to_its_clients_and_served() {
    let world = World(Home::new());
    world.start();
    let mut client = world.connect();
    client.initialize();
    world.0.servers(json!({ "late": test_server(&[]) }));
    while client.message()["method"] != "notifications/tools/list_changed" {}
    let list = client.request("tools/list", json!({}));
    let listed = client.answer(list);
    let tools = listed["result"]["tools"].as_array().expect("a list");
    assert!(
        tools.iter().any(|tool| tool["name"] == "late__echo"),
        "{listed}"
    );
    let answer = client.call("late__echo", json!({ "message": "hello" }));
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
}

#[test]
fn restart_replaces_the_process_of_a_server() {
    let world = World::new();
    world.start();
    let mut client = world.connect();
    client.initialize();
    let mut pid =
        || client.call("test__whoami", json!({}))["result"]["structuredContent"]["pid"].clone();
    let before = pid();
    assert_eq!(document(&world.0, &["restart", "test"], 0)["drained"], true);
    assert_ne!(pid(), before);
    let output = world.0.command(&["restart", "tset"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tset"));
}

#[test]
fn logs_show_what_a_server_wrote_to_standard_error() {
    let world = World(Home::new());
    world.0.servers(json!({
        "loud": test_server(&["--stderr", "it is loud"]),
        "quiet": test_server(&["--stderr", "it is quiet"]),
    }));
    world.start();
    let mut client = world.connect();
    client.initialize();
    client.call("loud__echo", json!({ "message": "hello" }));
    client.call("quiet__echo", json!({ "message": "hello" }));
    let lines = |server: &str| document(&world.0, &["logs", server], 0)["lines"].to_string();
    until(|| lines("quiet").contains("it is quiet"));
    until(|| lines("loud").contains("it is loud"));
    assert!(!lines("loud").contains("it is quiet"));
    let missing = world
        .0
        .command(&["logs", "--follow", "--json"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn commands_that_need_the_daemon_say_that_it_does_not_run() {
    let home = Home::new();
    for arguments in [&["status"][..], &["restart", "test"]] {
        let output = home.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Fix: mcp-pool start"), "{said}");
    }
    let document = document(&home, &["status"], 4);
    assert_eq!(document["running"], false);
}

#[test]
fn the_bare_command_is_a_screen_and_never_an_error() {
    let home = Home::new();
    let screen = |home: &Home| {
        let output = home.command(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let empty = screen(&home);
    assert!(
        empty.contains("not running") && empty.contains("mcp-pool import"),
        "{empty}"
    );
    home.write(".config/mcp-pool/mcp.json", "{ nothing");
    let broken = screen(&home);
    assert!(broken.contains("mcp-pool config check"), "{broken}");
    let world = World::new();
    world.start();
    let running = screen(&world.0);
    assert!(
        running.contains("daemon: running") && running.contains("test"),
        "{running}"
    );
    assert!(
        running.lines().all(|line| line.chars().count() <= 80),
        "{running}"
    );
    document(&world.0, &[], 0);
}

/// The command with a socket of the service manager.
fn activated(world: &World, socket: impl AsFd, command: &str) -> std::process::Command {
    let socket = socket.as_fd();
    // The variables name the process, which only itself knows in time.
    let script = format!(
        "exec 3<&{} && LISTEN_FDS=1 LISTEN_PID=$$ exec {} {command}",
        socket.as_raw_fd(),
        env!("CARGO_BIN_EXE_mcp-pool"),
    );
    let own = world.0.process(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env_clear();
    for (name, value) in own.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
    shell
}

#[test]
fn a_socket_of_the_service_manager_that_other_machines_reach_needs_authentication() {
    let world = World::new();
    let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let mut serve = activated(&world, &socket, "serve");
    let mut serve = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(serve.stderr.take().unwrap());
    errors.read_line(&mut said).unwrap();
    assert!(said.contains("without authentication"), "{said}");
    assert_eq!(serve.wait().unwrap().code(), Some(1));
}

#[test]
fn a_socket_of_the_service_manager_is_served_and_left_in_place() {
    let world = World::new();
    let path = world.0.path().join("activated.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut daemon = activated(&world, &socket, "serve --daemon");
    let mut daemon = daemon
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let path = path.to_string_lossy().into_owned();
    let mut client = Lines::start(world.0.process(&["connect", "--socket", &path]));
    client.initialize();
    let answer = client.call("test__echo", json!({ "message": "activated" }));
    assert_eq!(
        answer["result"]["content"][0]["text"], "activated",
        "{answer}"
    );
    client.close();
    signal(daemon.id(), Signal::TERM).unwrap();
    daemon.wait().unwrap();
    assert!(
        fs::exists(&path).unwrap(),
        "the service manager still has it"
    );
    assert_eq!(world.processes(), [0_u32; 0]);
}
