//! What the well-behaved tools do.

use std::time::Duration;

use mcp_testkit::Stats;
use rmcp::{
    ClientHandler, RoleClient, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, ClientRequest, ErrorCode, ProgressNotificationParam,
    },
    service::{ClientServiceExt, NotificationContext, PeerRequestOptions},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{self, SOON, auto, discover, initialize, open, open_as, protocol_error, text};

#[tokio::test]
async fn count_counts_per_key_and_counted_only_looks() {
    let pair = open("").await;
    assert_eq!(pair.ask("count", json!({})).await, "1");
    assert_eq!(pair.ask("count", json!({})).await, "2");
    assert_eq!(pair.ask("count", json!({"key": "other"})).await, "1");
    assert_eq!(pair.ask("counted", json!({})).await, "2");
    assert_eq!(pair.ask("counted", json!({})).await, "2");
}

#[tokio::test]
async fn the_count_file_holds_a_line_per_execution_and_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts");
    let pair = open(&format!("--count-file {}", file.display())).await;
    pair.ask("count", json!({"key": "a"})).await;
    pair.ask("count", json!({"key": "a"})).await;
    mcp_testkit::process::signal(pair.pid, mcp_testkit::process::Signal::KILL).unwrap();
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines, format!("{0} a 1\n{0} a 2\n", pair.pid));
}

#[tokio::test]
async fn errors_come_as_they_were_asked_for() {
    let pair = open("").await;
    let failed = pair
        .call(
            "fail",
            json!({"code": -32050, "message": "on purpose", "data": [1]}),
        )
        .await;
    let error = protocol_error(failed);
    assert_eq!((error.code.0, &*error.message), (-32050, "on purpose"));
    assert_eq!(error.data, Some(json!([1])));

    let failed = pair
        .call("tool_error", json!({"message": "so it is"}))
        .await
        .unwrap();
    assert_eq!(failed.is_error, Some(true));
    assert_eq!(text(&failed), "so it is");
}

#[tokio::test]
async fn unknown_tools_and_bad_arguments_are_invalid_params() {
    let pair = open("").await;
    for (tool, arguments) in [
        ("nothing", json!({})),
        ("echo", json!({})),
        ("sleep", json!({"ms": "x"})),
    ] {
        let error = protocol_error(pair.call(tool, arguments).await);
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS, "{tool}: {error:?}");
    }
}

#[tokio::test]
async fn add_answers_with_structured_content_that_matches_its_schema() {
    let pair = open("").await;
    let sum = pair.call("add", json!({"a": 1, "b": 2.5})).await.unwrap();
    assert_eq!(sum.structured_content, Some(json!({"sum": 3.5})));
    let tools = pair.client.list_all_tools().await.unwrap();
    let add = tools.iter().find(|tool| tool.name == "add").unwrap();
    assert_eq!(
        add.output_schema.as_ref().unwrap()["required"],
        json!(["sum"])
    );
}

#[tokio::test]
async fn whoami_tells_pid_parent_session_arguments_and_environment() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("--marker findme", lifecycle).await.unwrap();
        let answer = pair
            .call("whoami", json!({"env": ["PATH", "NO_SUCH_VARIABLE"]}))
            .await
            .unwrap();
        let me = answer.structured_content.unwrap();
        assert_eq!(me["pid"], pair.pid);
        assert_eq!(me["ppid"], std::process::id());
        assert_eq!(me["session"], 1);
        assert_eq!(me["argv"][2], "findme");
        assert_eq!(me["env"]["PATH"], std::env::var("PATH").unwrap());
        assert_eq!(me["env"]["NO_SUCH_VARIABLE"], Value::Null);
    }
}

#[tokio::test]
async fn big_answers_are_as_big_as_asked() {
    let pair = open("").await;
    assert_eq!(
        pair.ask("big", json!({"bytes": 3_000_000})).await.len(),
        3_000_000
    );
}

#[tokio::test]
async fn spin_takes_its_time_without_holding_up_other_calls() {
    let pair = open("").await;
    let (spun, echoed) = tokio::join!(
        pair.ask("spin", json!({"ms": 100})),
        pair.ask("echo", json!({"message": "meanwhile"})),
    );
    assert_eq!((&*spun, &*echoed), ("spun for 100 ms", "meanwhile"));
}

#[tokio::test]
async fn a_cancelled_sleep_ends_at_once_and_is_recorded() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("", lifecycle).await.unwrap();
        let arguments = json!({"ms": 3_600_000}).as_object().unwrap().clone();
        let request =
            CallToolRequest::new(CallToolRequestParams::new("sleep").with_arguments(arguments));
        let handle = pair
            .client
            .send_cancellable_request(
                ClientRequest::CallToolRequest(request),
                PeerRequestOptions::no_options(),
            )
            .await
            .unwrap();
        handle.cancel(Some("enough".into())).await.unwrap();

        let stats = stats_when(&pair, |stats| {
            stats.cancelled == 1 && !stats.interruptions.is_empty()
        })
        .await;
        assert_eq!(stats.interruptions[0].tool, "sleep");
        assert!(stats.interruptions[0].after < SOON);
    }
}

#[tokio::test]
async fn a_sleep_whose_client_leaves_does_not_hold_up_the_end() {
    let pair = open("").await;
    let client = pair.client.peer().clone();
    let sleeping = tokio::task::JoinSet::from_iter([async move {
        let arguments = json!({"ms": 3_600_000}).as_object().unwrap().clone();
        client
            .call_tool(CallToolRequestParams::new("sleep").with_arguments(arguments))
            .await
    }]);
    stats_when(&pair, |stats| stats.calls.contains_key("sleep")).await;
    pair.client.cancel().await.unwrap();
    assert!(mcp_testkit::process::wait_gone([pair.pid], Duration::from_secs(2)).await);
    drop(sleeping);
}

#[tokio::test]
async fn progress_is_reported_against_the_token_of_the_caller() {
    for lifecycle in [initialize(), auto()] {
        let (reports, mut reported) = mpsc::unbounded_channel();
        let (child, _) = support::spawn("");
        let client = Listener { reports }
            .serve_with_lifecycle(child, lifecycle)
            .await
            .unwrap();
        let arguments = json!({"steps": 3, "ms": 1}).as_object().unwrap().clone();
        let answer = client
            .call_tool(CallToolRequestParams::new("progress").with_arguments(arguments))
            .await
            .unwrap();
        assert_eq!(text(&answer), "3 steps");
        for step in 1..=3 {
            let report = tokio::time::timeout(SOON, reported.recv())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                (report.progress, report.total),
                (f64::from(step), Some(3.0))
            );
        }
    }
}

struct Listener {
    reports: mpsc::UnboundedSender<ProgressNotificationParam>,
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        report: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.reports.send(report).unwrap();
    }
}

/// Asks for the counters until they show what is awaited.
async fn stats_when(pair: &support::Pair, shows: impl Fn(&Stats) -> bool) -> Stats {
    let asking = async {
        loop {
            let answer = pair.call("stats", json!({})).await.unwrap();
            let stats: Stats = serde_json::from_value(answer.structured_content.unwrap()).unwrap();
            if shows(&stats) {
                return stats;
            }
        }
    };
    tokio::time::timeout(SOON, asking)
        .await
        .expect("the counters never showed it")
}

#[tokio::test]
async fn stats_count_requests_that_rmcp_answers_by_itself() {
    let pair = open_as("", discover()).await.unwrap();
    pair.ask("echo", json!({"message": "first"})).await;
    let ping = ClientRequest::PingRequest(rmcp::model::PingRequest::default());
    let refused = pair.client.send_request(ping).await;
    assert!(
        matches!(refused, Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND)
    );
    let stats = stats_when(&pair, |_| true).await;
    assert_eq!(stats.requests["ping"], 1);
    assert_eq!(stats.discoveries, 1);
}
