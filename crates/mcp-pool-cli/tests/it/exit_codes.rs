//! Exit codes: of every command when it does what it should, and when it fails as it may.

use std::{collections::BTreeSet, fs::File, net::TcpListener};

use mcp_testkit::{HttpOptions, HttpServer};
use serde_json::json;

use crate::{
    daemon::World,
    help,
    home::{Home, test_server},
};

/// A command line and how it ends.
type Row = (&'static str, i32);

/// In a home with the server `kit`, one after the other. No daemon runs.
const ALONE: &[Row] = &[
    ("", 0),
    ("--version", 0),
    ("--help", 0),
    ("lst", 1),
    ("--config none.json list", 1),
    ("serve --dry-run", 0),
    ("serve --demo --listen 0.0.0.0:0", 1),
    ("connect --socket /nowhere/x.sock", 4),
    ("start --linger soon", 1),
    ("stop", 0),
    ("stop kit", 1),
    ("status", 4),
    ("restart kit", 4),
    ("logs", 0),
    ("logs --follow --json", 1),
    ("add more -- true", 0),
    ("add kit -- true", 1),
    ("disable more", 0),
    ("disable mroe", 1),
    ("enable more", 0),
    ("enable mroe", 1),
    ("remove more", 0),
    ("remove more", 1),
    ("import", 0),
    ("import --from nobody", 1),
    ("install --client cursor", 0),
    ("install --client nobody", 1),
    ("uninstall --client cursor", 0),
    ("uninstall --client cursor", 1),
    ("list", 0),
    ("list kit.echo", 0),
    ("list kti", 1),
    ("search echo", 0),
    ("search", 1),
    ("call kit.echo message=x", 0),
    ("call kit.ehco message=x", 1),
    ("read testkit://readme", 0),
    ("read testkit://raedme", 1),
    ("prompt kit.greeting name=Ada", 0),
    ("prompt kit.greeting", 1),
    ("complete kit.review language", 0),
    ("complete kit.reveiw language", 1),
    ("doctor kit", 0),
    ("doctor kti", 1),
    ("bench kit --time 30ms --callers 2", 0),
    ("bench kti --time 30ms", 1),
    ("top --once", 4),
    ("approve", 0),
    ("approve kit.echo", 1),
    ("audit", 0),
    ("audit --since soon", 1),
    ("token new ann --write", 0),
    ("token new ann", 1),
    ("token list", 0),
    // Without it everyone would be let in.
    ("token revoke ann", 1),
    ("token revoke ann --force", 0),
    ("token revoke ann", 1),
    ("auth login kit", 1),
    ("auth logout kit", 1),
    ("schema", 0),
    ("schema kit", 1),
    ("config check", 0),
    ("config show --origin", 0),
    ("config", 1),
    ("completions fish", 0),
    ("completions tcsh", 1),
    ("man", 0),
    ("man --dir /dev/null/man1", 1),
];

/// In a home whose daemon runs.
const BESIDE_THE_DAEMON: &[Row] = &[
    ("", 0),
    ("start", 0),
    ("status", 0),
    ("top --once", 0),
    ("restart kit", 0),
    ("restart kti", 1),
    ("logs kit", 0),
    // Its client has gone at once.
    ("connect", 0),
    ("list", 0),
    ("list kti", 1),
    ("search echo", 0),
    ("read testkit://readme", 0),
    ("read testkit://raedme", 1),
    ("prompt kit.greeting name=Ada", 0),
    ("prompt kit.greeting", 1),
    ("complete kit.review language", 0),
    ("complete kit.reveiw language", 1),
    ("doctor", 0),
    ("stop", 0),
];

/// In a home whose file of servers cannot be read. The daemon does not start.
const BROKEN: &[Row] = &[
    ("", 0),
    ("serve", 1),
    ("connect", 4),
    ("start", 1),
    ("add a -- true", 1),
    ("remove a", 1),
    ("enable a", 1),
    ("disable a", 1),
    ("import", 1),
    ("install --client cursor", 1),
    ("list", 1),
    ("search a", 1),
    ("call a.b", 1),
    ("read a://b", 1),
    ("prompt a.b", 1),
    ("complete a.b c", 1),
    ("doctor", 1),
    ("bench a", 1),
    ("approve", 1),
    ("token new ann", 1),
    ("auth login a", 1),
    ("config check", 1),
    ("config show", 1),
];

/// How a call ends is the same with a daemon and without.
const CALLS: &[Row] = &[
    ("call kit.echo message=x", 0),
    ("call kit.echo mesage=x", 1),
    ("call kit.ehco message=x", 1),
    ("call guarded.echo message=x", 3),
    ("list guarded", 3),
    ("call dead.x", 4),
    ("list dead", 4),
    ("call kit.sleep ms=60000 --timeout 200ms", 4),
    ("call kit.tool_error message=x", 5),
    ("call kit.fail code=-32000 message=x", 5),
    ("call kit.count", 6),
];

#[track_caller]
fn run_all(home: &Home, rows: &[Row]) {
    for (line, expected) in rows {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let (code, out, err) = home.run(&arguments);
        assert_eq!(code, *expected, "mcp-pool {line}\n{out}{err}");
        // Neither is a terminal.
        assert!(!out.contains('\x1b'), "mcp-pool {line}: {out:?}");
        assert!(!err.contains('\x1b'), "mcp-pool {line}: {err:?}");
        if code != 0 {
            assert!(!err.is_empty(), "mcp-pool {line}: it does not say why");
        }
    }
}

#[test]
fn commands_without_a_daemon_end_with_their_exit_codes() {
    run_all(&Home::with_kit(), ALONE);
}

#[test]
fn commands_beside_a_daemon_end_with_their_exit_codes() {
    run_all(&World(Home::with_kit()).0, BESIDE_THE_DAEMON);
}

#[test]
fn a_file_that_cannot_be_read_is_exit_1_of_each_command_that_needs_it() {
    let world = World(Home::new());
    world.0.write(".config/mcp-pool/mcp.json", "{ nothing");
    run_all(&world.0, BROKEN);
}

#[test]
fn without_servers_there_is_nothing_to_look_at() {
    let home = Home::new();
    for command in ["list", "search x", "call a.b", "read a://b", "doctor"] {
        run_all(&home, &[(command, 1)]);
    }
}

#[test]
fn every_command_has_a_row_for_its_success_and_one_for_a_failure() {
    let rows = || {
        [ALONE, BESIDE_THE_DAEMON, BROKEN, CALLS]
            .concat()
            .into_iter()
    };
    let with = |succeeds: bool| -> BTreeSet<_> {
        let rows = rows().filter(|(_, code)| (*code == 0) == succeeds);
        rows.filter_map(|(line, _)| line.split_whitespace().next())
            .collect()
    };
    let (successes, failures) = (with(true), with(false));
    for command in help::commands() {
        let name = command[0].as_str();
        // A login takes a browser: `auth.rs` plays one.
        assert!(
            successes.contains(name) || name == "auth",
            "{name}: no success"
        );
        assert!(failures.contains(name), "{name}: no failure");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_same_exit_code_with_and_without_a_daemon() {
    let guarded = HttpServer::start(HttpOptions {
        bearer: Some("right".into()),
        ..HttpOptions::default()
    })
    .await;
    let world = World(Home::new());
    let mut kit = test_server(&[]);
    kit["aggregator"] = json!({ "deny": ["count"] });
    let mut dead = test_server(&["--exit", "3"]);
    dead["pool"] = json!({ "retry_attempts": 0 });
    let headers = json!({ "Authorization": "Bearer wrong" });
    world.0.servers(json!({
        "kit": kit,
        "dead": dead,
        "guarded": { "url": guarded.url(), "headers": headers },
    }));
    tokio::task::spawn_blocking(move || {
        run_all(&world.0, CALLS);
        world.start();
        run_all(&world.0, CALLS);
    })
    .await
    .unwrap();
}

#[test]
fn an_address_in_use_cannot_be_served() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--demo", "--listen", &address];
    assert_eq!(Home::new().run(&serve).0, 4);
}

#[test]
fn output_that_cannot_be_written_is_a_fault_of_the_program_and_a_reader_that_has_gone_is_none() {
    let home = Home::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = home.process(&["schema"]).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = home.process(&["schema"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
