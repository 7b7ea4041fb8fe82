//! What is shown of the daemon: one line for all, and a row for each server.

use serde_json::Value;

use super::Moment;

/// The headings of the columns.
pub(super) const HEADINGS: [&str; 9] = [
    "SERVER", "HEALTH", "SESSIONS", "IN USE", "WAITING", "CALLS/S", "P50", "P99", "ERRORS",
];

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    cells: [String; 9],
}

impl Row {
    /// The first column that holds numbers.
    pub(super) const FIRST_NUMBER: usize = 2;

    pub(super) fn cells(&self) -> &[String; 9] {
        &self.cells
    }

    /// Its health: `healthy`, `degraded`, `critical`, or `off`.
    #[cfg(feature = "top")]
    pub(super) fn health(&self) -> &str {
        &self.cells[1]
    }
}

/// `3 servers, 2 clients, 5 of 100 sessions, 1024 calls, up 3h 12m`
pub(super) fn headline(moment: &Moment) -> String {
    let status = &moment.status;
    let clients = moment.clients["clients"].as_array().map_or(0, Vec::len);
    let uptime = status["uptime_seconds"].as_f64().unwrap_or_default();
    format!(
        "{} servers, {clients} clients, {} of {} sessions, {} calls, up {}",
        number(&status["total_pools"]),
        number(&status["connections"]),
        number(&status["max_connections"]),
        number(&status["total_requests"]),
        elapsed(uptime),
    )
}

/// The servers, in the order of their names.
pub(super) fn rows(moment: &Moment) -> Vec<Row> {
    let pools = moment.pools.as_array().into_iter().flatten();
    pools.map(row).collect()
}

fn row(pool: &Value) -> Row {
    let health = match pool["disabled"].is_string() {
        true => "off",
        false => pool["health"]["status"].as_str().unwrap_or("?"),
    };
    let window = &pool["window"];
    let sessions = format!(
        "{}/{}",
        number(&pool["total_connections"]),
        number(&pool["max_connections"])
    );
    Row {
        cells: [
            printable(pool["server"].as_str().unwrap_or("?")),
            health.to_owned(),
            sessions,
            number(&pool["in_flight"]).to_string(),
            number(&pool["waiters"]).to_string(),
            format!(
                "{:.1}",
                window["requests_per_second"].as_f64().unwrap_or_default()
            ),
            millis(&window["call_seconds"]["p50"]),
            millis(&window["call_seconds"]["p99"]),
            number(&pool["errors"]).to_string(),
        ],
    }
}

/// Names are of a configuration, and could hold what a terminal obeys.
fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn millis(seconds: &Value) -> String {
    match seconds.as_f64() {
        Some(seconds) if seconds >= 10.0 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{:.0} ms", seconds * 1000.0),
        None => "-".to_owned(),
    }
}

fn elapsed(seconds: f64) -> String {
    let seconds = std::time::Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}
