//! Files of real clients, written after their documentation, and what each client means by them.

use crate::loader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_config::{Config, Disabled, Entry, HttpServer, StdioServer, Transport};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

fn load(path: &str, environment: &[(&str, &str)]) -> Config {
    loader()
        .environment(environment.iter().copied())
        .file(fixture(path))
        .load()
        .unwrap()
}

fn stdio(entry: &Entry) -> &StdioServer {
    match entry.server().unwrap().transport() {
        Transport::Stdio(stdio) => stdio,
        other => panic!("{other:?}"),
    }
}

fn http(entry: &Entry) -> &HttpServer {
    match entry.server().unwrap().transport() {
        Transport::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

fn problem(entry: &Entry) -> String {
    assert!(
        matches!(entry.disabled(), Some(Disabled::Invalid(_))),
        "{entry:?}"
    );
    let whole = entry.disabled().unwrap().to_string();
    whole.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn claude_desktop_starts_commands_with_arguments_and_a_plain_environment() {
    let config = load("claude-desktop/claude_desktop_config.json", &[]);
    assert_eq!(config.servers.len(), 2);
    let filesystem = stdio(&config.servers["filesystem"]);
    assert_eq!(filesystem.command, "npx");
    assert_eq!(filesystem.args[3], "/Users/username/My Documents");
    let brave = stdio(&config.servers["brave-search"]);
    assert_eq!(brave.env["BRAVE_API_KEY"].expose(), "BSA-0123456789");
    assert_eq!(
        brave.env["APPDATA"].expose(),
        r"C:\Users\user\AppData\Roaming\"
    );
}

#[test]
fn pain_24_claude_code_expands_variables_and_counts_timeouts_in_milliseconds() {
    let config = load(
        "claude-code/.mcp.json",
        &[("API_KEY", "k\"1"), ("DB_URL", "postgres://me@h/db?x=${y}")],
    );
    let api = &config.servers["api-server"];
    assert_eq!(http(api).url, "https://api.example.com/mcp");
    assert_eq!(http(api).headers["Authorization"].expose(), "Bearer k\"1");
    assert_eq!(api.settings().call_timeout, Duration::from_secs(600));
    let timeout = api
        .settings_with_origin()
        .into_iter()
        .find(|setting| setting.setting == "call_timeout")
        .unwrap();
    assert!(
        timeout
            .origin
            .to_string()
            .ends_with(".mcp.json: mcpServers.api-server.timeout"),
        "{timeout:?}"
    );

    let database = stdio(&config.servers["database"]);
    assert_eq!(database.command, "./servers/db-server");
    assert_eq!(
        database.args[3..],
        ["$5", "--shell", "echo $HOME"],
        "$ without braces stays"
    );
    assert_eq!(
        database.env["DB_URL"].expose(),
        "postgres://me@h/db?x=${y}",
        "a value is not expanded again"
    );
    assert_eq!(config.servers["database"].unknown_fields(), ["alwaysLoad"]);

    assert_eq!(
        http(&config.servers["alias"]).url,
        "https://mcp.example.com/mcp"
    );
    assert_eq!(
        config.servers["alias"].unknown_fields(),
        ["headersHelper", "oauth"]
    );
    let impatient = config.servers["impatient"].settings();
    assert_eq!(
        impatient.call_timeout,
        Duration::from_secs(120),
        "less than a second is ignored, as there"
    );
    assert!(config.notes.iter().any(|note| {
        note.to_string()
            .contains("impatient.timeout: 500 is ignored")
    }));
}

#[test]
fn the_retired_sse_transport_is_refused_with_the_way_out_and_costs_only_its_server() {
    let config = load("claude-code/.mcp.json", &[("API_KEY", "k")]);
    let reported = problem(&config.servers["events"]);
    assert!(
        reported.starts_with("mcpServers.events.type: the HTTP+SSE transport is retired"),
        "{reported}"
    );
    assert!(reported.contains("\"type\": \"http\""), "{reported}");
    let reported = problem(&config.servers["database"]);
    assert_eq!(
        reported,
        "mcpServers.database.env.DB_URL: variable DB_URL is not set, set it, or write ${DB_URL:-default}"
    );
    assert_eq!(
        config.usable().map(|(name, ..)| name).collect::<Vec<_>>(),
        ["alias", "api-server", "impatient"]
    );
}

#[test]
fn cursor_knows_its_own_folders_and_reads_files_of_variables() {
    let environment = [
        ("API_KEY", "from-outside"),
        ("MY_SERVICE_TOKEN", "t"),
        ("HOME", "/home/me"),
    ];
    let config = load("cursor/.cursor/mcp.json", &environment);
    let folder = fixture("cursor");
    let local = stdio(&config.servers["local-server"]);
    assert_eq!(
        local.args[0],
        folder.join("tools/mcp_server.py").to_string_lossy()
    );
    assert_eq!(local.args[2], "cursor");
    assert_eq!(
        local.env["API_KEY"].expose(),
        "from-outside",
        "env wins over envFile"
    );
    assert_eq!(local.env["LOG_LEVEL"].expose(), "debug");
    assert_eq!(local.env["PASSWORD"].expose(), "p$ss#word");
    assert!(
        config.files.contains(&folder.join("server.env")),
        "the file of variables is followed too"
    );
    let remote = http(&config.servers["remote-server"]);
    assert_eq!(remote.headers["Authorization"].expose(), "Bearer t");
    assert_eq!(config.servers["oauth-server"].unknown_fields(), ["auth"]);
    if cfg!(unix) {
        assert_eq!(
            stdio(&config.servers["home-server"]).command,
            "/home/me/bin/server"
        );
    }
}

#[test]
fn vs_code_writes_comments_and_asks_for_inputs_that_only_an_editor_has() {
    let config = load("vscode/.vscode/mcp.json", &[]);
    let reported = problem(&config.servers["perplexity"]);
    assert!(
        reported.starts_with(
            "servers.perplexity.env.PERPLEXITY_API_KEY: ${input:perplexity-key} is not available outside an editor"
        ),
        "{reported}"
    );
    let fetch = stdio(&config.servers["fetch"]);
    assert_eq!(fetch.env["PORT"].expose(), "8080");
    assert!(
        !fetch.env.contains_key("HTTP_PROXY"),
        "null leaves a variable out"
    );
    assert_eq!(fetch.cwd, Some(fixture("vscode/sub")));
    assert_eq!(
        stdio(&config.servers["relative"]).cwd,
        Some(fixture("vscode/tools"))
    );
    assert_eq!(
        http(&config.servers["github"]).url,
        "https://api.githubcopilot.com/mcp/"
    );
    assert_eq!(config.servers["fetch"].unknown_fields(), ["dev"]);
}

#[test]
fn vs_code_keeps_servers_in_its_settings_too() {
    let config = load("vscode-settings/settings.json", &[]);
    assert_eq!(stdio(&config.servers["time"]).args, ["mcp-server-time"]);
}

#[test]
fn gemini_cli_has_http_urls_milliseconds_and_a_list_of_the_excluded() {
    let config = load(
        "gemini-cli/.gemini/settings.json",
        &[("EXTERNAL_API_KEY", "k")],
    );
    let python = &config.servers["pythonTools"];
    assert_eq!(stdio(python).env["API_KEY"].expose(), "k");
    assert_eq!(
        stdio(python).env["DATABASE_URL"].expose(),
        "$DB_CONNECTION_STRING"
    );
    let note = "DATABASE_URL: $DB_CONNECTION_STRING stays as it is, for the variable's value write ${DB_CONNECTION_STRING}";
    assert!(
        config
            .notes
            .iter()
            .any(|found| found.to_string().ends_with(note)),
        "{:?}",
        config.notes
    );
    assert_eq!(
        stdio(python).cwd,
        Some(fixture("gemini-cli/./mcp-servers/python"))
    );
    assert_eq!(python.settings().call_timeout, Duration::from_secs(15));
    assert_eq!(http(&config.servers["httpServerWithAuth"]).headers.len(), 2);
    assert_eq!(
        config.servers["filtered"].unknown_fields(),
        ["includeTools", "trust"]
    );
    let excluded = config.servers["experimental"].disabled().unwrap();
    assert_eq!(excluded.to_string(), "switched off: mcp.excluded names it");
    assert!(
        config.check().is_ok(),
        "what is switched off is not a problem"
    );
}

#[test]
fn fastmcp_says_transport_and_auth() {
    let config = load("fastmcp/mcp.json", &[("WEATHER_TOKEN", "w")]);
    let weather = &config.servers["weather"];
    assert_eq!(http(weather).headers["Authorization"].expose(), "Bearer w");
    assert_eq!(weather.settings().call_timeout, Duration::from_secs(30));
    assert!(http(&config.servers["streaming"]).headers.is_empty());
    assert_eq!(config.servers["streaming"].unknown_fields(), ["auth"]);
    assert_eq!(
        config.servers["assistant"].description(),
        Some("Answers questions")
    );
    assert_eq!(
        stdio(&config.servers["assistant"]).args,
        ["./assistant_server.py"]
    );
    assert!(problem(&config.servers["old"]).contains("retired"));
}

/// The words that clients have for the same things, each with what it comes to.
#[test]
fn every_word_for_a_transport_a_url_or_a_switch_means_what_its_clients_mean() {
    let stdio = "stdio x";
    let http = "http https://h/mcp";
    for (entry, expected) in [
        (r#"{"command": "x"}"#, stdio),
        (r#"{"type": "stdio", "command": "x"}"#, stdio),
        (r#"{"type": "local", "command": "x"}"#, stdio),
        (r#"{"transport": "stdio", "command": "x"}"#, stdio),
        (r#"{"transportType": "STDIO", "command": "x"}"#, stdio),
        (
            r#"{"type": "local", "command": "x", "url": "https://h/mcp"}"#,
            stdio,
        ),
        (r#"{"url": "https://h/mcp"}"#, http),
        (r#"{"httpUrl": "https://h/mcp"}"#, http),
        (r#"{"serverUrl": "https://h/mcp"}"#, http),
        (
            r#"{"httpUrl": "https://h/mcp", "url": "https://h/sse"}"#,
            http,
        ),
        (r#"{"type": "http", "url": "https://h/mcp"}"#, http),
        (r#"{"type": "remote", "url": "https://h/mcp"}"#, http),
        (
            r#"{"type": "streamableHttp", "url": "https://h/mcp"}"#,
            http,
        ),
        (
            r#"{"type": "streamable-http", "serverUrl": "https://h/mcp"}"#,
            http,
        ),
        (
            r#"{"transport": "streamable_http", "url": "https://h/mcp"}"#,
            http,
        ),
        (r#"{"transportType": "http", "url": "https://h/mcp"}"#, http),
        (
            r#"{"type": "remote", "command": "x", "url": "https://h/mcp"}"#,
            http,
        ),
        (
            r#"{"type": "sse", "httpUrl": "https://h/mcp", "url": "https://h/sse"}"#,
            http,
        ),
        (r#"{"command": "x", "enabled": true}"#, stdio),
        (r#"{"command": "x", "disabled": false}"#, stdio),
        (
            r#"{"command": "x", "enabled": false}"#,
            "switched off: enabled is false",
        ),
        (
            r#"{"command": "x", "disabled": true}"#,
            "switched off: disabled is true",
        ),
        (
            r#"{"command": "x", "enabled": "no"}"#,
            "f: mcpServers.a.enabled: a text is not allowed here, expected true or false",
        ),
    ] {
        let text = format!(r#"{{"mcpServers": {{"a": {entry}}}}}"#);
        let config = loader().text("f", text).load().unwrap();
        let found = match config.servers["a"]
            .server()
            .map(|server| server.transport())
        {
            Ok(Transport::Stdio(stdio)) => format!("stdio {}", stdio.command),
            Ok(Transport::Http(http)) => format!("http {}", http.url),
            Ok(other) => panic!("{other:?}"),
            Err(disabled) => disabled.to_string(),
        };
        assert_eq!(found, expected, "{entry}");
    }
}

#[test]
fn gemini_cli_may_name_the_servers_that_are_allowed() {
    let load = |allowed: &str| {
        let text = format!(
            r#"{{"mcp": {{"allowed": {allowed}}}, "mcpServers": {{"a": {{"command": "x"}}, "b": {{"command": "y"}}}}}}"#
        );
        loader().text("f", text).load().unwrap()
    };
    let config = load(r#"["a"]"#);
    assert!(config.servers["a"].is_usable());
    assert_eq!(
        config.servers["b"].disabled().unwrap().to_string(),
        "switched off: mcp.allowed does not name it"
    );
    assert_eq!(load("[]").usable().count(), 2, "an empty list is none");
}

#[test]
fn a_token_in_auth_gives_way_to_an_authorization_header_however_it_is_written() {
    let load = |headers: &str| {
        let text =
            format!(r#"{{"a": {{"url": "https://h/", "auth": "plain", "headers": {headers}}}}}"#);
        loader().text("f", text).load().unwrap()
    };
    let config = load(r#"{"authorization": "Basic x"}"#);
    let server = http(&config.servers["a"]);
    assert_eq!(server.headers.len(), 1, "{server:?}");
    assert_eq!(server.headers["authorization"].expose(), "Basic x");
    let config = load(r#"{"authorization": {"env": "TOKEN"}}"#);
    let server = http(&config.servers["a"]);
    assert!(server.headers.is_empty(), "{server:?}");
    assert!(server.headers_from.contains_key("authorization"));
    let config = load("{}");
    assert_eq!(
        http(&config.servers["a"]).headers["Authorization"].expose(),
        "Bearer plain"
    );
}

/// The notes on the one entry, without their place.
fn notes_of(entry: serde_json::Value) -> Vec<String> {
    let file = serde_json::json!({"mcpServers": {"a": entry}});
    let loader = loader().text("f", file.to_string());
    let config = loader.load().unwrap();
    config.check().unwrap();
    let reported = config.notes.iter().map(ToString::to_string);
    reported
        .map(|note| note.strip_prefix("f: mcpServers.a").unwrap().to_owned())
        .collect()
}

#[test]
fn what_an_entry_says_and_its_transport_has_no_use_for_is_told() {
    use serde_json::json;

    for (entry, reported) in [
        (
            json!({"type": "http", "url": "https://h/", "command": "x", "args": ["y"]}),
            &[
                ".command: ignored: this is an HTTP server, which its URL reaches",
                ".args: ignored: only a stdio server has a process",
            ][..],
        ),
        (
            json!({"type": "stdio", "command": "x", "url": "https://h/", "headers": {"A": "b"}}),
            &[
                ".url: ignored: this is a stdio server, which its command reaches",
                ".headers: ignored: only an HTTP server has headers",
            ],
        ),
        (
            json!({"url": "https://h/", "httpUrl": "https://i/", "serverUrl": "https://j/"}),
            &[
                ".url: ignored: httpUrl says it already",
                ".serverUrl: ignored: httpUrl says it already",
            ],
        ),
        (
            json!({"command": "x", "type": "stdio", "transport": "http"}),
            &[".transport: ignored: type says it already"],
        ),
        (json!({"command": "x", "args": [], "url": null}), &[]),
    ] {
        assert_eq!(notes_of(entry.clone()), reported, "{entry}");
    }
}

#[test]
fn no_field_that_a_client_has_and_we_have_not_is_ignored_in_silence() {
    use serde_json::json;

    let http = |field: &str, value: serde_json::Value| {
        let mut entry = json!({"url": "https://h/"});
        entry[field] = value;
        notes_of(entry)
    };
    for (field, value, reported) in [
        (
            "oauth",
            json!({"clientId": "c"}),
            "a file cannot say how a token is got by OAuth",
        ),
        (
            "auth",
            json!("oauth"),
            "a file cannot say how a token is got by OAuth",
        ),
        (
            "headersHelper",
            json!("/opt/bin/headers.sh"),
            "headers do not come from one command, give each header a command of its own",
        ),
        (
            "authProviderType",
            json!("google"),
            "a file cannot say how a token is got by OAuth",
        ),
        (
            "excludeTools",
            json!(["delete"]),
            "every tool of the server can be called",
        ),
        (
            "alwaysAllow",
            json!(["read"]),
            "no tool asks for approval before a call",
        ),
        ("sandboxEnabled", json!(true), "the process is not confined"),
    ] {
        let notes = http(field, value);
        assert_eq!(notes.len(), 1, "{field}: {notes:?}");
        assert!(
            notes[0].starts_with(&format!(".{field}: ignored: {reported}")),
            "{notes:?}"
        );
    }
    assert_eq!(
        notes_of(
            json!({"command": "x", "icon": "i", "gallery": "g", "_remark": "r", "trust": false})
        ),
        [": unknown fields, ignored: gallery, icon"]
    );
}

#[test]
fn cline_and_roo_count_timeouts_in_seconds_and_others_beside_them_do_not() {
    let text = r#"{"mcpServers": {
        "cline": {"command": "x", "timeout": 1800, "autoApprove": []},
        "roo": {"command": "x", "timeout": 60, "alwaysAllow": ["echo"]},
        "long": {"command": "x", "timeout": 90000, "autoApprove": ["echo"]},
        "gemini": {"command": "x", "timeout": 600000, "trust": true},
        "claude": {"command": "x", "timeout": 1800}
    }}"#;
    let config = loader().text("f", text).load().unwrap();
    for (server, expected) in [
        ("cline", Duration::from_secs(1800)),
        ("roo", Duration::from_secs(60)),
        ("long", Duration::from_secs(90)),
        ("gemini", Duration::from_secs(600)),
        ("claude", Duration::from_millis(1800)),
    ] {
        let settings = config.servers[server].settings();
        assert_eq!(settings.call_timeout, expected, "{server}");
    }
}

const CLAUDE_HOME: &str = r#"{
    "numStartups": 12,
    "mcpServers": {"everywhere": {"command": "x"}, "both": {"command": "of-all"}},
    "projects": {
        "/home/me/app": {"allowedTools": [], "mcpServers": {"both": {"command": "of-app", "cwd": "sub"}}},
        "/home/me/other": {"mcpServers": {"elsewhere": {"command": "x"}}},
        "/home/me/empty": {"mcpServers": {}, "history": []}
    }
}"#;

#[test]
fn claude_codes_own_file_gives_the_servers_of_the_folder_and_says_where_the_others_are() {
    let load = |folder: &str| {
        let loader = loader().environment([("", ""); 0]);
        let loader = loader.workspace_folder(folder);
        loader.text(".claude.json", CLAUDE_HOME).load().unwrap()
    };
    let config = load("/home/me/app");
    assert_eq!(
        config.servers.keys().collect::<Vec<_>>(),
        ["both", "everywhere"]
    );
    let both = stdio(&config.servers["both"]);
    assert_eq!(both.command, "of-app");
    assert_eq!(both.cwd, Some(PathBuf::from("/home/me/app/sub")));
    let notes: Vec<_> = config.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            ".claude.json: projects: servers of other folders are left out, they are under \
             projects./home/me/other.mcpServers; start in that folder, or name it as the workspace folder"
        ]
    );
    let elsewhere = load("/home/me");
    assert_eq!(stdio(&elsewhere.servers["both"]).command, "of-all");
    assert!(elsewhere.notes[0].to_string().contains("/home/me/app"));
}

#[test]
fn a_file_with_servers_of_other_folders_alone_says_where_they_are() {
    let text = r#"{"numStartups": 1, "projects": {"/home/me/app": {"mcpServers": {"s": {"command": "x"}}}}}"#;
    let loader = loader().text("f", text);
    let reported = loader.load().unwrap_err().to_string();
    assert_eq!(
        reported,
        "f: no servers here, they are under projects./home/me/app.mcpServers; start in that folder, or name it as the \
         workspace folder"
    );
    let here = loader.workspace_folder("/home/me/app").load().unwrap();
    assert!(here.servers["s"].is_usable());
}
