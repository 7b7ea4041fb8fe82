//! A row of the table: how long calls took.

use std::time::Duration;

use serde_json::{Value, json};

/// Calls of one kind.
pub(super) struct Measured {
    label: &'static str,
    callers: u32,
    /// In order, and one at least.
    latencies: Vec<Duration>,
    took: Duration,
    /// Sessions that were opened for them.
    opened: u64,
}

impl Measured {
    pub(super) fn new(
        label: &'static str,
        callers: u32,
        mut latencies: Vec<Duration>,
        took: Duration,
    ) -> Self {
        latencies.sort_unstable();
        Self {
            label,
            callers,
            latencies,
            took,
            opened: 0,
        }
    }

    pub(super) fn opened(mut self, opened: u64) -> Self {
        self.opened = opened;
        self
    }

    pub(super) fn calls(&self) -> usize {
        self.latencies.len()
    }

    pub(super) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    fn quantile(&self, part: f64) -> Duration {
        let last = self.calls().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    fn per_second(&self) -> f64 {
        self.calls() as f64 / self.took.as_secs_f64()
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "label": self.label,
            "callers": self.callers,
            "calls": self.calls(),
            "callsPerSecond": self.per_second(),
            "p50Micros": self.median().as_secs_f64() * 1e6,
            "p99Micros": self.quantile(0.99).as_secs_f64() * 1e6,
            "opened": self.opened,
        })
    }

    fn cells(&self) -> [String; 5] {
        let label = match self.callers {
            1 => self.label.to_owned(),
            callers => format!("pooled, {callers} callers"),
        };
        [
            label,
            figure(self.per_second()),
            time(self.median()),
            time(self.quantile(0.99)),
            figure(self.opened as f64),
        ]
    }
}

/// The rows beneath their heads.
pub(super) fn table(rows: &[Measured]) -> String {
    let heads = ["", "calls per second", "p50", "p99", "sessions opened"].map(str::to_owned);
    let lines = std::iter::once(heads).chain(rows.iter().map(Measured::cells));
    let lines = lines.map(|[label, rate, p50, p99, opened]| {
        format!("{label:<24}{rate:>17}{p50:>11}{p99:>11}{opened:>16}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Three digits where there are no more, whole numbers with separators where there are.
pub(super) fn figure(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}

fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{} ms", figure(micros / 1e3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_eighty_columns() {
        let row = |label, callers, micros: u64| {
            let latencies = (1..=100).map(|n| Duration::from_micros(n * micros));
            Measured::new(label, callers, latencies.collect(), Duration::from_secs(2)).opened(7)
        };
        let rows = [
            row("new connection per call", 1, 90_000),
            row("pooled", 64, 5),
        ];
        let table = table(&rows);
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
        let lines: Vec<_> = table.lines().map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "calls per second        p50        p99 sessions opened",
                "new connection per call                50   4,590 ms   8,910 ms               7",
                "pooled, 64 callers                     50     255 µs     495 µs               7",
            ]
        );
    }
}
