//! Which layer wins, and the origin of each value.

use crate::loader;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mcp_config::{Config, LimitSettings, Loader, PoolSettings, ServerConfig, Sharing, Transport};

fn origin(config: &Config, server: &str, setting: &str) -> (String, String) {
    let origins = config.servers[server].settings_with_origin();
    let found = origins
        .iter()
        .find(|origin| origin.setting == setting)
        .unwrap();
    (found.value.to_string(), found.origin.to_string())
}

fn project(settings: &str, servers: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mcp-pool.toml"), settings).unwrap();
    fs::write(folder.path().join(".mcp.json"), servers).unwrap();
    folder
}

fn within(folder: &Path, text: &str) -> String {
    folder.join(text).to_string_lossy().into_owned()
}

#[test]
fn each_layer_wins_over_the_one_before_and_the_origin_is_shown() {
    let folder = project(
        "[defaults]\nmax_connections = 20\nmax_waiters = 20\nmax_in_flight = 20\nretry_attempts = 20\nmax_direct = 20\n",
        r#"{"mcpServers": {"a.b": {"command": "x", "pool": {"max_in_flight": 40, "retry_attempts": 40, "max_direct": 40}}}}"#,
    );
    let config = loader()
        .environment([
            ("MCP_POOL_MAX_WAITERS", "30"),
            ("MCP_POOL_MAX_IN_FLIGHT", "30"),
            ("MCP_POOL_RETRY_ATTEMPTS", "30"),
            ("MCP_SERVER_A_B_RETRY_ATTEMPTS", "50"),
            ("MCP_SERVER_A_B_MAX_DIRECT", "50"),
        ])
        .file(folder.path().join(".mcp.json"))
        .load()
        .unwrap();
    let file = |path: &str| within(folder.path(), path);
    assert_eq!(
        origin(&config, "a.b", "min_connections"),
        ("2".into(), "default".into())
    );
    assert_eq!(
        origin(&config, "a.b", "max_connections"),
        ("20".into(), file("mcp-pool.toml: defaults.max_connections"))
    );
    assert_eq!(
        origin(&config, "a.b", "max_waiters"),
        ("30".into(), "MCP_POOL_MAX_WAITERS".into())
    );
    assert_eq!(
        origin(&config, "a.b", "max_in_flight"),
        (
            "40".into(),
            file(".mcp.json: mcpServers.\"a.b\".pool.max_in_flight")
        )
    );
    assert_eq!(
        origin(&config, "a.b", "retry_attempts"),
        ("50".into(), "MCP_SERVER_A_B_RETRY_ATTEMPTS".into())
    );

    let mut entry = config.servers["a.b"].clone();
    entry.configure(PoolSettings::new().max_direct(60)).unwrap();
    let direct = entry
        .settings_with_origin()
        .into_iter()
        .find(|origin| origin.setting == "max_direct")
        .unwrap();
    assert_eq!(
        (direct.value.to_string(), direct.origin.to_string()),
        ("60".into(), "code".into())
    );
    assert_eq!(
        entry.settings().retry_attempts,
        50,
        "what code does not set stays"
    );
    assert!(
        entry
            .configure(PoolSettings::new().max_connections(0))
            .is_err()
    );
    assert_eq!(
        entry.settings().max_connections,
        20,
        "a refused change changes nothing"
    );
}

#[test]
fn code_for_every_server_lies_below_what_is_said_of_one() {
    let config = loader()
        .environment([("MCP_POOL_MAX_CONNECTIONS", "5")])
        .defaults(PoolSettings::new().max_connections(6).max_waiters(6))
        .text(
            "f",
            r#"{"a": {"command": "x", "pool": {"max_waiters": 7}}}"#,
        )
        .server(
            "b",
            ServerConfig::stdio("y").pool(PoolSettings::new().max_waiters(8)),
        )
        .load()
        .unwrap();
    assert_eq!(
        origin(&config, "a", "max_connections"),
        ("6".into(), "code, for all servers".into())
    );
    assert_eq!(
        origin(&config, "a", "max_waiters"),
        ("7".into(), "f: a.pool.max_waiters".into())
    );
    assert_eq!(
        origin(&config, "b", "max_waiters"),
        ("8".into(), "code".into())
    );
    assert_eq!(config.defaults.max_connections, 6);
}

#[test]
fn a_value_that_follows_another_says_so() {
    let config = loader()
        .text(
            "f",
            r#"{"a": {"command": "x", "pool": {"max_connections": 1, "sharing": "exclusive"}}}"#,
        )
        .load()
        .unwrap();
    assert_eq!(
        origin(&config, "a", "min_connections"),
        ("1".into(), "follows max_connections".into())
    );
    assert_eq!(
        origin(&config, "a", "max_in_flight"),
        ("1".into(), "follows sharing".into())
    );
}

#[test]
fn two_layers_that_contradict_each_other_are_both_named() {
    let config = loader()
        .environment([("MCP_POOL_MIN_CONNECTIONS", "5")])
        .text(
            "f",
            r#"{"a": {"command": "x", "pool": {"max_connections": 2}}, "b": {"command": "x"}}"#,
        )
        .load()
        .unwrap();
    assert_eq!(
        config.servers["a"].disabled().unwrap().to_string(),
        "f: a.pool.max_connections: 2 must be at least min_connections, which is 5 (MCP_POOL_MIN_CONNECTIONS)"
    );
    assert!(config.servers["b"].is_usable());
}

#[test]
fn a_contradiction_is_told_where_it_is_to_be_mended() {
    let folder = project(
        "[defaults]\nmin_connections = 5\n",
        r#"{
            "a": {"command": "x", "pool": {"min_connections": 5, "max_connections": 2}},
            "b": {"command": "x", "pool": {"health_check_interval": 4, "circuit_breaker": {"success_threshold": 2}}},
            "c": {"command": "x", "pool": {"max_connections": 6}}
        }"#,
    );
    let loader = loader()
        .environment([
            ("MCP_SERVER_B_PROBE_TIMEOUT", "4"),
            ("MCP_SERVER_B_CIRCUIT_BREAKER_HALF_OPEN_MAX_CALLS", "1"),
        ])
        .file(folder.path().join(".mcp.json"));
    let reported = |loader: &Loader| {
        let config = loader.load();
        let problems = config.and_then(|config| config.check()).unwrap_err();
        let folder = format!("{}/", folder.path().display());
        problems.to_string().replace(&folder, "")
    };
    assert_eq!(
        reported(&loader.clone().server(
            "c",
            ServerConfig::stdio("x").pool(PoolSettings::new().max_connections(3)),
        )),
        ".mcp.json: mcpServers.a.pool.min_connections: 5 must be at most max_connections, \
         which is 2 (.mcp.json: mcpServers.a.pool.max_connections)\n\
         environment: MCP_SERVER_B_CIRCUIT_BREAKER_HALF_OPEN_MAX_CALLS: 1 must be at least \
         circuit_breaker.success_threshold, which is 2 (.mcp.json: mcpServers.b.pool.circuit_breaker.success_threshold)\n\
         environment: MCP_SERVER_B_PROBE_TIMEOUT: 4 must be less than health_check_interval, \
         which is 4 (.mcp.json: mcpServers.b.pool.health_check_interval)\n\
         code: c.max_connections: 3 must be at least min_connections, \
         which is 5 (mcp-pool.toml: defaults.min_connections)"
            .replace("mcpServers.", "")
    );

    let defaults = PoolSettings::new().max_connections(4);
    assert!(reported(&loader.clone().defaults(defaults)).starts_with(
        "code: defaults.max_connections: 4 must be at least min_connections, \
         which is 5 (mcp-pool.toml: defaults.min_connections)\n"
    ));
    fs::write(
        folder.path().join("mcp-pool.toml"),
        "[defaults]\nmin_connections = 5\nmax_connections = 4\n",
    )
    .unwrap();
    assert!(reported(&loader).starts_with(
        "mcp-pool.toml: defaults.min_connections: 5 must be at most max_connections, \
         which is 4 (mcp-pool.toml: defaults.max_connections)\n"
    ));
}

#[test]
fn a_timeout_field_lies_between_what_is_set_for_all_and_the_servers_own_pool() {
    let config = loader()
        .environment([
            ("MCP_POOL_CALL_TIMEOUT", "10"),
            ("MCP_SERVER_D_CALL_TIMEOUT", "40"),
        ])
        .text(
            "f",
            r#"{
                "a": {"command": "x"},
                "b": {"command": "x", "timeout": 20000},
                "c": {"command": "x", "timeout": 20000, "pool": {"call_timeout": 30}},
                "d": {"command": "x", "timeout": 20000, "pool": {"call_timeout": 30}}
            }"#,
        )
        .load()
        .unwrap();
    for (server, seconds, from) in [
        ("a", "10", "MCP_POOL_CALL_TIMEOUT"),
        ("b", "20", "f: b.timeout"),
        ("c", "30", "f: c.pool.call_timeout"),
        ("d", "40", "MCP_SERVER_D_CALL_TIMEOUT"),
    ] {
        assert_eq!(
            origin(&config, server, "call_timeout"),
            (seconds.into(), from.into()),
            "{server}"
        );
    }
}

#[test]
fn limits_have_layers_too() {
    let folder = project(
        "[limits]\nmax_total_connections = 20\nmax_connecting = 3\n",
        "{}",
    );
    let loader = loader()
        .environment([("MCP_MAX_TOTAL_CONNECTIONS", "30")])
        .file(folder.path().join(".mcp.json"));
    let config = loader.load().unwrap();
    assert_eq!(
        (
            config.limits.max_total_connections,
            config.limits.max_connecting
        ),
        (30, 3)
    );
    let origins: Vec<_> = config
        .limits_with_origin
        .iter()
        .map(|origin| origin.origin.to_string())
        .collect();
    let file = within(folder.path(), "mcp-pool.toml: limits.max_connecting");
    assert_eq!(origins, ["MCP_MAX_TOTAL_CONNECTIONS".to_owned(), file]);
    let code = loader
        .limits(LimitSettings::new().max_total_connections(7))
        .load()
        .unwrap();
    assert_eq!(code.limits.max_total_connections, 7);
}

#[test]
fn settings_files_may_be_toml_yaml_or_json_but_only_one() {
    for (name, text) in [
        (
            "mcp-pool.toml",
            "[defaults]\ncall_timeout = \"5m\"\n[defaults.circuit_breaker]\nfailure_threshold = 9",
        ),
        (
            "mcp-pool.yaml",
            "defaults:\n  call_timeout: 5m\n  circuit_breaker:\n    failure_threshold: 9",
        ),
        (
            "mcp-pool.yml",
            "defaults: {call_timeout: 300, circuit_breaker: {failure_threshold: 9}}",
        ),
        (
            "mcp-pool.json",
            r#"{"defaults": {"call_timeout": 300.0, "circuit_breaker": {"failure_threshold": 9},}}"#,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(".mcp.json"),
            r#"{"a": {"command": "x"}}"#,
        )
        .unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let loader = loader().file(folder.path().join(".mcp.json"));
        let config = loader.load().unwrap();
        assert_eq!(
            config.servers["a"].settings().call_timeout,
            Duration::from_secs(300),
            "{name}"
        );
        assert_eq!(
            config.servers["a"]
                .settings()
                .circuit_breaker
                .failure_threshold,
            9,
            "{name}"
        );

        let other = if name == "mcp-pool.json" {
            "mcp-pool.toml"
        } else {
            "mcp-pool.json"
        };
        fs::write(folder.path().join(other), "").unwrap();
        assert!(
            loader
                .load()
                .unwrap_err()
                .to_string()
                .contains("keep one settings file")
        );
    }
}

#[test]
fn a_single_connection_for_debugging_lies_above_everything() {
    let config = loader()
        .environment([
            ("MCP_SINGLE_CONNECTION", "1"),
            ("MCP_DISABLE_HEALTH_CHECKS", "true"),
        ])
        .server(
            "a",
            ServerConfig::stdio("x").pool(
                PoolSettings::new()
                    .min_connections(4)
                    .max_connections(9)
                    .sharing(Sharing::Pinned),
            ),
        )
        .load()
        .unwrap();
    let settings = config.servers["a"].settings();
    assert_eq!(
        (
            settings.min_connections,
            settings.max_connections,
            settings.max_in_flight
        ),
        (0, 1, 1)
    );
    assert_eq!(
        origin(&config, "a", "max_connections").1,
        "MCP_SINGLE_CONNECTION"
    );
    assert_eq!(
        origin(&config, "a", "health_check_interval").1,
        "MCP_DISABLE_HEALTH_CHECKS"
    );
    assert!(settings.health_check_interval > Duration::from_secs(9 * 365 * 24 * 3600));
    assert!(config.switches.single_connection && config.switches.disable_health_checks);
}

#[test]
fn the_configuration_is_found_by_variable_or_in_the_workspace() {
    let folder = project("", r#"{"mcpServers": {"here": {"command": "x"}}}"#);
    fs::write(folder.path().join("mcp-pool.toml"), "[limits]\n").unwrap();
    let loader = loader().workspace_folder(folder.path()).discover();
    assert!(loader.load().unwrap().servers.contains_key("here"));
    fs::write(
        folder.path().join("other.json"),
        r#"{"mcpServers": {"there": {"command": "x"}}}"#,
    )
    .unwrap();
    let loader = loader.environment([("MCP_CONFIG_PATH", within(folder.path(), "other.json"))]);
    assert_eq!(
        loader.load().unwrap().servers.keys().collect::<Vec<_>>(),
        ["there"]
    );

    let nothing = tempfile::tempdir().unwrap();
    let error = crate::loader()
        .workspace_folder(nothing.path())
        .discover()
        .load()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("create it, or name another one in MCP_CONFIG_PATH"),
        "{error}"
    );
}

#[test]
fn a_loader_that_is_given_no_environment_uses_the_processs() {
    const VARIABLE: &str = "PROCESS_VARIABLE_OF_A_TEST";
    let Ok(value) = std::env::var(VARIABLE) else {
        // A process of its own, whose variables are known.
        let test = "precedence::a_loader_that_is_given_no_environment_uses_the_processs";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env_clear()
            .env(VARIABLE, "value")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "{stdout}"
        );
        return;
    };
    let text = format!(r#"{{"a": {{"command": "x", "args": ["${{{VARIABLE}}}"]}}}}"#);
    let args = |loader: &Loader| {
        let config = loader.load().unwrap();
        match config.servers["a"].server().map(ServerConfig::transport) {
            Ok(Transport::Stdio(stdio)) => Ok(stdio.args.clone()),
            other => Err(format!("{other:?}")),
        }
    };
    let loader = Loader::new().text("f", &text);
    assert_eq!(args(&loader), Ok(vec![value.clone()]));
    let beside = loader.environment([("OTHER", "x")]);
    assert!(args(&beside).unwrap_err().contains("is not set"));
    assert_eq!(args(&beside.process_environment()), Ok(vec![value]));
}

#[test]
fn a_known_server_gets_the_sharing_it_needs_unless_its_entry_says_otherwise() {
    let text = r#"{"mcpServers": {
        "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"]},
        "browser": {"command": "npx", "args": ["@playwright/mcp@latest"]},
        "shared": {"command": "npx", "args": ["@playwright/mcp"], "pool": {"sharing": "multiplexed"}},
        "many": {"command": "mcp-server-memory", "pool": {"max_connections": 3, "min_connections": 2}},
        "time": {"command": "uvx", "args": ["mcp-server-time"]},
        "other": {"command": "x"}
    }}"#;
    // Settings of all servers do not reach a stateful one.
    let variables = [
        ("MCP_POOL_MIN_CONNECTIONS", "5"),
        ("MCP_POOL_SHARING", "exclusive"),
    ];
    let loader = loader().environment(variables).text("f", text);
    let config = loader.load().unwrap();
    config.check().unwrap();
    let of = |name: &str| {
        let settings = config.servers[name].settings();
        (
            settings.sharing,
            settings.min_connections,
            settings.max_connections,
        )
    };
    assert_eq!(of("memory"), (Sharing::Exclusive, 1, 1));
    assert_eq!(of("browser"), (Sharing::Pinned, 5, 10));
    assert_eq!(of("shared"), (Sharing::Multiplexed, 5, 10));
    assert_eq!(of("many"), (Sharing::Exclusive, 2, 3));
    assert_eq!(of("time"), (Sharing::Exclusive, 5, 10));
    assert_eq!(of("other"), (Sharing::Exclusive, 5, 10));
    let reason = |name: &str| config.servers[name].sharing_reason();
    assert!(reason("memory").is_some_and(|reason| reason.contains("loses writes")));
    assert!(reason("browser").is_some());
    // Its entry sets the numbers alone.
    assert_eq!(reason("many"), reason("memory"));
    for overridden in ["shared", "time", "other"] {
        assert_eq!(reason(overridden), None, "{overridden}");
    }
    let origins = config.servers["memory"].settings_with_origin();
    let sharing = origins.iter().find(|found| found.setting == "sharing");
    assert_eq!(
        sharing.unwrap().origin.to_string(),
        "known server memory: it reads and rewrites one file at each call, and loses writes when two calls or two \
         sessions overlap"
    );
}
