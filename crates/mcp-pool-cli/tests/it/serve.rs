//! `serve`: the gateway in the foreground.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use mcp_testkit::process::{Signal, signal};
use serde_json::json;

use crate::{
    daemon::{World, until},
    documents::document,
    home::{Home, test_server},
    lines::Lines,
};

/// Starts it, and returns the address that it says.
fn serve(home: &Home, arguments: &[&str]) -> (Child, String) {
    let mut command = home.process(&["serve"]);
    let mut child = command
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ");
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    // What it says further has a reader.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    (child, address)
}

#[test]
fn the_demo_needs_no_configuration_and_ends_at_sigterm() {
    let home = Home::new();
    let (mut child, url) = serve(&home, &["--demo", "--listen", "127.0.0.1:0"]);
    let host = url
        .strip_prefix("http://")
        .and_then(|url| url.strip_suffix("/mcp"))
        .unwrap();
    assert!(!host.ends_with(":0"), "{url}");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "tests", "version": "1" },
    }});
    let body = body.to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("mcp-pool"),
        "{answer}"
    );
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET /daemon HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 404"),
        "only the socket has these routes: {answer}"
    );
    signal(child.id(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What a request without a body is answered with.
fn ask(url: &str, path: &str, headers: &str) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let host = host.strip_suffix("/mcp").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_status_api_is_read_without_a_token_only_as_long_as_clients_need_none() {
    let world = World::new();
    let (mut child, url) = serve(&world.0, &["--listen", "127.0.0.1:0"]);
    let config = || ask(&url, "/api/v1/mcp/config", "");
    assert_eq!(config(), "HTTP/1.1 200 OK");
    let token = document(&world.0, &["token", "new", "ann", "--write"], 0);
    until(|| config() == "HTTP/1.1 401 Unauthorized");
    assert_eq!(ask(&url, "/metrics", ""), "HTTP/1.1 401 Unauthorized");
    let token = token["token"].as_str().unwrap();
    let header = format!("Authorization: Bearer {token}\r\n");
    let with_token = ask(&url, "/api/v1/mcp/config", &header);
    assert_eq!(with_token, "HTTP/1.1 401 Unauthorized", "it is a client's");
    assert_eq!(ask(&url, "/healthz", ""), "HTTP/1.1 200 OK");
    document(&world.0, &["token", "revoke", "ann", "--force"], 0);
    until(|| config() == "HTTP/1.1 200 OK");
    signal(child.id(), Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_client_is_served_over_standard_input_and_output() {
    let home = Home::new();
    let mut client = Lines::start(home.process(&["serve", "--stdio", "--demo"]));
    client.initialize();
    let answer = client.call("demo__add", json!({ "a": 2, "b": 0.5 }));
    assert_eq!(
        answer["result"]["structuredContent"]["sum"], 2.5,
        "{answer}"
    );
    let (status, said) = client.close();
    assert!(status.success(), "{said}");
}

#[test]
fn a_socket_of_its_own_is_reached_by_connect() {
    let world = World::new();
    let path = world.0.path().join("own.sock");
    let path = path.to_string_lossy();
    let (mut child, address) = serve(&world.0, &["--socket", &path]);
    assert_eq!(address, path);
    let mut client = Lines::start(world.0.process(&["connect", "--socket", &path]));
    client.initialize();
    let answer = client.call("test__echo", json!({ "message": "hello" }));
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
    client.close();
    signal(child.id(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(world.processes(), [0_u32; 0]);
}

#[test]
fn clients_of_a_socket_of_its_own_do_not_share_a_pinned_server() {
    let home = Home::new();
    let mut server = test_server(&[]);
    server["pool"] = json!({ "sharing": "pinned" });
    home.servers(json!({ "test": server }));
    let path = home.path().join("own.sock");
    let path = path.to_string_lossy();
    let (mut child, _) = serve(&home, &["--socket", &path]);
    let connect = || Lines::start(home.process(&["connect", "--socket", &path]));
    let mut clients = [connect(), connect()];
    let [one, other] = clients.each_mut().map(|client| {
        let answer = client.call_modern("test__whoami", json!({}));
        answer["result"]["structuredContent"]["pid"]
            .as_u64()
            .unwrap()
    });
    assert_ne!(one, other);
    signal(child.id(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn other_machines_are_not_served_without_authentication() {
    let home = Home::new();
    let output = home
        .command(&["serve", "--demo", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("without authentication"), "{said}");
}

#[test]
fn an_address_in_use_is_exit_4_and_a_broken_file_exit_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::new();
    let output = home
        .command(&["serve", "--demo", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    home.write(".config/mcp-pool/mcp.json", "{ nothing");
    let output = home.command(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_dry_run_prints_what_would_be_served_and_starts_nothing() {
    let world = World(Home::new());
    world
        .0
        .servers(json!({ "test": test_server(&[]), "broken": { "command": "" } }));
    let plan = document(&world.0, &["serve", "--dry-run"], 0);
    assert_eq!(plan["addresses"], json!(["http://127.0.0.1:9888/mcp"]));
    assert_eq!(plan["servers"][1]["server"], "test");
    assert_eq!(plan["servers"][1]["transport"], "stdio");
    assert!(plan["servers"][0]["disabled"].is_string());
    let output = world.0.command(&["serve", "--dry-run"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("would listen at http://127.0.0.1:9888/mcp"),
        "{text}"
    );
    assert_eq!(world.processes(), [0_u32; 0]);
}
