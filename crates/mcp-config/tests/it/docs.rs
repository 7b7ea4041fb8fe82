//! Documentation and code agree: tables are generated, examples are loaded.
//!
//! `UPDATE_DOCS=1 cargo test -p mcp-config --test it docs` writes the generated parts again.

use crate::loader;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_config::{
    Config, Disabled, EffectiveAggregator, GatewayConfig, GlobalLimits, Setting, Sharing, Transport,
};

const COMMAND: &str = "UPDATE_DOCS=1 cargo test -p mcp-config --test it docs";

fn docs(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("docs").join(name)
}

/// Holds a file of the documentation against what it should be, or makes it so.
fn check(name: &str, expected: &str) {
    let path = docs(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let differs = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/{name} is not what the code says; regenerate it with\n    {COMMAND}\n{differs:#?}"
    );
}

fn configuration() -> String {
    fs::read_to_string(docs("configuration.md")).unwrap()
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_code() {
    let schema = serde_json::to_string_pretty(&mcp_config::schema()).unwrap();
    check("mcp-pool.schema.json", &format!("{schema}\n"));
}

#[test]
fn the_tables_in_the_documentation_are_those_of_the_code() {
    let mut text = configuration();
    for (marker, rows) in [
        ("settings", mcp_config::settings()),
        ("limits", GlobalLimits::settings()),
        ("aggregator", EffectiveAggregator::settings()),
        ("gateway", GatewayConfig::rows()),
    ] {
        let (open, close) = (
            format!("<!-- {marker} -->\n"),
            format!("<!-- /{marker} -->"),
        );
        let start = text.find(&open).unwrap() + open.len();
        let end = start + text[start..].find(&close).unwrap();
        text.replace_range(start..end, &table(&rows));
    }
    check("configuration.md", &text);
}

#[test]
fn the_known_servers_in_the_documentation_are_those_of_the_code() {
    let mut text = fs::read_to_string(docs("servers.md")).unwrap();
    let mut table = format!(
        "<!-- servers -->\n<!-- made by {COMMAND} -->\n\n| server | `sharing` | why | recognised by |\n| --- | --- | --- | --- |\n"
    );
    for known in mcp_config::known_servers() {
        let sharing = serde_json::to_value(known.sharing).unwrap();
        let single = if known.single { ", one session" } else { "" };
        let names = known.packages.iter().chain(known.hosts);
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        table.push_str(&format!(
            "| {} | `{}`{single} | {} | {} |\n",
            known.name,
            sharing.as_str().unwrap(),
            known.reason,
            names.join(", ")
        ));
    }
    table.push('\n');
    let start = text.find("<!-- servers -->").unwrap();
    let end = text.find("<!-- /servers -->").unwrap();
    text.replace_range(start..end, &table);
    check("servers.md", &text);
}

fn table(rows: &[Setting]) -> String {
    let mut table = format!(
        "<!-- made by {COMMAND} -->\n\n| name | default | unit | environment | meaning |\n| --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let default = match &row.default {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        table.push_str(&format!(
            "| `{}` | {default} | {} | `{}` | {} |\n",
            row.name, row.unit, row.variable, row.description
        ));
    }
    table.push('\n');
    table
}

/// The fenced blocks under each heading, with what stands behind the fence.
fn blocks() -> BTreeMap<String, Vec<(String, String)>> {
    let (mut heading, mut found) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    let text = configuration();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
            && line.starts_with('#')
        {
            heading = title.to_owned();
        }
        if let Some(kind) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let of_heading = found.entry(heading.clone()).or_default();
            of_heading.push((kind.to_owned(), body.join("\n") + "\n"));
        }
    }
    found
}

/// The example under a heading, loaded from a file as the client names it.
fn example(heading: &str, path: &str, variables: &[(&str, &str)]) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &blocks()[heading][0].1).unwrap();
    let loader = loader().environment(variables.iter().copied());
    let config = loader.file(path).load().unwrap();
    config.check().unwrap();
    config
}

fn shown(config: &Config, server: &str) -> String {
    match config.servers[server].server().unwrap().transport() {
        Transport::Stdio(stdio) => {
            let env = stdio
                .env
                .iter()
                .map(|(name, value)| format!("{name}={}", value.expose()));
            let words = env
                .chain([stdio.command.clone()])
                .chain(stdio.args.iter().cloned());
            words.collect::<Vec<_>>().join(" ")
        }
        Transport::Http(http) => {
            let headers = http
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.expose()));
            [http.url.clone()]
                .into_iter()
                .chain(headers)
                .collect::<Vec<_>>()
                .join(" ")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_examples_of_the_clients_mean_what_the_documentation_says() {
    let desktop = example("Claude Desktop", "claude_desktop_config.json", &[]);
    assert_eq!(
        shown(&desktop, "filesystem"),
        "LOG_LEVEL=info npx -y @modelcontextprotocol/server-filesystem /home/me/My Documents"
    );

    let code = example("Claude Code", ".mcp.json", &[("GITHUB_TOKEN", "t")]);
    assert_eq!(
        shown(&code, "github"),
        "https://api.githubcopilot.com/mcp/ Authorization: Bearer t"
    );
    let settings = code.servers["github"].settings();
    assert_eq!(settings.call_timeout, Duration::from_secs(30));
    assert_eq!(settings.max_connections, 4);

    let cursor = example("Cursor", ".cursor/mcp.json", &[("SEARCH_KEY", "k")]);
    let search = shown(&cursor, "search");
    assert!(search.starts_with("API_KEY=k python /"), "{search}");
    assert!(
        search.ends_with("/tools/search.py") && !search.contains(".cursor"),
        "{search}"
    );

    let vscode = example("VS Code", ".vscode/mcp.json", &[]);
    assert_eq!(shown(&vscode, "browser"), "npx -y @playwright/mcp");
    assert_eq!(
        vscode.servers["browser"].settings().sharing,
        Sharing::Pinned
    );

    let gemini = example("Gemini CLI", ".gemini/settings.json", &[]);
    assert_eq!(shown(&gemini, "weather"), "http://localhost:3000/mcp");
    let excluded = gemini.servers["experiment"].disabled();
    assert!(matches!(excluded, Some(Disabled::SwitchedOff(_))));

    let fastmcp = example("FastMCP", "mcp.json", &[("NOTES_TOKEN", "n")]);
    assert_eq!(
        shown(&fastmcp, "notes"),
        "https://notes.example.com/mcp Authorization: Bearer n"
    );
}

#[test]
fn every_other_file_in_the_documentation_is_right_but_for_variables_that_are_not_set_here() {
    let mut read = 0;
    for (heading, of_heading) in blocks() {
        let files = of_heading
            .iter()
            .filter(|(kind, _)| kind == "json" || kind == "jsonc");
        for (_, text) in files {
            let config = loader().text(".mcp.json", text).load().unwrap();
            assert!(!config.servers.is_empty(), "{heading}");
            for problem in config.problems() {
                let unset = problem.message.ends_with("is not set");
                let unknown = problem.message.ends_with("is not known");
                assert!(unset || unknown, "{heading}: {problem}");
            }
            read += 1;
        }
    }
    assert!(read >= 7, "{read}");
}

#[test]
fn every_example_in_the_documentation_fares_with_the_schema_as_it_should() {
    let validator = jsonschema::validator_for(&mcp_config::schema()).unwrap();
    let options = jsonc_parser::ParseOptions {
        allow_missing_commas: false,
        ..Default::default()
    };
    let (mut right, mut wrong) = (0, 0);
    for (kind, text) in blocks().into_values().flatten() {
        let value = match kind.as_str() {
            "json" | "jsonc" | "json broken" => {
                jsonc_parser::parse_to_serde_value::<serde_json::Value>(&text, &options).ok()
            }
            "toml" => toml::from_str(&text).ok(),
            _ => continue,
        };
        match value {
            Some(value) if kind != "json broken" => {
                let verdict = validator.validate(&value);
                let verdict = verdict.map_err(|error| error.to_string());
                assert_eq!(verdict, Ok(()), "{text}");
                right += 1;
            }
            Some(value) => {
                assert!(!validator.is_valid(&value), "{text}");
                wrong += 1;
            }
            None => assert_eq!(kind, "json broken", "{text}"),
        }
    }
    assert!(right >= 8 && wrong >= 1, "{right} right, {wrong} wrong");
}

#[test]
fn the_settings_file_in_the_documentation_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let (kind, text) = &blocks()["Settings"][0];
    assert_eq!(kind, "toml");
    fs::write(folder.path().join("mcp-pool.toml"), text).unwrap();
    fs::write(folder.path().join(".mcp.json"), "{}").unwrap();
    let config = loader()
        .file(folder.path().join(".mcp.json"))
        .load()
        .unwrap();
    assert_eq!(config.defaults.call_timeout, Duration::from_secs(45));
    assert_eq!(config.defaults.circuit_breaker.failure_threshold, 3);
    assert_eq!(config.limits.max_total_connections, 40);
}

#[test]
fn the_origins_in_the_documentation_are_those_that_are_shown() {
    use mcp_config::PoolSettings;

    let loader = loader()
        .environment([
            ("GITHUB_TOKEN", "t"),
            ("MCP_POOL_MAX_WAITERS", "40"),
            ("MCP_SERVER_GITHUB_MAX_WAITERS", "50"),
        ])
        .defaults(
            PoolSettings::new()
                .retry_delay(Duration::from_secs(2))
                .retry_attempts(9),
        )
        .text(".mcp.json", &blocks()["Claude Code"][0].1);
    let mut config = loader.load().unwrap();
    let github = config.servers.get_mut("github").unwrap();
    github
        .configure(PoolSettings::new().retry_attempts(1))
        .unwrap();
    let origins = github.settings_with_origin();
    let reported = &blocks()["Layers"][0].1;
    for line in reported.lines() {
        let setting = line.split(' ').next().unwrap();
        let found = origins
            .iter()
            .find(|found| found.setting == setting)
            .unwrap();
        assert_eq!(
            line,
            format!("{setting} = {} ({})", found.value, found.origin)
        );
    }
    assert_eq!(reported.lines().count(), 6);
}

#[test]
fn the_errors_in_the_documentation_are_those_that_are_told() {
    let blocks = &blocks()["Errors"];
    for pair in blocks.chunks(2) {
        let [(file, broken), (text, expected)] = pair else {
            panic!("each file has its errors");
        };
        assert_eq!(
            (file.as_str(), text.as_str()),
            ("json broken", "text problems")
        );
        let loaded = loader().text(".mcp.json", broken).load();
        let reported = match loaded {
            Ok(config) => config.check().unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(reported.to_string() + "\n", *expected);
    }
    assert_eq!(blocks.len(), 4);
}
