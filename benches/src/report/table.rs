//! The page up to its plots.

use mcp_pool_benches::Verdict;

use crate::machine;

pub(crate) fn page(verdicts: &[Verdict]) -> String {
    let mut page = format!(
        "# Performance\n\n\
         Measured on {}. Each row is of the last run of its bench. Other programs ran at the same time. So only ratios count: each is the \
         median over pairs taken in turn (A B, B A), with its quartiles. The figures beside them are for orientation.\n\n\
         The command, in the repository:\n\n\
         ```console\n\
         $ POOL_BENCH_EVERYTHING=path/to/server-everything/dist/index.js cargo bench -p mcp-pool-benches\n\
         $ benches/b12_rivals.sh # B12 again, with other gateways\n\
         $ cargo build --profile bench -p mcp-pool-cli && cargo bench -p mcp-pool-benches --bench b17_connect\n\
         $ cargo run --release -p mcp-pool-benches --bin report\n\
         ```\n\n\
         Without that variable B4 and B8 use a stand-in that takes 300 ms to start. Instruction counts, which no other \
         program disturbs, are in [`benches/callgrind.txt`](../benches/callgrind.txt); `benches/callgrind.sh` makes \
         them. The breaker has a bench of its own, B10: `cargo bench -p mcp-breaker --bench b10_breaker`.\n\n\
         | | bench | what | against what | ratio | target | met | figures |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        machine::describe()
    );
    for verdict in verdicts {
        page.push_str(&row(verdict));
    }
    page
}

fn row(verdict: &Verdict) -> String {
    let value = match verdict.unit.as_str() {
        "ratio" => format!(
            "**{}** ({}–{})",
            short(verdict.value),
            short(verdict.low),
            short(verdict.high)
        ),
        unit => format!("**{}** {unit}", short(verdict.value)),
    };
    let met = if verdict.target.is_met_by(verdict.value) {
        "yes"
    } else {
        "**no**"
    };
    format!(
        "| {} | {} | {} | {} | {value} | {} | {met} | {} |\n",
        verdict.bench, verdict.case, verdict.what, verdict.against, verdict.target, verdict.figures
    )
}

fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
