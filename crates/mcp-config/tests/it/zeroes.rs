//! Zero is rejected where it would disable everything, by file, by variable and by code.

use crate::loader;
use mcp_config::{LimitSettings, Loader, PoolSettings};

const TIME: &str = "is not allowed, expected a time above zero and of at most 10 years: seconds as a number, \
                    or a text such as 500ms, 5m, 1h";
const COUNT: &str = "0 is not allowed, expected a whole number of at least 1";

fn error(loader: &Loader) -> String {
    loader.load().unwrap_err().to_string()
}

#[test]
fn no_time_may_be_zero() {
    let times: Vec<_> = mcp_config::settings()
        .into_iter()
        .filter(|row| row.unit == "seconds")
        .collect();
    assert!(times.len() >= 12, "{times:?}");
    for row in times {
        let pool = match row.name.split_once('.') {
            Some((group, name)) => serde_json::json!({group: {name: 0}}),
            None => serde_json::json!({&row.name: 0}),
        };
        let text = serde_json::json!({"a": {"command": "x", "pool": pool}}).to_string();
        let config = loader().text("f", text).load().unwrap();
        assert_eq!(
            config.servers["a"].disabled().unwrap().to_string(),
            format!("f: a.pool.{}: 0 {TIME}", row.name)
        );
        for zero in ["0", "0ms"] {
            assert_eq!(
                error(&loader().environment([(row.variable.as_str(), zero)])),
                format!("environment: {}: \"{zero}\" {TIME}", row.variable)
            );
        }
    }
}

#[test]
fn no_limit_may_be_zero() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("mcp-pool.toml");
    std::fs::write(
        &settings,
        "[limits]\nmax_total_connections = 0\nmax_connecting = 0\n",
    )
    .unwrap();
    let at = settings.display();
    assert_eq!(
        error(&loader().settings_file(&settings)),
        format!(
            "{at}: limits.max_connecting: {COUNT}\n{at}: limits.max_total_connections: {COUNT}"
        )
    );
    assert_eq!(
        error(&loader().environment([("MCP_MAX_CONNECTING", "0")])),
        "environment: MCP_MAX_CONNECTING: \"0\" is not allowed, expected a whole number of at least 1"
    );
    assert_eq!(
        error(&loader().limits(LimitSettings::new().max_total_connections(0))),
        format!("code: limits.max_total_connections: {COUNT}")
    );
}

#[test]
fn a_line_for_nobody_is_refused_and_not_taken_for_a_line_of_one() {
    let text = r#"{"a": {"command": "x", "pool": {"max_waiters": 0}}}"#;
    let config = loader().text("f", text).load().unwrap();
    assert_eq!(
        config.servers["a"].disabled().unwrap().to_string(),
        format!("f: a.pool.max_waiters: {COUNT}")
    );
    let variable = [("MCP_POOL_MAX_WAITERS", "0")];
    assert!(error(&loader().environment(variable)).contains("MCP_POOL_MAX_WAITERS"));
    let code = PoolSettings::new().max_waiters(0);
    assert_eq!(
        error(&loader().defaults(code)),
        format!("code: defaults.max_waiters: {COUNT}")
    );
}
