//! What a run leaves behind: lines to read, and lines for the report.

use std::{fmt, fs::OpenOptions, io::Write, path::PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Record {
    Verdict(Verdict),
    Point(Point),
}

/// A figure held against its target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub bench: String,
    pub case: String,
    pub what: String,
    pub against: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub unit: String,
    /// Both sides in absolute figures, for orientation.
    pub figures: String,
    pub target: Target,
    pub quick: bool,
}

/// A point in the plot of how something grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    pub bench: String,
    pub series: String,
    pub unit: String,
    pub line: String,
    pub size: usize,
    pub value: f64,
    pub quick: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
}

impl Target {
    pub fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Below(limit) => value < limit,
        }
    }
}

impl Record {
    /// Adds itself to the results file. A bench is not to fail for want of one.
    pub(crate) fn append(&self) {
        let line = serde_json::to_string(self).expect("a record is plain data");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(results_file());
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
            eprintln!("the results are not kept: {error}");
        }
    }
}

/// `bench-results.jsonl` in the target directory in which this program was built.
pub fn results_file() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let in_target = |path: &&std::path::Path| path.join("CACHEDIR.TAG").exists();
    let target = program.ancestors().find(in_target);
    target
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("bench-results.jsonl")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<= {limit}"),
            Self::AtLeast(limit) => write!(f, ">= {limit}"),
            Self::Below(limit) => write!(f, "< {limit}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Point(point) => point.fmt(f),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = match (self.quick, self.target.is_met_by(self.value)) {
            (true, _) => "not judged: quick run",
            (false, true) => "ok",
            (false, false) => "MISSED",
        };
        write!(
            f,
            "{} {}: {} {:.3} [{:.3}, {:.3}] (target {}) {met}; {}",
            self.bench,
            self.case,
            self.unit,
            self.value,
            self.low,
            self.high,
            self.target,
            self.figures
        )
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bench,
            series,
            unit,
            line,
            size,
            value,
            ..
        } = self;
        write!(f, "{bench} {series}: {line}, {size}: {value:.1} {unit}")
    }
}
