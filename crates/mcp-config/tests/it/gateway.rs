//! The gateway's configuration: its sources, their order, and what is refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mcp_config::{Config, ConfigError, GatewayConfig, GatewaySettings, GatewayToken, Loader, Pins};

use crate::loader;

fn beside(gateway: &str) -> Result<Config, ConfigError> {
    let text = format!(r#"{{"mcpServers": {{"time": {{"command": "x"}}}}, "gateway": {gateway}}}"#);
    loader().text(".mcp.json", text).load()
}

/// A file of servers and a settings file beside it.
fn loader_of(servers: &str, settings: &str, folder: &Path) -> Loader {
    fs::write(folder.join(".mcp.json"), servers).unwrap();
    fs::write(folder.join("mcp-pool.toml"), settings).unwrap();
    Loader::new().file(folder.join(".mcp.json"))
}

#[test]
fn without_a_word_the_gateway_listens_on_loopback_and_remembers_nothing() {
    let config = loader().text("f", "{}").load().unwrap().gateway;
    assert_eq!(config.address(), Some("127.0.0.1:9888"));
    assert!(!config.authenticates());
    let effective = config.effective();
    assert_eq!(effective.session_idle, Duration::from_secs(24 * 3600));
    assert_eq!(effective.pins, Pins::Warn);
    assert!(!effective.tool_search && !effective.audit_arguments && !effective.insecure);
}

#[test]
fn code_wins_over_variables_over_the_servers_file_over_the_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    let servers = r#"{"mcpServers": {}, "gateway": {
        "rate_limit": 2, "max_sessions_per_principal": 2, "session_idle": 2, "replica": "servers",
        "tokens": {"bob": "a-token-of-bob-123"}, "socket": "run/pool.sock"}}"#;
    let settings = "[gateway]\nrate_limit = 1\nmax_sessions_per_principal = 1\nsession_idle = 1\nmax_sessions = 1\nreplica = \"settings\"\n\
                    audit_file = \"audit.log\"\n[gateway.tokens]\nalice = \"${ALICE_TOKEN}\"\n";
    let mut code = GatewayConfig::default();
    code.settings = GatewaySettings::new().rate_limit(4);
    let config = loader_of(servers, settings, folder.path())
        .environment([
            ("ALICE_TOKEN", "a-token-of-alice-1"),
            ("MCP_GATEWAY_RATE_LIMIT", "3"),
            ("MCP_GATEWAY_MAX_SESSIONS_PER_PRINCIPAL", "3"),
            ("MCP_GATEWAY_PUBLIC_URL", "https://mcp.example.com"),
        ])
        .gateway(code)
        .load()
        .unwrap();
    let gateway = &config.gateway;
    let effective = gateway.effective();
    let found = (
        effective.rate_limit,
        effective.max_sessions_per_principal,
        effective.session_idle.as_secs(),
        effective.max_sessions,
    );
    assert_eq!(found, (4, 3, 2, 1));
    assert_eq!(gateway.replica.as_deref(), Some("servers"));
    assert_eq!(gateway.audit_file, Some(folder.path().join("audit.log")));
    assert_eq!(gateway.socket, Some(folder.path().join("run/pool.sock")));
    assert_eq!(gateway.address(), None, "a socket alone is enough");
    let tokens: Vec<_> = gateway.tokens.keys().collect();
    assert_eq!(tokens, ["alice", "bob"]);
    assert_eq!(
        gateway.tokens["alice"],
        GatewayToken::text("a-token-of-alice-1")
    );

    let origin = |name: &str| {
        let mut origins = config.gateway_with_origin.iter();
        let found = origins.find(|found| found.setting == name).unwrap();
        format!("{} ({})", found.value, found.origin)
    };
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    assert_eq!(origin("rate_limit"), "4 (code)");
    assert_eq!(
        origin("public_url"),
        "\"https://mcp.example.com\" (MCP_GATEWAY_PUBLIC_URL)"
    );
    assert_eq!(
        origin("replica"),
        format!("\"servers\" ({}: gateway.replica)", file(".mcp.json"))
    );
    assert_eq!(
        origin("max_sessions"),
        format!("1 ({}: gateway.max_sessions)", file("mcp-pool.toml"))
    );
    assert_eq!(origin("pins"), "\"warn\" (default)");
}

#[test]
fn no_token_is_shown() {
    let config = beside(
        r#"{"tokens": {"a": "a-token-of-alice-1", "b": {"env": "B_TOKEN"}, "c": {"sha256":
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}}"#,
    );
    let gateway = config.unwrap().gateway;
    let shown = format!("{gateway:?} {}", serde_json::to_string(&gateway).unwrap());
    assert!(shown.contains("B_TOKEN"), "{shown}");
    for secret in ["alice", "9f86d0"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn everything_wrong_names_its_file_its_path_and_what_to_do() {
    let error = beside(
        r#"{"lisen": "x", "listen": "here", "replica": "Replica One", "rate_limit": -1, "pins": "maybe",
            "public_url": "mcp.example.com", "jwt_keys": "http://keys.example.com/jwks", "allowed_origins": ["*"],
            "tokens": {"a": "short", "b": {"sha256": "12"}, "c": {"command": ["op"]}, "d": "${NOT_THERE}"},
            "profiles": {"a b": ["time"]}, "allow": {"a": "time.*"}, "audit_file": " "}"#,
    );
    let found = error.unwrap_err().to_string();
    for problem in [
        ".mcp.json: gateway.lisen: unknown setting, did you mean listen?",
        ".mcp.json: gateway.listen: not an address with a port, expected an address and a port, such as 127.0.0.1:9888",
        ".mcp.json: gateway.replica: not allowed as the name of a replica, expected 1 to 16 of the characters a-z, 0-9 and -",
        ".mcp.json: gateway.rate_limit: -1 is not allowed, expected a whole number",
        ".mcp.json: gateway.pins: \"maybe\" is not allowed, expected one of warn, allow, block",
        ".mcp.json: gateway.public_url: not a URL of a host, expected a URL that begins with https:// or http://, without a path",
        ".mcp.json: gateway.jwt_keys: keys must not come over the network without TLS, expected",
        ".mcp.json: gateway.allowed_origins[0]: not an origin, expected such as https://app.example.com: no path, and no *",
        ".mcp.json: gateway.tokens.a: shorter than 16 characters, it can be guessed, openssl rand -hex 32 makes one",
        ".mcp.json: gateway.tokens.b.sha256: not a SHA-256 hash, expected 64 hexadecimal digits",
        ".mcp.json: gateway.tokens.c: a command is not allowed for a token of the gateway, use sha256, env or file",
        ".mcp.json: gateway.tokens.d: variable NOT_THERE is not set, set it",
        ".mcp.json: gateway.profiles.a b: not allowed as the name of a profile",
        ".mcp.json: gateway.allow.a: a text is not allowed here, expected a list",
        ".mcp.json: gateway.audit_file: the text is empty, remove it",
    ] {
        assert!(found.contains(problem), "{problem}\nis not in\n{found}");
    }
    assert_eq!(found.lines().count(), 15, "{found}");
}

#[test]
fn other_machines_are_served_only_with_authentication_and_tls_or_where_that_is_stated() {
    let problem = |gateway: &str| beside(gateway).err().map(|error| error.to_string());
    let token = r#""tokens": {"a": "a-token-of-alice-1"}"#;
    for accepted in [
        r#"{"listen": "127.0.0.1:1"}"#.to_owned(),
        r#"{"listen": "[::1]:1"}"#.to_owned(),
        r#"{"listen": "localhost:1"}"#.to_owned(),
        r#"{"listen": "0.0.0.0:1", "insecure": true}"#.to_owned(),
        r#"{"public_url": "https://localhost:8443"}"#.to_owned(),
        r#"{"public_url": "https://mcp.example.com", "insecure": true}"#.to_owned(),
        format!(r#"{{"listen": "0.0.0.0:1", "public_url": "https://mcp.example.com", {token}}}"#),
    ] {
        assert_eq!(problem(&accepted), None, "{accepted}");
    }
    for (refused, why) in [
        (
            r#"{"listen": "0.0.0.0:1"}"#.to_owned(),
            "without authentication",
        ),
        (
            r#"{"listen": "mcp.example.com:1"}"#.to_owned(),
            "without authentication",
        ),
        (
            r#"{"listen": "[::]:1"}"#.to_owned(),
            "without authentication",
        ),
        (
            format!(r#"{{"listen": "10.0.0.1:1", {token}}}"#),
            "without TLS",
        ),
        (
            format!(
                r#"{{"listen": "10.0.0.1:1", "public_url": "http://mcp.example.com", {token}}}"#
            ),
            "without TLS",
        ),
    ] {
        let problem = problem(&refused).unwrap();
        assert!(
            problem.starts_with(".mcp.json: gateway.listen: "),
            "{problem}"
        );
        assert!(
            problem.contains(why) && problem.contains("insecure = true"),
            "{problem}"
        );
    }
    let problem = problem(r#"{"public_url": "https://mcp.example.com"}"#).unwrap();
    assert!(
        problem.starts_with(".mcp.json: gateway.public_url: other machines could come through"),
        "{problem}"
    );
    let loaded = loader()
        .environment([("MCP_GATEWAY_LISTEN", "0.0.0.0:1")])
        .text("f", "{}")
        .load();
    let problem = loaded.unwrap_err().to_string();
    assert!(
        problem.starts_with("environment: MCP_GATEWAY_LISTEN: other machines"),
        "{problem}"
    );
}

#[test]
fn an_issuer_of_jwts_needs_an_audience_and_keys() {
    let error = beside(r#"{"jwt_issuer": "https://id.example.com"}"#);
    assert_eq!(
        error.unwrap_err().to_string(),
        ".mcp.json: gateway.jwt_issuer: jwt_audience is not set, JWTs need jwt_issuer, jwt_audience and jwt_keys\n\
         .mcp.json: gateway.jwt_issuer: jwt_keys is not set, JWTs need jwt_issuer, jwt_audience and jwt_keys"
    );
}

#[test]
fn a_server_may_be_called_gateway() {
    for text in [
        r#"{"gateway": {"command": "x"}}"#,
        r#"{"mcpServers": {"gateway": {"command": "x"}}, "gateway": {"rate_limit": 7}}"#,
    ] {
        let config = loader().text("f", text).load().unwrap();
        assert!(config.servers["gateway"].is_usable(), "{text}");
    }
    let bare = r#"{"time": {"command": "x"}, "gateway": {"rate_limit": 7}}"#;
    let config = loader().text("f", bare).load().unwrap();
    assert_eq!(config.servers.len(), 1);
    assert_eq!(config.gateway.effective().rate_limit, 7);
}

#[test]
fn a_profile_that_names_no_server_is_noted_and_stops_nothing() {
    let config = beside(r#"{"profiles": {"p": ["time", "mcp.time.now", "tmie.now", "x"]}}"#);
    let notes: Vec<_> = config
        .unwrap()
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        notes,
        [
            ".mcp.json: gateway.profiles.p[2]: no server has this name, did you mean time?",
            ".mcp.json: gateway.profiles.p[3]: no server has this name",
        ]
    );
}

#[test]
fn a_misspelt_variable_of_the_gateway_is_reported() {
    let loaded = loader()
        .environment([("MCP_GATEWAY_LISTN", "127.0.0.1:1")])
        .text("f", "{}")
        .load();
    assert_eq!(
        loaded.unwrap_err().to_string(),
        "environment: MCP_GATEWAY_LISTN: no setting has this variable, did you mean MCP_GATEWAY_LISTEN?"
    );
}

#[cfg(feature = "schema")]
#[test]
fn the_schema_and_the_loader_agree_on_the_gateway() {
    let validator = jsonschema::validator_for(&mcp_config::schema()).unwrap();
    let verdict = |gateway: &str| {
        let value = serde_json::json!({"mcpServers": {}, "gateway": serde_json::from_str::<serde_json::Value>(gateway).unwrap()});
        (validator.is_valid(&value), beside(gateway).is_ok())
    };
    for right in [
        "{}",
        r#"{"listen": null, "socket": "s", "tokens": {"a": {"file": "f", "prefix": null}, "b": null}, "rate_limit": "5"}"#,
        r#"{"profiles": {"p": ["time", 1], "q": null}, "allow": null, "pins": "Block", "session_idle": "1h"}"#,
    ] {
        assert_eq!(verdict(right), (true, true), "{right}");
    }
    for wrong in [
        r#"{"lisen": "x"}"#,
        r#"{"listen": 5}"#,
        r#"{"replica": ""}"#,
        r#"{"rate_limit": null}"#,
        r#"{"tokens": {"a": {"sha256": "x"}}}"#,
        r#"{"allow": {"a": "x"}}"#,
        "[]",
    ] {
        assert_eq!(verdict(wrong), (false, false), "{wrong}");
    }
}
