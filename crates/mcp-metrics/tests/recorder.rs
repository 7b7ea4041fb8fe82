//! Recorders of the `metrics` facade: installed early, late, or not at all.
//!
//! In a program of its own, because a recorder is installed for the whole process.

#![allow(clippy::unwrap_used, reason = "tests: a panic is a verdict")]

#[path = "it/common/mod.rs"]
mod common;

use std::{collections::BTreeSet, time::Duration};

use mcp_metrics::{
    AlertKind, BreakerState, CallOutcome, HealthStatus, Metrics, PoolGauges, Prometheus, Publisher,
    ServerMetrics, alert::Severity, catalog,
};
use metrics::{Unit, set_global_recorder};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const MOMENT: Duration = Duration::from_millis(20);

/// What a recorder received for a metric: counters and gauges added up, the values of histograms in a row.
fn reported(snapshotter: &Snapshotter, name: &str) -> Vec<f64> {
    let all = snapshotter.snapshot().into_vec();
    let of_name = all.into_iter().filter(|(key, ..)| key.key().name() == name);
    of_name
        .flat_map(|(_, _, _, value)| match value {
            DebugValue::Counter(total) => vec![total as f64],
            DebugValue::Gauge(value) => vec![value.0],
            DebugValue::Histogram(values) => values.into_iter().map(|value| value.0).collect(),
        })
        .collect()
}

#[test]
fn a_recorder_installed_after_the_first_calls_is_told_of_them_too() {
    let metrics = Metrics::new();
    let server = metrics.server("time");
    server.call("tools/call", None, CallOutcome::Ok, MOMENT);
    metrics.publish();

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    set_global_recorder(recorder).expect("the only test of this process that installs one");
    server.call("tools/call", None, CallOutcome::Ok, MOMENT);
    metrics.publish();
    let all = snapshotter.snapshot().into_vec();
    let durations: Vec<_> = all
        .iter()
        .filter(|(key, ..)| key.key().name() == "mcp_call_duration_seconds")
        .collect();
    let [(_, unit, description, DebugValue::Histogram(values))] = &durations[..] else {
        panic!("{durations:?}");
    };
    assert_eq!(values.iter().map(|v| v.0).collect::<Vec<_>>(), [0.02, 0.02]);
    assert_eq!(*unit, Some(Unit::Seconds));
    assert_eq!(
        description.as_ref().map(AsRef::as_ref),
        Some(catalog::CALL_DURATION.description)
    );

    // Once each: the next time there is only what is new. Reading has emptied the debugging recorder.
    server.call("tools/call", None, CallOutcome::Ok, 3 * MOMENT);
    metrics.publish();
    assert_eq!(reported(&snapshotter, "mcp_call_duration_seconds"), [0.06]);
    // A counter receives its total.
    metrics.publish();
    assert_eq!(reported(&snapshotter, "mcp_calls_total"), [3.0]);
}

#[test]
fn two_recorders_are_each_told_everything() {
    let metrics = Metrics::new();
    let (first, second) = (DebuggingRecorder::new(), DebuggingRecorder::new());
    let snapshotters = [first.snapshotter(), second.snapshotter()];
    let mut first = Publisher::new(metrics.clone(), first);
    let mut second = Publisher::new(metrics.clone(), second);
    let server = metrics.server("time");
    for call in 0..10 {
        server.call("tools/call", None, CallOutcome::Ok, MOMENT);
        first.publish();
        if call % 3 == 0 {
            second.publish();
        }
    }
    second.publish();
    for snapshotter in snapshotters {
        assert_eq!(
            reported(&snapshotter, "mcp_call_duration_seconds"),
            [0.02; 10]
        );
    }
}

/// Makes everything happen that has a metric.
fn everything(server: &ServerMetrics) {
    let mut gauges = PoolGauges::default();
    gauges.idle = 1;
    gauges.active = 2;
    gauges.connecting = 3;
    gauges.max_connections = 10;
    gauges.in_flight = 4;
    gauges.capacity = 10;
    gauges.waiters = 5;
    gauges.longest_wait = MOMENT;
    gauges.breaker = BreakerState::Open;
    server.observe(gauges);
    server.transport("pipe");
    server.call(
        "tools/call",
        Some("now"),
        CallOutcome::OutcomeUnknown,
        MOMENT,
    );
    server.acquired(true, MOMENT);
    server.acquired(false, MOMENT);
    server.opened(MOMENT);
    server.closed("broken", true, MOMENT);
    server.connection_error("handshake");
    server.retried();
    server.fell_back();
    server.breaker_entered(BreakerState::Open);
    server.breaker_rejected();
    server.probed(true);
    server.alerts([(AlertKind::CrashLoop, Severity::Critical)]);
    server.health(HealthStatus::Critical);
}

#[test]
fn every_metric_that_is_documented_moves() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let metrics = Metrics::builder()
        .tool_labels(5)
        .opentelemetry_names()
        .build();
    let mut publisher = Publisher::new(metrics.clone(), recorder);
    everything(&metrics.server("time"));
    publisher.publish();
    let all = snapshotter.snapshot().into_vec();
    let mut moved = BTreeSet::new();
    for (key, unit, description, value) in all {
        let (key, value) = (
            key.key().clone(),
            match value {
                DebugValue::Counter(total) => total as f64,
                DebugValue::Gauge(value) => value.0,
                DebugValue::Histogram(values) => values.len() as f64,
            },
        );
        let metric = catalog::ALL
            .iter()
            .find(|metric| metric.name == key.name())
            .unwrap();
        assert_eq!(unit, Some(metric.unit), "{key}");
        assert_eq!(description.as_deref(), Some(metric.description), "{key}");
        if value > 0.0 {
            let labels: BTreeSet<_> = key.labels().map(|label| label.key().to_owned()).collect();
            moved.insert((metric.name, labels.contains("server")));
        }
    }
    let of_a_server = |metric: &mcp_metrics::Metric| metric.labels.contains(&"server");
    let documented = catalog::ALL.iter();
    let documented = documented.map(|metric| (metric.name, of_a_server(metric)));
    assert_eq!(moved, documented.collect());
}

#[test]
fn opentelemetry_names_carry_the_attributes_that_its_conventions_ask_for() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let metrics = Metrics::builder()
        .tool_labels(1)
        .opentelemetry_names()
        .build();
    let mut publisher = Publisher::new(metrics.clone(), recorder);
    let server = metrics.server("time");
    server.transport("tcp");
    server.call("tools/call", Some("now"), CallOutcome::ToolError, MOMENT);
    server.call("tools/list", None, CallOutcome::Ok, MOMENT);
    // Two reasons that are no errors are one series.
    server.closed("idle", false, MOMENT);
    server.closed("age", false, MOMENT);
    server.closed("broken", true, MOMENT);
    publisher.publish();
    let found: BTreeSet<(String, String, usize)> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().name().contains('.'))
        .map(|(key, _, _, value)| {
            let DebugValue::Histogram(values) = value else {
                panic!("{key:?}")
            };
            let mut labels: Vec<_> = key
                .key()
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            labels.sort();
            (key.key().name().to_owned(), labels.join(" "), values.len())
        })
        .collect();
    let expected = [
        (
            "mcp.client.operation.duration",
            "error.type=tool_error gen_ai.operation.name=execute_tool gen_ai.tool.name=now mcp.method.name=tools/call network.transport=tcp server=time",
            1,
        ),
        (
            "mcp.client.operation.duration",
            "mcp.method.name=tools/list network.transport=tcp server=time",
            1,
        ),
        (
            "mcp.client.session.duration",
            "network.transport=tcp server=time",
            2,
        ),
        (
            "mcp.client.session.duration",
            "error.type=broken network.transport=tcp server=time",
            1,
        ),
    ];
    let expected =
        expected.map(|(name, labels, count)| (name.to_owned(), labels.to_owned(), count));
    assert_eq!(found, expected.into());
}

#[test]
fn tools_are_told_apart_when_asked_for_and_no_more_than_asked_for() {
    let without = Metrics::new();
    let with = Metrics::builder().tool_labels(3).build();
    for metrics in [&without, &with] {
        for tool in 0..100 {
            let (server, tool) = (metrics.server("time"), format!("tool-{tool}"));
            server.call("tools/call", Some(&tool), CallOutcome::Ok, MOMENT);
        }
    }
    let text = common::parse(&Prometheus::new(without).render());
    assert_eq!(text.all("mcp_calls_total").count(), 1);
    let text = common::parse(&Prometheus::new(with).render());
    let tools: BTreeSet<_> = text
        .all("mcp_calls_total")
        .map(|(labels, _)| labels["tool"].clone())
        .collect();
    assert_eq!(tools.len(), 4);
    assert_eq!(text.sum("mcp_calls_total", &[("tool", "_other")]), 97.0);
    assert_eq!(text.sum("mcp_calls_total", &[]), 100.0);
}

#[test]
fn names_of_servers_and_tools_may_hold_anything() {
    let metrics = Metrics::builder().tool_labels(9).build();
    let hostile = "a\"b\\c\nd{e}=, # TYPE x";
    let server = metrics.server(hostile);
    server.call("tools/call", Some(hostile), CallOutcome::Ok, MOMENT);
    server.observe(PoolGauges::default());
    let text = common::parse(&Prometheus::new(metrics).render());
    assert_eq!(
        text.sum("mcp_calls_total", &[("server", hostile), ("tool", hostile)]),
        1.0
    );
}

#[test]
fn a_scrape_describes_and_types_every_metric_it_holds() {
    let metrics = Metrics::new();
    everything(&metrics.server("time"));
    let text = common::parse(&Prometheus::new(metrics).render());
    for metric in catalog::ALL
        .iter()
        .filter(|metric| !metric.name.contains('.'))
    {
        assert_eq!(
            text.types.get(metric.name).map(String::as_str),
            Some(metric.kind.as_str()),
            "{}",
            metric.name
        );
        assert_eq!(
            text.help.get(metric.name).map(String::as_str),
            Some(metric.description),
            "{}",
            metric.name
        );
    }
}

#[test]
fn a_server_that_is_gone_leaves_the_text_and_begins_at_zero_if_it_comes_back() {
    let metrics = Metrics::new();
    let prometheus = Prometheus::new(metrics.clone());
    for name in ["stays", "goes"] {
        let server = metrics.server(name);
        for _ in 0..3 {
            server.call("tools/call", None, CallOutcome::Ok, MOMENT);
        }
    }
    let of = |name: &str| {
        let text = common::parse(&prometheus.render());
        text.sum("mcp_calls_total", &[("server", name)])
    };
    assert_eq!((of("stays"), of("goes")), (3.0, 3.0));
    metrics.forget("goes");
    assert!(!prometheus.render().contains("goes"));
    assert_eq!(of("stays"), 3.0);
    metrics
        .server("goes")
        .call("tools/call", None, CallOutcome::Ok, MOMENT);
    assert_eq!((of("stays"), of("goes")), (3.0, 1.0));
    // The same without a scrape in between.
    metrics.forget("goes");
    metrics.server("goes").retried();
    assert_eq!(of("goes"), 0.0);
}

#[test]
fn gauges_of_a_server_that_is_gone_are_zero_in_a_recorder_of_the_program() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let metrics = Metrics::new();
    let mut publisher = Publisher::new(metrics.clone(), recorder);
    everything(&metrics.server("goes"));
    publisher.publish();
    metrics.forget("goes");
    publisher.publish();
    let all = snapshotter.snapshot().into_vec();
    for (key, _, _, value) in all {
        if let DebugValue::Gauge(value) = value
            && key.key().labels().any(|label| label.value() == "goes")
        {
            assert_eq!(value.0, 0.0, "{key:?}");
        }
    }
}

#[test]
fn the_text_is_in_the_same_order_each_time() {
    let metrics = Metrics::builder().tool_labels(5).build();
    for name in ["b", "a", "c"] {
        everything(&metrics.server(name));
    }
    let text = Prometheus::new(metrics.clone()).render();
    assert_eq!(Prometheus::new(metrics).render(), text);
    let types = || text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    assert!(types().is_sorted(), "{text}");
    let hits = text
        .lines()
        .filter(|line| line.starts_with("mcp_pool_hits_total"));
    assert_eq!(
        hits.collect::<Vec<_>>(),
        ["a", "b", "c"].map(|name| format!("mcp_pool_hits_total{{server=\"{name}\"}} 1"))
    );
    let buckets = text
        .lines()
        .filter(|line| line.starts_with("mcp_pool_open_seconds"));
    let of_a: Vec<_> = buckets
        .take_while(|line| line.contains("server=\"a\""))
        .collect();
    assert!(
        of_a[0].contains("le=\"0.0001\"") && of_a[1].contains("le=\"0.00025\""),
        "{of_a:?}"
    );
    assert!(
        of_a.last()
            .unwrap()
            .starts_with("mcp_pool_open_seconds_count"),
        "{of_a:?}"
    );
}
