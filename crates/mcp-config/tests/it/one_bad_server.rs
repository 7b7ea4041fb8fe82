//! All problems of one server are reported, and disable that server only.

use crate::loader;
use mcp_config::{Config, Initialization, PoolSettings, Secret, ServerConfig};

fn load(text: &str) -> Config {
    loader()
        .environment([("HOME", "/home/me")])
        .text(".mcp.json", text)
        .load()
        .unwrap()
}

fn reported(config: &Config, server: &str) -> Vec<String> {
    config.servers[server]
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_misspelt_setting_is_told_with_the_nearest_name() {
    let config =
        load(r#"{"mcpServers": {"github": {"command": "x", "pool": {"max_conections": 3}}}}"#);
    assert_eq!(
        reported(&config, "github"),
        [
            ".mcp.json: mcpServers.github.pool.max_conections: unknown setting, did you mean max_connections?"
        ]
    );
    assert_eq!(config.check().unwrap_err().problems().len(), 1);
}

#[test]
fn everything_wrong_is_told_at_once_and_the_good_server_works() {
    let config = load(
        r#"{"mcpServers": {
            "good": {"command": "x"},
            "bad": {
                "command": "${NO_COMMAND}", "args": "-y pkg", "env": {"A": ["b"], "C": "${NO_C}"}, "timeout": "soon",
                "pool": {"max_connections": 0, "sharing": "shared", "circuit_breaker": {"failure_treshold": 2}}
            },
            "off": {"command": "${NO_COMMAND}", "disabled": true},
            "number": 7,
            "nothing": {"description": "x"},
            "typo": {"comand": "x"},
            "both": {"command": "x", "url": "http://h/"},
            "socket": {"type": "ws", "url": "ws://h/"},
            "empty": {"command": " "},
            "bare": {"type": "http"},
            "slot": {"type": "stdio", "url": "http://h/"}
        }}"#,
    );
    assert_eq!(
        config.usable().map(|(name, ..)| name).collect::<Vec<_>>(),
        ["good"]
    );
    let path = ".mcp.json: mcpServers.bad";
    let bad = reported(&config, "bad");
    for line in [
        format!(
            "{path}.command: variable NO_COMMAND is not set, set it, or write ${{NO_COMMAND:-default}}"
        ),
        format!(
            "{path}.args: a text is not allowed here, expected a list: one text for each argument"
        ),
        format!("{path}.env.A: a list is not allowed here, expected a text"),
        format!("{path}.env.C: variable NO_C is not set, set it, or write ${{NO_C:-default}}"),
        format!("{path}.timeout: a text is not allowed here, expected a number of milliseconds"),
        format!(
            "{path}.pool.max_connections: 0 is not allowed, expected a whole number of at least 1"
        ),
        format!(
            "{path}.pool.sharing: \"shared\" is not allowed, expected one of multiplexed, exclusive, pinned"
        ),
        format!(
            "{path}.pool.circuit_breaker.failure_treshold: unknown setting, did you mean failure_threshold?"
        ),
    ] {
        assert!(bad.contains(&line), "{line}\nnot in\n{bad:#?}");
    }
    assert_eq!(bad.len(), 8, "{bad:#?}");
    assert_eq!(
        config.servers["off"].disabled().unwrap().to_string(),
        "switched off: disabled is true"
    );
    assert_eq!(reported(&config, "off"), [] as [&str; 0]);
    for (server, line) in [
        (
            "number",
            "7 is not allowed here, expected a table with command or url",
        ),
        (
            "nothing",
            "neither command nor url is given, a server needs one of them",
        ),
        (
            "typo",
            "neither command nor url is given, did you mean command instead of comand?",
        ),
        (
            "both",
            "both command and url are given, remove one, or add \"type\": \"stdio\" or \"http\"",
        ),
    ] {
        assert_eq!(
            reported(&config, server),
            [format!(".mcp.json: mcpServers.{server}: {line}")]
        );
    }
    assert_eq!(
        reported(&config, "socket"),
        [
            ".mcp.json: mcpServers.socket.type: \"ws\" is not a transport we have, expected stdio, http or streamable-http"
        ]
    );
    assert_eq!(
        reported(&config, "empty"),
        [".mcp.json: mcpServers.empty.command: the command is empty"]
    );
    assert_eq!(
        reported(&config, "bare"),
        [".mcp.json: mcpServers.bare.url: an http server needs a url"]
    );
    assert_eq!(
        reported(&config, "slot"),
        [".mcp.json: mcpServers.slot.command: a stdio server needs a command"]
    );
}

#[test]
fn with_fail_fast_a_bad_server_stops_the_start() {
    let text = r#"{"good": {"command": "x"}, "bad": {"command": "${NOPE}", "pool": {"initialization": "fail_fast"}}}"#;
    let error = loader().text("f", text).load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "f: bad.command: variable NOPE is not set, set it, or write ${NOPE:-default}"
    );
}

#[test]
fn an_error_of_the_whole_tells_what_is_wrong_with_every_server_too() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("mcp-pool.toml");
    std::fs::write(&settings, "[defaults]\nmax_waiter = 5\n").unwrap();
    let error = loader()
        .settings_file(&settings)
        .environment([("MCP_SERVER_A_B_MAX_WAITERS", "many")])
        .text(
            "f",
            r#"{
                "a.b": {"command": "x"},
                "a-b": {"command": "x"},
                "good": {"command": "x"},
                "typo": {"comand": "x"},
                "off": {"command": "${NOPE}", "disabled": true}
            }"#,
        )
        .load()
        .unwrap_err()
        .to_string();
    assert_eq!(
        error.replace(&format!("{}/", folder.path().display()), ""),
        "mcp-pool.toml: defaults.max_waiter: unknown setting, did you mean max_waiters?\n\
         environment: MCP_SERVER_A_B_MAX_WAITERS: \"many\" is not allowed, expected a whole number of at least 1\n\
         f: typo: neither command nor url is given, did you mean command instead of comand?",
        "all of it, and what two servers share once"
    );
}

#[test]
fn a_bad_server_that_stops_the_start_does_not_hide_one_that_does_not() {
    let text = r#"{
        "a": {"command": "${A}"},
        "b": {"command": "${B}", "pool": {"initialization": "fail_fast"}}
    }"#;
    let error = loader().text("f", text).load().unwrap_err();
    assert_eq!(
        error.to_string(),
        "f: a.command: variable A is not set, set it, or write ${A:-default}\n\
         f: b.command: variable B is not set, set it, or write ${B:-default}"
    );
}

#[test]
fn a_server_from_code_is_held_to_the_same_rules() {
    let config = loader()
        .server("a", ServerConfig::stdio("x").header("A", "b"))
        .server(
            "b",
            ServerConfig::http("nowhere").pool(PoolSettings::new().max_waiters(1).max_in_flight(0)),
        )
        .server("c", ServerConfig::stdio("x"))
        .load()
        .unwrap();
    assert_eq!(
        reported(&config, "a"),
        ["code: a.headers: a stdio server has no headers, .env(..) sets what its process receives"]
    );
    assert_eq!(
        reported(&config, "b").len(),
        2,
        "{:#?}",
        reported(&config, "b")
    );
    assert!(config.servers["c"].is_usable());

    let strict = PoolSettings::new()
        .max_in_flight(0)
        .initialization(Initialization::FailFast);
    let error = loader()
        .server("a", ServerConfig::stdio("x").pool(strict))
        .load()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("code: a.max_in_flight: 0 is not allowed"),
        "{error}"
    );
}

#[test]
fn a_field_is_told_by_the_name_that_its_client_gave_it() {
    let config = load(
        r#"{
            "a": {"transport": "sse", "url": "https://h/sse"},
            "b": {"type": "sse", "url": "https://h/sse"},
            "c": {"transportType": "ws", "url": "https://h/"},
            "d": {"httpUrl": "nowhere"},
            "e": {"serverUrl": "ftp://h/"},
            "f": {"type": "http", "url": "http://"}
        }"#,
    );
    let retired = "the HTTP+SSE transport is retired and not supported, use \"type\": \"http\" with the server's \
                   streamable HTTP URL (often the same address with /mcp instead of /sse), or put a stdio bridge in \
                   front of it";
    let no_url = "not a URL an MCP server can have, expected http:// or https://, then a host, without spaces";
    for (server, field, message) in [
        ("a", "transport", retired),
        ("b", "type", retired),
        (
            "c",
            "transportType",
            "\"ws\" is not a transport we have, expected stdio, http or streamable-http",
        ),
        ("d", "httpUrl", no_url),
        ("e", "serverUrl", no_url),
        ("f", "url", no_url),
    ] {
        assert_eq!(
            reported(&config, server),
            [format!(".mcp.json: {server}.{field}: {message}")]
        );
    }
}

#[test]
fn a_misspelt_variable_of_a_server_costs_that_server() {
    let config = loader()
        .environment([("MCP_SERVER_A_MAX_WAITER", "5")])
        .text("f", r#"{"a": {"command": "x"}, "b": {"command": "x"}}"#)
        .load()
        .unwrap();
    assert_eq!(
        reported(&config, "a"),
        [
            "environment: MCP_SERVER_A_MAX_WAITER: no setting has this variable, \
             did you mean MCP_SERVER_A_MAX_WAITERS?"
        ]
    );
    assert!(config.servers["b"].is_usable());
}

#[test]
fn a_file_of_variables_that_cannot_be_read_costs_its_server() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("binary.env"), [b'A', b'=', 0, 1]).unwrap();
    let config = loader()
        .workspace_folder(folder.path())
        .text(
            "f",
            r#"{
                "binary": {"command": "x", "envFile": "binary.env"},
                "good": {"command": "x"},
                "missing": {"command": "x", "envFile": "missing.env"}
            }"#,
        )
        .load()
        .unwrap();
    let at = folder.path().display();
    assert_eq!(
        reported(&config, "missing"),
        [format!(
            "f: missing.envFile: {at}/missing.env: there is no such file"
        )]
    );
    assert_eq!(
        reported(&config, "binary"),
        [format!(
            "f: binary.envFile: {at}/binary.env: is not a text file"
        )]
    );
    assert!(config.servers["good"].is_usable());
    for name in ["binary.env", "missing.env"] {
        assert!(config.files.contains(&folder.path().join(name)), "followed");
    }
}

#[test]
fn odd_fields_are_noted_and_stop_nothing() {
    let config = load(
        r#"{"mcpServers": {
            "a": {"command": "x", "headers": {"A": "b"}, "autoApprove": [], "evn": {}},
            "b": {"url": "https://h/sse", "args": ["x"]}
        }}"#,
    );
    assert_eq!(config.servers["a"].unknown_fields(), ["autoApprove", "evn"]);
    let notes: Vec<_> = config.notes.iter().map(ToString::to_string).collect();
    for line in [
        ".mcp.json: mcpServers.a.evn: unknown field, ignored, did you mean env?",
        ".mcp.json: mcpServers.a.headers: ignored: only an HTTP server has headers",
        ".mcp.json: mcpServers.b.args: ignored: only a stdio server has a process",
    ] {
        assert!(
            notes.iter().any(|note| note == line),
            "{line}\nnot in\n{notes:#?}"
        );
    }
    assert!(config.check().is_ok());
}

#[test]
fn no_secret_is_in_what_a_configuration_shows() {
    let text = r#"{
        "a": {"command": "x", "args": ["--token=${TOKEN}"], "env": {"T": "${TOKEN}", "U": "hunter2"}},
        "b": {"url": "https://me:${TOKEN}@h/mcp?key=${TOKEN}", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        "c": {"command": "x", "env": {"T": {"hunter2": 1}, "U": "${TOKEN}${NOPE}"}},
        "d": {"command": "x", "cwd": "/srv/${TOKEN}/work"}
    }"#;
    let loader = loader().environment([("TOKEN", "hunter2")]).text("f", text);
    let config = loader.load().unwrap();
    let shown = format!(
        "{loader:?} {config:?} {config:#?} {}",
        serde_json::to_string(&config).unwrap()
    );
    let problems = config.check().unwrap_err().to_string();
    assert!(
        shown.contains("--token=${TOKEN}") && shown.contains("***"),
        "{shown}"
    );
    assert!(shown.contains("\"cwd\":\"/srv/${TOKEN}/work\""), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn what_a_variable_put_anywhere_into_a_server_is_known_as_a_secret() {
    let text = r#"{
        "a": {"command": "x", "args": ["--t=${A1}"], "env": {"E": "key=${A2}"}, "cwd": "${HOME}"},
        "b": {"url": "https://h/${B1}/mcp", "headers": {"Authorization": "Basic ${B2}", "H": "${HOME}"}},
        "c": {"serverUrl": "https://h/${C1:-${C2}}", "auth": "part.${C3}"}
    }"#;
    let variables = ["A1", "A2", "B1", "B2", "C2", "C3"].map(|name| (name, name));
    let config = loader()
        .environment(variables)
        .environment([("HOME", "/home/me")])
        .text("f", text)
        .load()
        .unwrap();
    for (server, expected) in [
        ("a", ["A1", "A2"]),
        ("b", ["B1", "B2"]),
        ("c", ["C2", "C3"]),
    ] {
        let secrets = config.servers[server].server().unwrap().secrets();
        for value in expected {
            assert!(secrets.contains(&Secret::new(value)), "{server}: {value}");
        }
    }
    let of_arguments = config.servers["a"].server().unwrap().secrets();
    assert!(!of_arguments.contains(&Secret::new("/home/me")));
}
