//! Makes `docs/performance.md` and its plots from the results that the benches have left behind.
//!
//! ```console
//! $ cargo bench -p mcp-pool-benches && cargo run --release -p mcp-pool-benches --bin report
//! ```
//!
//! Of each figure the last one counts. Figures of quick runs are left out.

mod machine;
mod obstacle;
mod plot;
mod table;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use mcp_pool_benches::{Point, Record, Verdict, results_file};

fn main() -> anyhow::Result<()> {
    let file = results_file();
    let text = fs::read_to_string(&file)
        .with_context(|| format!("no results at {}; run the benches first", file.display()))?;
    let results = Results::read(&text)?;
    anyhow::ensure!(
        !results.verdicts.is_empty(),
        "all results are of quick runs"
    );

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let plots = docs.join("performance");
    fs::create_dir_all(&plots)?;
    let verdicts: Vec<_> = results.verdicts.into_values().collect();
    let mut page = table::page(&verdicts);
    page.push_str(&obstacle::section(&verdicts));
    page.push_str("\n## How cost grows\n");
    for ((bench, series), points) in &results.series {
        let points: Vec<_> = points.values().collect();
        let name = PathBuf::from(format!("{}.svg", slug(&format!("{bench} {series}"))));
        fs::write(plots.join(&name), plot::svg(series, &points))?;
        page.push_str(&format!(
            "\n![{bench}: {series}](performance/{})\n",
            name.display()
        ));
    }
    fs::write(docs.join("performance.md"), page)?;
    println!(
        "wrote docs/performance.md and {} plots",
        results.series.len()
    );
    Ok(())
}

#[derive(Default)]
struct Results {
    verdicts: BTreeMap<(String, String, String), Verdict>,
    series: BTreeMap<(String, String), BTreeMap<(String, usize), Point>>,
}

impl Results {
    fn read(text: &str) -> anyhow::Result<Self> {
        let mut results = Self::default();
        for (number, line) in text.lines().enumerate() {
            let record = serde_json::from_str(line)
                .with_context(|| format!("line {} of the results is broken", number + 1))?;
            match record {
                Record::Verdict(verdict) if !verdict.quick => {
                    let key = (
                        verdict.bench.clone(),
                        verdict.case.clone(),
                        verdict.unit.clone(),
                    );
                    results.verdicts.insert(key, verdict);
                }
                Record::Point(point) if !point.quick => {
                    let key = (point.bench.clone(), point.series.clone());
                    let series = results.series.entry(key).or_default();
                    series.insert((point.line.clone(), point.size), point);
                }
                _ => {}
            }
        }
        Ok(results)
    }
}

fn slug(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
