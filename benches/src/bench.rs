//! The frame of a bench program.

use std::{process::ExitCode, time::Duration};

use criterion::Criterion;
use tokio::runtime::Runtime;

use crate::{
    pairs::Comparison,
    record::{Point, Record, Target, Verdict},
};

/// A bench under way.
pub struct Bench {
    name: &'static str,
    pub runtime: Runtime,
    pub criterion: Criterion,
    /// Only see that it runs: the figures mean nothing.
    pub quick: bool,
}

/// The whole `main` of a bench: the server that this program may have been started as, or the bench itself.
pub fn bench(name: &'static str, run: impl FnOnce(&mut Bench)) -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    // `cargo test --benches` starts the program without this argument.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let quick = !measured || std::env::var_os("POOL_BENCH_QUICK").is_some();
    let criterion = Criterion::default()
        .configure_from_args()
        .sample_size(if quick { 10 } else { 30 })
        .warm_up_time(Duration::from_millis(if quick { 10 } else { 300 }))
        .measurement_time(Duration::from_millis(if quick { 50 } else { 1500 }))
        .without_plots();
    let mut bench = Bench {
        name,
        runtime: Runtime::new().expect("a runtime can be built"),
        criterion,
        quick,
    };
    run(&mut bench);
    bench.runtime.shutdown_timeout(Duration::from_secs(5));
    ExitCode::SUCCESS
}

impl Bench {
    /// So many, or just a few where only the running counts.
    pub fn times(&self, full: usize) -> usize {
        if self.quick {
            full.div_ceil(50).min(3)
        } else {
            full
        }
    }

    /// Holds a comparison against its target. `what` was measured against `against`.
    pub fn judge(
        &self,
        case: &str,
        (what, against): (&str, &str),
        comparison: &Comparison,
        target: Target,
        unit: &str,
    ) {
        self.record(Record::Verdict(Verdict {
            bench: self.name.into(),
            case: case.into(),
            what: what.into(),
            against: against.into(),
            value: comparison.ratio,
            low: comparison.low,
            high: comparison.high,
            unit: "ratio".into(),
            figures: format!(
                "{} against {} {unit}",
                figure(comparison.measured),
                figure(comparison.reference)
            ),
            target,
            quick: self.quick,
        }));
    }

    /// Holds a plain figure against its target.
    pub fn judge_figure(&self, case: &str, what: &str, value: f64, unit: &str, target: Target) {
        self.record(Record::Verdict(Verdict {
            bench: self.name.into(),
            case: case.into(),
            what: what.into(),
            against: "-".into(),
            value,
            low: value,
            high: value,
            unit: unit.into(),
            figures: format!("{} {unit}", figure(value)),
            target,
            quick: self.quick,
        }));
    }

    /// One point of a line in the plot `series`.
    pub fn point(&self, series: &str, unit: &str, line: &str, size: usize, value: f64) {
        self.record(Record::Point(Point {
            bench: self.name.into(),
            series: series.into(),
            unit: unit.into(),
            line: line.into(),
            size,
            value,
            quick: self.quick,
        }));
    }

    fn record(&self, record: Record) {
        println!("{record}");
        record.append();
    }
}

/// Three digits, whatever the size.
fn figure(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
