//! From a file to the process that it describes: values and their origins.

use crate::common;
use std::{collections::BTreeMap, fs, path::Path};

use common::whoami;
use mcp_pooled_tools::{ConnectionManager, ErrorKind, PoolSettings, ServerConfig, config::Loader};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_24_variables_arrive_expanded_and_whole_and_one_that_is_unset_is_named() {
    let odd = "it's \"quoted\", two  spaces,\na line, ${NOT_A_REFERENCE}, äöü 日本語 \\ $HOME";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": {
        "sound": {
            "command": "${PROGRAM}",
            "args": ["--marker", "${ODD}", "--name=${A:-${B}}", "--server-version", "${A:-${C:-none}}$PATH"],
            "env": { "TOLD": "<${ODD}>", "PLAIN": "$HOME and ${env:B}" },
            "cwd": "${FOLDER}/within",
            "envFile": "${FOLDER}/variables.env",
        },
        "command": { "command": "${NO_COMMAND}/server" },
        "header": { "url": "http://127.0.0.1:1/mcp", "headers": { "Authorization": "Bearer ${NO_TOKEN}" } },
        "nested": { "command": "x", "args": ["${NO_FIRST:-${NO_SECOND}}"] },
    }});
    fs::write(&file, servers.to_string()).unwrap();
    let within = folder.path().join("within");
    fs::create_dir(&within).unwrap();
    let variables = "export OF_FILE=\"two words\"\nPLAIN=of the file\n";
    fs::write(folder.path().join("variables.env"), variables).unwrap();
    let program = mcp_testkit::binary().to_string_lossy().into_owned();
    let loader = Loader::new()
        .environment([
            ("PROGRAM", program.as_str()),
            ("ODD", odd),
            ("B", "from B"),
            ("FOLDER", &folder.path().to_string_lossy()),
        ])
        .file(&file);
    let manager = ConnectionManager::from_loader(loader).await.unwrap();

    let asked = json!({ "env": ["TOLD", "PLAIN", "OF_FILE"] });
    let sound = manager.tools("sound").unwrap();
    let reported = whoami(&sound.call("whoami", asked).await.unwrap());
    let argv: Vec<_> = reported["argv"].as_array().unwrap()[1..].to_vec();
    assert_eq!(
        Value::from(argv),
        json!([
            "--marker",
            odd,
            "--name=from B",
            "--server-version",
            "none$PATH"
        ])
    );
    assert_eq!(reported["env"]["TOLD"], format!("<{odd}>"));
    assert_eq!(reported["env"]["OF_FILE"], "two words");
    assert_eq!(
        reported["env"]["PLAIN"], "$HOME and from B",
        "the entry's own over the file's"
    );
    let cwd = Path::new(reported["cwd"].as_str().unwrap());
    assert_eq!(cwd, within.canonicalize().unwrap());

    for (server, field, variable) in [
        ("command", "command", "NO_COMMAND"),
        ("header", "headers.Authorization", "NO_TOKEN"),
        ("nested", "args[0]", "NO_SECOND"),
    ] {
        let error = manager.tools(server).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let expected = format!(
            "server `{server}`: the server is disabled: {}: mcpServers.{server}.{field}: variable {variable} is not set, \
             set it, or write ${{{variable}:-default}}",
            file.display()
        );
        assert_eq!(error.to_string(), expected);
    }
    manager.shutdown().await;
}

/// Each setting that is asked for, as `value (origin)`.
fn reported(manager: &ConnectionManager, server: &str) -> BTreeMap<String, String> {
    let settings = manager.settings(server).unwrap().settings;
    let reported = settings.into_iter().map(|found| {
        let reported = format!("{} ({})", found.value, found.origin);
        (found.setting, reported)
    });
    reported.collect()
}

#[tokio::test]
async fn environment_precedence_with_origins_shown() {
    let folder = tempfile::tempdir().unwrap();
    let within = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let six = |value: u32, names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| ((*name).to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    // Each layer sets one setting less than the one before, so that each shows in one.
    let names = [
        "max_connections",
        "max_in_flight",
        "max_waiters",
        "max_direct",
        "retry_attempts",
        "max_connecting",
    ];
    let defaults = six(20, &names);
    fs::write(
        within("mcp-pool.json"),
        json!({ "defaults": defaults }).to_string(),
    )
    .unwrap();
    let file = json!({ "mcpServers": { "a": { "command": "x", "pool": six(50, &names[3..]) } } });
    fs::write(within(".mcp.json"), file.to_string()).unwrap();
    let everywhere = names[1..]
        .iter()
        .map(|name| (format!("MCP_POOL_{}", name.to_uppercase()), "30"));
    let of_one = names[4..]
        .iter()
        .map(|name| (format!("MCP_SERVER_A_{}", name.to_uppercase()), "60"));
    let code = PoolSettings::new()
        .max_waiters(40)
        .max_direct(40)
        .retry_attempts(40)
        .max_connecting(40);
    let loader = Loader::new()
        .environment(everywhere.chain(of_one))
        .file(within(".mcp.json"))
        .defaults(code);
    let manager = ConnectionManager::from_loader(loader).await.unwrap();
    let last = PoolSettings::new().max_connecting(70);
    manager.configure_server("a", last).unwrap();

    let reported = reported(&manager, "a");
    let expected = [
        ("min_connections", "2 (default)".to_owned()),
        (
            names[0],
            format!("20 ({}: defaults.max_connections)", within("mcp-pool.json")),
        ),
        (names[1], "30 (MCP_POOL_MAX_IN_FLIGHT)".to_owned()),
        (names[2], "40 (code, for all servers)".to_owned()),
        (
            names[3],
            format!("50 ({}: mcpServers.a.pool.max_direct)", within(".mcp.json")),
        ),
        (names[4], "60 (MCP_SERVER_A_RETRY_ATTEMPTS)".to_owned()),
        (names[5], "70 (code)".to_owned()),
    ];
    for (name, expected) in expected {
        assert_eq!(reported[name], expected, "{name}");
    }
    assert_eq!(manager.settings("a").unwrap().effective.retry_attempts, 60);
    manager.shutdown().await;
}

#[tokio::test]
async fn defaults_of_the_builder_give_way_to_what_is_said_of_one_server_in_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": {
        "file": { "command": "x", "pool": { "max_connections": 7 } },
        "plain": { "command": "x" },
        "broken": { "command": "${SURELY_NOT_SET}" },
    }});
    fs::write(&file, servers.to_string()).unwrap();
    let own = ServerConfig::stdio("x").pool(PoolSettings::new().max_connections(8));
    let manager = ConnectionManager::builder()
        .file(&file)
        .server("code", own)
        .defaults(PoolSettings::new().max_connections(6))
        .build()
        .await
        .unwrap();
    let max = |server| reported(&manager, server)["max_connections"].clone();
    assert_eq!(max("plain"), "6 (code, for all servers)");
    assert_eq!(
        max("file"),
        format!(
            "7 ({}: mcpServers.file.pool.max_connections)",
            file.display()
        )
    );
    assert_eq!(max("code"), "8 (code)");
    assert!(
        manager.tools("broken").is_err(),
        "and affects no other server"
    );
    manager.shutdown().await;

    let wrong = ServerConfig::stdio("");
    let error = ConnectionManager::builder()
        .file(&file)
        .server("code", wrong)
        .build()
        .await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("code: code.command: the command is empty"),
        "{error}"
    );
}

#[tokio::test]
async fn no_secret_is_in_the_settings_that_are_shown() {
    let text = json!({ "mcpServers": {
        "http": { "url": "https://me:hunter2@h/mcp?key=hunter2", "headers": { "Authorization": "Bearer ${TOKEN}" } },
        "stdio": { "command": "x", "args": ["--token=${TOKEN}"], "env": { "TOKEN": "${TOKEN}" } },
    }});
    let loader = Loader::new()
        .environment([("TOKEN", "hunter2")])
        .text(".mcp.json", text.to_string());
    let manager = ConnectionManager::from_loader(loader).await.unwrap();
    for server in ["http", "stdio"] {
        let settings = manager.settings(server).unwrap();
        let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn a_process_has_the_whole_environment_only_if_it_is_to_inherit_it() {
    let server = |inherit| common::process(&[]).pool(PoolSettings::new().inherit_env(inherit));
    let manager = ConnectionManager::builder()
        .server("all", server(true))
        .server("few", server(false))
        .build()
        .await
        .unwrap();
    // Set by cargo for every test.
    let asked = json!({ "env": ["CARGO_MANIFEST_DIR", "PATH"] });
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    for (server, expected) in [("all", json!(here)), ("few", Value::Null)] {
        let tools = manager.tools(server).unwrap();
        let reported = whoami(&tools.call("whoami", asked.clone()).await.unwrap());
        assert_eq!(reported["env"]["CARGO_MANIFEST_DIR"], expected, "{server}");
        assert!(reported["env"]["PATH"].is_string(), "{server}");
    }
    manager.shutdown().await;
}
