//! `docs/metrics.md` says what the code says.
//!
//! `UPDATE_DOCS=1 cargo test -p mcp-metrics --test it docs` writes it again.

use std::{collections::BTreeSet, env, fmt::Write, fs, path::PathBuf};

use mcp_metrics::{CallOutcome, Judgement, Kind, catalog};
use metrics::Unit;

#[test]
fn the_documentation_of_the_metrics_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let made = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, made).expect("docs can be written");
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/metrics.md is not what the code says; write it again: UPDATE_DOCS=1 cargo test -p mcp-metrics --test it docs"
    );
}

#[test]
fn names_are_as_prometheus_wants_them_and_there_is_one_of_each() {
    let names: BTreeSet<_> = catalog::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), catalog::ALL.len());
    for metric in catalog::ALL {
        let opentelemetry = metric.name.contains('.');
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        assert_eq!(
            metric.name.ends_with("_seconds"),
            metric.unit == Unit::Seconds && !opentelemetry,
            "{}",
            metric.name
        );
        let of_the_program = *metric == catalog::BUILD_INFO;
        let first = if of_the_program { "version" } else { "server" };
        assert_eq!(metric.labels.first(), Some(&first), "{}", metric.name);
        assert!(metric.description.ends_with('.'), "{}", metric.name);
    }
}

/// Whether a metric of this name is in the text of a scrape.
fn is_scraped(name: &str) -> bool {
    let base = ["_bucket", "_sum", "_count"];
    let base = base.iter().find_map(|suffix| name.strip_suffix(suffix));
    catalog::ALL.iter().any(|metric| {
        metric.name == name || (metric.kind == Kind::Histogram && Some(metric.name) == base)
    })
}

#[test]
fn the_rules_and_the_board_in_the_documentation_ask_for_metrics_and_outcomes_that_there_are() {
    for file in ["prometheus-rules.yml", "grafana-dashboard.json"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(file);
        let text = fs::read_to_string(path).expect("it is there");
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: BTreeSet<_> = words.filter(|word| word.starts_with("mcp_")).collect();
        assert!(asked.len() >= 8, "{asked:?}");
        for name in asked {
            assert!(is_scraped(name), "{file}: {name}");
        }
        let outcomes = text.split("outcome=~").skip(1).filter_map(|part| {
            let quoted = part.trim_start_matches('\\').strip_prefix('"')?;
            quoted.split(['"', '\\']).next()
        });
        let judged = |judgements: &[Judgement]| -> BTreeSet<_> {
            let judged = CallOutcome::ALL.iter();
            let judged = judged.filter(|outcome| judgements.contains(&outcome.judgement()));
            judged.map(|outcome| outcome.as_str()).collect()
        };
        let faults = judged(&[Judgement::Fault]);
        let of_the_server = judged(&[Judgement::Fault, Judgement::Answered]);
        let lists: Vec<BTreeSet<_>> = outcomes.map(|list| list.split('|').collect()).collect();
        assert!(lists.contains(&faults), "{file}: {lists:?}");
        for list in lists {
            let is_known = list == faults || list == of_the_server;
            assert!(is_known, "{file}: {list:?} are not what the pool counts");
        }
    }
}

fn document() -> String {
    let mut text = String::from(HEAD);
    let (ours, opentelemetry): (Vec<_>, Vec<_>) = catalog::ALL
        .iter()
        .partition(|metric| !metric.name.contains('.'));
    table(&mut text, &ours);
    text.push_str(OUTCOMES);
    for outcome in CallOutcome::ALL {
        let judgement = match outcome.judgement() {
            Judgement::Answered => "answered",
            Judgement::Fault => "fault",
            Judgement::Refused => "refused",
            _ => "nothing",
        };
        let _ = writeln!(text, "| `{outcome}` | {judgement} |");
    }
    text.push_str(OPENTELEMETRY);
    table(&mut text, &opentelemetry);
    text
}

fn table(text: &mut String, metrics: &[&&catalog::Metric]) {
    text.push_str("| name | kind | unit | labels | |\n| --- | --- | --- | --- | --- |\n");
    for metric in metrics {
        let unit = match metric.unit {
            Unit::Seconds => "s",
            _ => "1",
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "| `{}` | {} | {unit} | {labels} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.description
        );
    }
}

const HEAD: &str = "<!-- Made from crates/mcp-metrics/src/catalog.rs by UPDATE_DOCS=1 cargo test -p mcp-metrics --test it docs -->

# Metrics

With `MetricsBuilder::tool_labels`, `mcp_calls_total` and `mcp_call_duration_seconds` also have the label `tool`, of which
there are no more values than asked for; the rest is `_other`.

";

const OUTCOMES: &str = "
## Outcomes of calls

An error rate is faults over answers and faults. What the breaker refused tells nothing new about the server, and what the
caller did tells nothing at all.

| outcome | says |
| --- | --- |
";

const OPENTELEMETRY: &str = "
## OpenTelemetry

With the feature `otel` and `MetricsBuilder::opentelemetry_names`, the same durations under the names of
[OpenTelemetry's conventions for MCP](https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md).
`error.type` is there if the call or the session failed, `gen_ai.tool.name` if tools have series of their own, `network.transport`
(`pipe` or `tcp`) if it is known. Their stability is \"development\": the names may change with the conventions.

";
