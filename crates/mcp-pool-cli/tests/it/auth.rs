//! `mcp-pool auth`: a login by consent, over real sockets.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    daemon::{World, until},
    documents::{check, document},
    home::Home,
};

/// An authorization server and the MCP server that it guards, on one port. Only the token `good` is taken.
struct Guarded(String);

impl Guarded {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let of_server = origin.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = of_server.clone();
                std::thread::spawn(move || serve(stream, &origin));
            }
        });
        Self(origin)
    }

    fn url(&self) -> String {
        format!("{}/mcp", self.0)
    }
}

/// One request on a connection.
fn serve(stream: TcpStream, origin: &str) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or_default() <= 2 {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let Some(first) = head.first() else { return };
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let length = header("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, more, answer) = answer(path, origin, header("authorization").as_deref(), &body);
    let text = if answer.is_null() {
        String::new()
    } else {
        answer.to_string()
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{text}",
        text.len()
    );
    let _ = stream.get_mut().write_all(head.as_bytes());
}

fn answer(
    path: &str,
    origin: &str,
    token: Option<&str>,
    body: &[u8],
) -> (&'static str, String, Value) {
    let ok = |answer| ("200 OK", String::new(), answer);
    if path.starts_with("/.well-known/oauth-protected-resource") {
        return ok(
            json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin] }),
        );
    }
    if path.starts_with("/.well-known/") {
        return ok(json!({
            "issuer": origin,
            "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "registration_endpoint": format!("{origin}/register"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        }));
    }
    match path {
        "/register" => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            (
                "201 Created",
                String::new(),
                json!({ "client_id": "c", "redirect_uris": asked["redirect_uris"] }),
            )
        }
        "/token" => ok(json!({
            "access_token": "good", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "again",
        })),
        "/mcp" if token != Some("Bearer good") => {
            let metadata = format!("{origin}/.well-known/oauth-protected-resource/mcp");
            let challenge =
                format!("WWW-Authenticate: Bearer resource_metadata=\"{metadata}\"\r\n");
            ("401 Unauthorized", challenge, Value::Null)
        }
        "/mcp" => mcp(body),
        _ => ("404 Not Found", String::new(), Value::Null),
    }
}

/// A legacy server with one tool.
fn mcp(body: &[u8]) -> (&'static str, String, Value) {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    if asked["id"].is_null() {
        return ("202 Accepted", String::new(), Value::Null);
    }
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
            "serverInfo": { "name": "guarded", "version": "1" },
        }),
        Some("tools/list") => {
            json!({ "tools": [{ "name": "a", "inputSchema": { "type": "object" } }] })
        }
        Some("tools/call") => json!({ "content": [{ "type": "text", "text": "called" }] }),
        Some("ping") => json!({}),
        _ => {
            let error = json!({ "code": -32601, "message": "not here" });
            let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
            return ("200 OK", String::new(), answer);
        }
    };
    (
        "200 OK",
        String::new(),
        json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }),
    )
}

/// The value of a parameter of a URL, decoded.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")))
        .unwrap();
    value.replace("%3A", ":").replace("%2F", "/")
}

/// A home whose one server is guarded.
fn home(guarded: &Guarded) -> Home {
    let home = Home::new();
    home.servers(json!({ "guarded": { "url": guarded.url() } }));
    home
}

/// Logs in to it, as a person with a browser does. Returns the document of the command.
fn log_in(home: &Home) -> Value {
    let mut login = home
        .process(&["auth", "login", "guarded", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = BufReader::new(login.stderr.take().unwrap());
    let page = errors
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("/authorize?"));
    let page = page.expect("the page is shown");
    let redirect = parameter(&page, "redirect_uri");
    let (address, path) = redirect
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut browser = TcpStream::connect(address).unwrap();
    let state = parameter(&page, "state");
    let request =
        format!("GET /{path}?code=the-code&state={state} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    browser.write_all(request.as_bytes()).unwrap();
    let mut shown = String::new();
    browser.read_to_string(&mut shown).unwrap();
    assert!(shown.contains("You can close this page"), "{shown}");
    let output = login.wait_with_output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap();
    check(&["auth", "login"], &document);
    document
}

#[test]
fn a_login_by_consent_is_kept_for_the_owner_alone_and_used_by_other_commands() {
    let guarded = Guarded::start();
    let home = home(&guarded);
    let ends = |expected: [i32; 3]| {
        let commands = [
            &["call", "guarded.a"][..],
            &["list", "--refresh"],
            &["doctor"],
        ];
        for (command, expected) in commands.into_iter().zip(expected) {
            let (code, out, err) = home.run(command);
            assert_eq!(code, expected, "{command:?}: {out}{err}");
        }
    };
    ends([3, 3, 4]);
    let (_, _, err) = home.run(&["call", "guarded.a"]);
    assert!(err.contains("mcp-pool auth login guarded"), "{err}");
    let logged_in = json!({ "server": "guarded", "logged_in": true, "tools": 1 });
    assert_eq!(log_in(&home), logged_in);

    let folder = home.path().join(".local/state/mcp-pool/oauth");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    ends([0, 0, 0]);
    assert_eq!(
        document(&home, &["auth", "logout", "guarded"], 0)["logged_in"],
        false
    );
    ends([3, 3, 4]);
}

#[test]
fn a_daemon_that_runs_takes_a_login_and_a_logout_without_a_restart() {
    let guarded = Guarded::start();
    let world = World(home(&guarded));
    let daemon = world.start();
    let home = &world.0;
    let call = || {
        let (code, out, err) = home.run(&["call", "guarded.a", "-v"]);
        assert!(err.contains("the servers are those of the daemon"), "{err}");
        (code, out)
    };
    assert_eq!(call().0, 3);
    log_in(home);
    until(|| call() == (0, "called\n".to_owned()));
    home.succeed(&["auth", "logout", "guarded"]);
    assert_eq!(call().0, 3);
    log_in(home);
    until(|| call().0 == 0);
    assert_eq!(world.pid(), daemon);
}

#[test]
fn a_daemon_takes_a_login_to_a_server_that_was_added_while_it_runs() {
    let guarded = Guarded::start();
    let world = World(Home::new());
    world.start();
    world.0.succeed(&["add", "guarded", &guarded.url()]);
    log_in(&world.0);
    until(|| world.0.run(&["call", "guarded.a"]).0 == 0);
}

#[test]
fn a_process_has_no_login() {
    let home = Home::new();
    home.servers(json!({ "time": { "command": "x" } }));
    home.command(&["auth", "login", "time"]).assert().code(1);
    home.command(&["auth", "login", "none"]).assert().code(1);
}
