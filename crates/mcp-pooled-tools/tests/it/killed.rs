//! Processes killed during calls: read-only calls are answered all the same.

use crate::common;
use crate::common::wired;
use std::{future::Future, pin::Pin};

use common::{LONG, manager, process, whoami};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools,
    config::{CircuitBreakerSettings, Lifecycle, Rate, Replay},
};
use mcp_testkit::process as processes;
use rmcp::model::{
    ArgumentInfo, CallToolRequestParams, CompleteRequestParams, GetPromptRequestParams,
    ReadResourceRequestParams, Reference,
};
use serde_json::json;
use tokio::sync::mpsc;
use wired::status;

/// One session, and a breaker that stays out of it.
fn settings(era: Lifecycle) -> PoolSettings {
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(1_000_000)
        .failure_rate(Rate::OFF);
    PoolSettings::new()
        .lifecycle(era)
        .max_connections(1)
        .circuit_breaker(breaker)
}

async fn pid(tools: &PooledTools) -> u32 {
    let seen = whoami(&tools.call("whoami", json!({})).await.unwrap());
    u32::try_from(seen["pid"].as_u64().unwrap()).unwrap()
}

fn kill(pid: u32) {
    processes::signal(pid, processes::Signal::KILL).unwrap();
}

fn retries(manager: &ConnectionManager) -> u64 {
    status(manager)["retries"].as_u64().unwrap()
}

type Reading = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Everything that can be asked without changing anything.
fn readings(tools: &PooledTools) -> Vec<(&'static str, Reading)> {
    macro_rules! reading {
        ($($name:literal: |$tools:ident| $request:expr,)+) => {
            vec![$(($name, {
                let $tools = tools.clone();
                Box::pin(async move { $request.await.map(drop) }) as Reading
            }),)+]
        };
    }
    reading! {
        "list_tools": |tools| tools.list_tools(None),
        "list_all_tools": |tools| tools.list_all_tools(),
        "list_prompts": |tools| tools.list_prompts(None),
        "list_all_prompts": |tools| tools.list_all_prompts(),
        "get_prompt": |tools| tools.get_prompt(GetPromptRequestParams::new("review")),
        "list_resources": |tools| tools.list_resources(None),
        "list_all_resources": |tools| tools.list_all_resources(),
        "list_resource_templates": |tools| tools.list_resource_templates(None),
        "list_all_resource_templates": |tools| tools.list_all_resource_templates(),
        "read_resource": |tools| tools.read_resource(ReadResourceRequestParams::new("testkit://item/1")),
        "complete": |tools| tools.complete(CompleteRequestParams::new(
            Reference::for_prompt("review"),
            ArgumentInfo::new("language", "Ru"),
        )),
    }
}

/// A server that does one thing at a time is busy with a call when it is asked, and killed then.
async fn killed_while_it_is_asked(
    manager: &ConnectionManager,
    tools: &PooledTools,
    reading: Reading,
) -> Result<(), Error> {
    let pid = pid(tools).await;
    let (step, mut steps) = mpsc::unbounded_channel();
    let busy = tokio::spawn({
        let tools = tools.clone();
        async move {
            let steps = json!({ "steps": 60_000, "ms": 1 });
            let params = CallToolRequestParams::new("progress")
                .with_arguments(steps.as_object().cloned().unwrap());
            let options = CallOptions::new()
                .replay(Replay::Never)
                .on_progress(move |_| {
                    let _ = step.send(());
                });
            tools.call_tool_with(params, options).await
        }
    });
    let mut reported = async |times| {
        for _ in 0..times {
            let step = tokio::time::timeout(LONG, steps.recv()).await;
            step.unwrap().expect("it goes on");
        }
        steps.len()
    };
    reported(1).await;
    let asking = tokio::spawn(reading);
    let both = || manager.pool_status("test").unwrap().in_flight == 2;
    assert!(processes::wait_until(LONG, both).await);
    // Not answered, for the server is busy, and sent when the loop of the session, which sends and receives progress by
    // turns, has gone round some more times.
    let already = reported(0).await;
    reported(already + 20).await;
    kill(pid);
    let lost = busy.await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::OutcomeUnknown, "{lost}");
    tokio::time::timeout(LONG, asking).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_or_a_read_that_loses_its_process_is_answered_by_the_next() {
    for era in [Lifecycle::Initialize, Lifecycle::Discover] {
        let manager = manager(process(&["--single-threaded"]), settings(era)).await;
        let tools = manager.tools("test").unwrap();
        let readings = readings(&tools);
        for (at, (name, reading)) in readings.into_iter().enumerate() {
            killed_while_it_is_asked(&manager, &tools, reading)
                .await
                .unwrap_or_else(|error| panic!("{era}: {name}: {error}"));
            assert_eq!(retries(&manager), at as u64 + 1, "{era}: {name}: once");
        }
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_not_asked_for_again_where_nothing_is_to_be() {
    let settings = settings(Lifecycle::Initialize).replay(Replay::Never);
    let manager = manager(process(&["--single-threaded"]), settings).await;
    let tools = manager.tools("test").unwrap();
    let reading = {
        let tools = tools.clone();
        Box::pin(async move { tools.list_tools(None).await.map(drop) })
    };
    let error = killed_while_it_is_asked(&manager, &tools, reading)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was not answered"), "{error}");
    // It has no effects: whether it ran is of no interest, and asking again does no harm.
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.is_retryable());
    assert_eq!(retries(&manager), 0);
    manager.shutdown().await;
}

/// Killed before the pool can know: the next call may meet the dead session, and is answered by another all the same.
async fn rounds(era: Lifecycle, list_first: bool) {
    let manager = manager(process(&["--list-ttl", "3600000"]), settings(era)).await;
    let tools = manager.tools("test").unwrap();
    for round in 0..20 {
        let pid = pid(&tools).await;
        if list_first {
            tools.list_all_tools().await.unwrap();
        }
        kill(pid);
        // Gone in some rounds, going in others.
        if round % 2 == 0 {
            assert!(processes::wait_gone([pid], LONG).await);
        }
        if let Err(error) = tools.call("whoami", json!({})).await {
            panic!("{era}, round {round}: {error}");
        }
    }
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_right_after_a_kill_is_answered() {
    for era in [Lifecycle::Initialize, Lifecycle::Discover] {
        for list_first in [false, true] {
            rounds(era, list_first).await;
        }
    }
}
