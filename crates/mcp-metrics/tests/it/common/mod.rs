//! Prometheus' text format, read as strictly as its specification has it, and what JSON is to hold.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part; a panic is a verdict"
)]

use std::collections::{BTreeMap, BTreeSet};

/// What dashboards read of a pool, in a summary as in a status.
pub const DASHBOARD_KEYS: [&str; 8] = [
    "server_name",
    "total_connections",
    "available_connections",
    "circuit_breaker_state",
    "pool_hits",
    "pool_misses",
    "connection_errors",
    "health_check_failures",
];

pub type Labels = BTreeMap<String, String>;

/// Samples of a scrape, by name.
#[derive(Debug, Default)]
pub struct Parsed {
    samples: Vec<(String, Labels, f64)>,
    pub types: BTreeMap<String, String>,
    pub help: BTreeMap<String, String>,
}

impl Parsed {
    /// The sum over all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.all(name).filter(|(found, _)| {
            labels
                .iter()
                .all(|(label, value)| found.get(*label).is_some_and(|it| it == value))
        });
        samples.map(|(_, value)| value).sum()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        let samples = self.samples.iter().filter(move |(found, ..)| found == name);
        samples.map(|(_, labels, value)| (labels, *value))
    }
}

/// Reads a scrape.
///
/// # Panics
/// If anything is not as the specification wants it.
pub fn parse(text: &str) -> Parsed {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut parsed = Parsed::default();
    let mut seen = BTreeSet::new();
    let mut family = String::new();
    let mut finished = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(
                parsed.help.insert(name.into(), text.into()).is_none(),
                "two HELP of {name}"
            );
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                parsed.types.insert(name.into(), kind.into()).is_none(),
                "two TYPE of {name}"
            );
            family = name.to_owned();
            assert!(
                finished.insert(family.clone()),
                "{name} is not in one piece"
            );
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let (name, labels, value) = sample(line);
            let kind = &parsed.types[&family];
            let suffix = name
                .strip_prefix(family.as_str())
                .unwrap_or_else(|| panic!("{line} among {family}"));
            let suffixes: &[_] = if kind == "histogram" {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(kind == "gauge" || value >= 0.0, "{line}");
            assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
            parsed.samples.push((name, labels, value));
        }
    }
    for (name, kind) in &parsed.types {
        if kind == "histogram" {
            histogram(&parsed, name);
        }
    }
    parsed
}

/// Buckets grow, and the last is the count.
fn histogram(parsed: &Parsed, name: &str) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, count) in parsed.all(&format!("{name}_bucket")) {
        let mut labels = labels.clone();
        let bound = labels.remove("le").unwrap();
        let bound = if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().unwrap()
        };
        series.entry(labels).or_default().push((bound, count));
    }
    for (labels, buckets) in series {
        assert!(
            buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
            "{name} {labels:?}"
        );
        let count = parsed
            .all(&format!("{name}_count"))
            .find(|(found, _)| **found == labels);
        assert_eq!(
            buckets.last(),
            Some(&(f64::INFINITY, count.unwrap().1)),
            "{name} {labels:?}"
        );
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let name = &line[..end];
    assert!(is_name(name, true), "{line}");
    let mut labels = Labels::new();
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(is_name(label, false), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.into(), value).is_none(), "{line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    (name.into(), labels, value)
}

fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next().unwrap() {
            (at, '"') => return (value, &text[at + 1..]),
            (_, '\\') => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                other => {
                    assert!(['\\', '"'].contains(&other), "{text}");
                    other
                }
            }),
            (_, other) => value.push(other),
        }
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':'))
}
