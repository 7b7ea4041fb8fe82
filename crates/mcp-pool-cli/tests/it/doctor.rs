//! `mcp-pool doctor`: each finding appears where something is really broken, and none where nothing is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    documents::document,
    home::{Home, test_server},
    scripted::scripted,
};

/// The ids that the command has reported in this process.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The ids of a report, with the servers that they are about.
fn ids(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["findings"].as_array().unwrap();
    let seen = findings.iter().filter_map(|found| found["id"].as_str());
    SEEN.lock().extend(seen.map(str::to_owned));
    findings
        .iter()
        .map(|found| {
            let text = |name: &str| found[name].as_str().unwrap_or_default();
            (text("id"), text("server"))
        })
        .collect()
}

/// Runs `doctor --json` and returns its report.
#[track_caller]
fn examine(home: &Home, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["doctor"];
    all.extend(arguments);
    document(home, &all, code)
}

/// Runs `doctor` and expects exactly these findings, each with an error's or warning's fix.
#[track_caller]
fn expect(home: &Home, code: i32, expected: &[(&str, &str)]) -> Value {
    let report = examine(home, &[], code);
    assert_eq!(ids(&report), expected, "{report:#}");
    for found in report["findings"].as_array().unwrap() {
        assert!(found["fix"].is_string(), "{found:#}");
    }
    report
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The test server over HTTP, in a process that ends with this value.
struct Http {
    process: Child,
    url: String,
}

impl Http {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(mcp_testkit::binary())
            .arg("--http")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        Self {
            process,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_sound_world_is_one_line_and_no_finding() {
    let home = Home::new();
    let http = Http::start(&[]);
    home.servers(json!({
        "test": test_server(&[]),
        "legacy": test_server(&["--era", "legacy"]),
        "script": scripted(&home, json!({})),
        "http": { "url": http.url },
    }));
    let output = home.command(&["doctor", "--strict"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("All is well: 4 servers, ") && text.lines().count() == 1,
        "{text}\n{errors}"
    );
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    let report = expect(&home, 0, &[]);
    assert_eq!(report["state"], "ok");
    let servers: BTreeMap<_, _> = { report["servers"].as_array().unwrap().iter() }
        .map(|server| (server["server"].as_str().unwrap(), server))
        .collect();
    assert_eq!(servers["test"]["era"], "modern");
    assert_eq!(servers["legacy"]["era"], "legacy");
    assert_eq!(servers["legacy"]["sharing"], "pinned");
    for name in ["test", "legacy", "script"] {
        let server = servers[name];
        for fact in [
            "open_cold_ms",
            "open_warm_ms",
            "tools",
            "tokens",
            "memory_bytes",
        ] {
            assert!(server[fact].as_u64() > Some(0), "{name} {fact}: {server:#}");
        }
    }
    assert!(
        report["programs"][0]["version"]
            .as_str()
            .unwrap()
            .starts_with("Python 3")
    );
}

#[test]
fn details_are_shown_on_request() {
    let home = Home::new();
    home.servers(json!({ "test": test_server(&[]) }));
    let output = home.command(&["doctor", "-v"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "daemon: it does not run",
        "test: ok",
        "ready after",
        "tokens",
        "multiplexed",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_found() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        home.write(".config/mcp-pool/mcp.json", "{ \"mcpServers\": { ");
        let report = expect(&home, 1, &[("MP001", "")]);
        let message = report["findings"][0]["message"].as_str().unwrap();
        assert!(message.contains("line 1"), "{message}");
        let report = examine(&home, &["--config", "none.json"], 1);
        assert_eq!(ids(&report), [("MP001", "")]);
    });
}

#[test]
fn a_world_without_servers_is_not_well() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        expect(&Home::new(), 1, &[("MP002", "")]);
    });
}

#[test]
fn wrong_entries_are_found_beside_a_sound_server() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let mut odd = test_server(&[]);
        odd["timeout"] = json!(5);
        odd["argss"] = json!([]);
        home.servers(json!({
            "odd": odd,
            "unset": { "command": "x", "env": { "KEY": "${NO_SUCH_VARIABLE}" } },
            "wrong": { "command": 5 },
        }));
        let report = examine(&home, &[], 1);
        let mut found = ids(&report);
        found.sort_unstable();
        let expected = [
            ("MP003", "wrong"),
            ("MP004", "unset"),
            ("MP005", ""),
            ("MP006", ""),
        ];
        assert_eq!(found, expected, "{report:#}");
        let unset = { report["findings"].as_array().unwrap().iter() }
            .find(|found| found["id"] == "MP004")
            .unwrap();
        assert_eq!(unset["fix"], "export NO_SUCH_VARIABLE=...");
    });
}

#[test]
fn plain_secrets_are_found_and_their_file_is_mended() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let mut server = test_server(&[]);
        server["env"] = json!({ "GITHUB_TOKEN": "ghp_0123456789abcdef" });
        let file = home.servers(json!({ "test": server }));
        set_mode(&file, 0o644);
        let report = expect(&home, 0, &[("MP007", "test"), ("MP008", "")]);
        assert!(!report.to_string().contains("ghp_0123456789abcdef"));
        examine(&home, &["--strict"], 1);
        let report = examine(&home, &["--fix"], 0);
        assert_eq!(ids(&report), [("MP007", "test")]);
        assert_eq!(report["fixed"][0]["id"], "MP008");
        assert_eq!(mode(&file), 0o600);
    });
}

#[test]
fn commands_that_cannot_run_are_found() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let plain = home.write("bin/plain", "#!/bin/sh\n");
        let mut elsewhere = test_server(&[]);
        elsewhere["cwd"] = json!("/no/such/folder");
        home.servers(json!({
            "absent": { "command": "no-such-command" },
            "elsewhere": elsewhere,
            "plain": { "command": plain },
        }));
        let report = examine(&home, &[], 4);
        let expected = [
            ("MP101", "absent"),
            ("MP103", "elsewhere"),
            ("MP102", "plain"),
            ("MP214", ""),
        ];
        assert_eq!(ids(&report), expected, "{report:#}");
    });
}

#[test]
fn launchers_that_are_broken_or_old_are_found() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let script = |name: &str, text: &str| {
            let path = home.write(format!("bin/{name}"), format!("#!/bin/sh\n{text}\n"));
            set_mode(&path, 0o755);
        };
        script("node", "echo v14.21.3");
        script("npx", "exec \"$@\"");
        script("uvx", "exec \"$@\"");
        script("uv", "echo broken >&2; exit 1");
        let server = mcp_testkit::binary();
        home.servers(json!({
            "node": { "command": "npx", "args": [server] },
            "python": { "command": "uvx", "args": [server] },
        }));
        let path = format!("{}:/usr/bin:/bin", home.path().join("bin").display());
        let output = home
            .command(&["doctor", "--json"])
            .env("PATH", path)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut found = ids(&report);
        found.sort_unstable();
        assert_eq!(
            found,
            [("MP104", "python"), ("MP105", "node")],
            "{report:#}"
        );
        assert_eq!(output.status.code(), Some(0));
    });
}

#[test]
fn what_a_daemon_left_behind_is_found_and_mended() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        home.servers(json!({ "test": test_server(&[]) }));
        let state = home.path().join(".local/state/mcp-pool");
        fs::create_dir_all(&state).unwrap();
        set_mode(&state, 0o755);
        let runtime = home.path().join("run/mcp-pool");
        fs::create_dir_all(&runtime).unwrap();
        set_mode(&runtime, 0o700);
        let socket = runtime.join("daemon.sock");
        drop(UnixListener::bind(&socket).unwrap());
        expect(&home, 0, &[("MP106", ""), ("MP107", "")]);
        let report = examine(&home, &["--fix"], 0);
        assert_eq!(ids(&report), []);
        assert_eq!(report["fixed"].as_array().unwrap().len(), 2);
        assert_eq!(mode(&state), 0o700);
        assert!(!socket.exists());
    });
}

#[test]
fn a_daemon_that_is_silent_or_of_another_version_is_found() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
    for (answers, id, code) in [(true, "MP108", 0), (false, "MP109", 4)] {
        let home = Home::new();
        home.servers(json!({ "test": test_server(&[]) }));
        let runtime = home.path().join("run/mcp-pool");
        fs::create_dir_all(&runtime).unwrap();
        set_mode(&runtime, 0o700);
        let listener = UnixListener::bind(runtime.join("daemon.sock")).unwrap();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                if answers {
                    let _ = connection.read(&mut [0; 4096]);
                    let head =
                        "HTTP/1.1 200 OK\r\nmcp-pool-version: 0.0.1\r\ncontent-length: 0\r\n\r\n";
                    let _ = connection.write_all(head.as_bytes());
                }
                kept.push(connection);
            }
        });
        let report = expect(&home, code, &[(id, "")]);
        assert_eq!(report["daemon"]["running"], true);
    }
    });
}

#[test]
fn each_broken_server_is_found_and_the_sound_one_beside_them_is_not() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
    let home = Home::new();
    let http = Http::start(&["--bearer", "secret"]);
    let long = "a_name_of_a_tool_that_is_longer_than_it_may_be_in_any_client_that_there_is";
    let broken = [
        (
            "exits",
            "MP201",
            test_server(&["--exit", "3", "--stderr", "no licence"]),
        ),
        ("hangs", "MP202", test_server(&["--hang-before-handshake"])),
        ("login", "MP203", json!({ "url": http.url })),
        ("list", "MP204", scripted(&home, json!({ "no_list": true }))),
        ("mute", "MP204", test_server(&["--hang-after-handshake"])),
        ("empty", "MP205", scripted(&home, json!({ "tools": [] }))),
        (
            "slow",
            "MP206",
            test_server(&["--era", "legacy", "--slow-start", "5500"]),
        ),
        (
            "large",
            "MP207",
            scripted(&home, json!({ "description": "x".repeat(60_000) })),
        ),
        ("long", "MP208", scripted(&home, json!({ "tools": [long] }))),
        (
            "twice",
            "MP209",
            scripted(&home, json!({ "tools": ["a", "a"] })),
        ),
        ("noise", "MP210", test_server(&["--garbage"])),
        (
            "silent",
            "MP211",
            scripted(&home, json!({ "silent": true })),
        ),
        (
            "single",
            "MP212",
            scripted(&home, json!({ "lock": home.path().join("lock") })),
        ),
        (
            "heavy",
            "MP213",
            scripted(&home, json!({ "memory": 600 << 20 })),
        ),
        (
            "unknown",
            "MP401",
            json!({ "url": "http://no-such-host.invalid/mcp", "headers": { "X-Key": "${HOME}" } }),
        ),
        (
            "closed",
            "MP402",
            json!({ "url": "http://127.0.0.1:1/mcp" }),
        ),
    ];
    let mut servers: serde_json::Map<_, _> = broken
        .iter()
        .map(|(name, _, server)| ((*name).to_owned(), server.clone()))
        .collect();
    servers.insert("sound".to_owned(), test_server(&[]));
    home.servers(servers.into());
    let report = examine(&home, &[], 4);
    let found = ids(&report);
    for (name, id, _) in &broken {
        assert!(
            found.contains(&(id, name)),
            "{id} of {name} is missing: {report:#}"
        );
    }
    assert!(found.contains(&("MP403", "unknown")), "{report:#}");
    assert!(!found.contains(&("MP214", "")), "{report:#}");
    // A machine under load opens it slowly.
    let of_sound = found
        .iter()
        .filter(|(id, name)| *name == "sound" && *id != "MP206");
    assert_eq!(of_sound.count(), 0, "{report:#}");
    let exits = { report["findings"].as_array().unwrap().iter() }
        .find(|found| found["server"] == "exits")
        .unwrap();
    assert_eq!(exits["stderr"], json!(["no licence"]));
    });
}

#[test]
fn a_name_that_two_servers_expose_is_found() {
    let home = Home::new();
    let entry = |tools: &[&str], prefix: &str| {
        let mut entry = scripted(&home, json!({ "tools": tools }));
        entry["aggregator"] = json!({ "prefix": prefix });
        entry
    };
    let servers = |prefix: &str| {
        home.servers(json!({
            "one": entry(&["same", "mine"], prefix),
            "two": entry(&["same", "yours"], prefix),
        }))
    };
    servers("never");
    let report = expect(&home, 0, &[("MP209", "one")]);
    let message = report["findings"][0]["message"].as_str().unwrap();
    assert_eq!(message, "tools of one, two have the name same");
    servers("always");
    expect(&home, 0, &[]);
}

#[test]
fn pain_55_a_world_without_a_usable_tool_is_broken() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let mut off = test_server(&[]);
        off["disabled"] = json!(true);
        home.servers(json!({ "off": off }));
        expect(&home, 4, &[("MP214", "")]);
        home.servers(json!({ "empty": scripted(&home, json!({ "tools": [] })) }));
        expect(&home, 4, &[("MP205", "empty"), ("MP214", "")]);
        // No one may use one.
        home.servers(json!({ "test": test_server(&[]) }));
        let settings = ".config/mcp-pool/mcp-pool.toml";
        home.write(settings, "[gateway.allow]\n\"*\" = [\"other.*\"]\n");
        expect(&home, 4, &[("MP205", "test"), ("MP214", "")]);
        home.write(settings, "[gateway.allow]\n\"*\" = [\"test.echo\"]\n");
        expect(&home, 0, &[]);
    });
}

#[test]
fn files_of_clients_are_looked_at() {
    static RUN: OnceLock<()> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = Home::new();
        let names: Vec<_> = (0..41).map(|number| format!("tool_{number}")).collect();
        let server = scripted(&home, json!({ "tools": names }));
        home.servers(json!({ "many": server }));
        let bridge = json!({ "command": "mcp-pool", "args": ["connect", "--client", "cursor"] });
        home.write(".codeium/windsurf/mcp_config.json", "{ \"mcpServers\": ");
        let cursor = |more: &str| {
            let mut servers = json!({ "mcp-pool": bridge, "mine": server });
            servers["mine"]["disabled"] = json!(more == "off");
            let file = json!({ "mcpServers": servers });
            home.write(".cursor/mcp.json", file.to_string());
        };
        cursor("on");
        let report = examine(&home, &[], 0);
        let mut found = ids(&report);
        found.sort_unstable();
        assert_eq!(
            found,
            [("MP301", ""), ("MP302", "many"), ("MP303", "")],
            "{report:#}"
        );
        cursor("off");
        let report = examine(&home, &[], 0);
        assert!(!ids(&report).contains(&("MP302", "many")), "{report:#}");
        // Without us in it, a client's file is its own business.
        home.write(
            ".cursor/mcp.json",
            json!({ "mcpServers": { "mine": server } }).to_string(),
        );
        home.write(".codeium/windsurf/mcp_config.json", "{}");
        expect(&home, 0, &[]);
    });
}

#[test]
fn an_unknown_server_is_a_wrong_usage() {
    let home = Home::new();
    home.servers(json!({ "test": test_server(&[]) }));
    home.command(&["doctor", "tset"]).assert().code(1);
}

/// The tests of something that is broken. Each runs once: the second caller waits for the first.
const BROKEN: &[fn()] = &[
    a_file_that_cannot_be_used_is_found,
    a_world_without_servers_is_not_well,
    wrong_entries_are_found_beside_a_sound_server,
    plain_secrets_are_found_and_their_file_is_mended,
    commands_that_cannot_run_are_found,
    launchers_that_are_broken_or_old_are_found,
    what_a_daemon_left_behind_is_found_and_mended,
    a_daemon_that_is_silent_or_of_another_version_is_found,
    each_broken_server_is_found_and_the_sound_one_beside_them_is_not,
    pain_55_a_world_without_a_usable_tool_is_broken,
    files_of_clients_are_looked_at,
];

#[test]
fn each_finding_of_the_page_is_reported_of_something_that_is_broken() {
    for test in BROKEN {
        test();
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md");
    let page = fs::read_to_string(page).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let ids = headings.filter_map(|heading| heading.split(':').next());
    let ids: BTreeSet<_> = ids.map(str::to_owned).collect();
    assert_eq!(*SEEN.lock(), ids);
}
