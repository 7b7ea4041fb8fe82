//! Calls that take longer than `call_timeout`, because their server works or a person thinks.

use std::time::Duration;

use mcp_gateway::Gateway;
use mcp_testkit::{Era, TestServer};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::ProtocolVersion,
    service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    common::{Person, call, manager, text},
    lines::pipe,
};

const MINUTE: Duration = Duration::from_secs(60);
const CELLS: [(Era, Era); 4] = [
    (Era::Legacy, Era::Legacy),
    (Era::Legacy, Era::Modern),
    (Era::Modern, Era::Legacy),
    (Era::Modern, Era::Modern),
];

/// A client of this era of a gateway to a server of that era, and its server.
async fn connected(
    (client, server): (Era, Era),
    thinks: Duration,
) -> (RunningService<RoleClient, Person>, Gateway) {
    let server = TestServer::new().with_era(server);
    let gateway = Gateway::builder(manager(&server).await).build().unwrap();
    let person = Person {
        thinks,
        ..Person::named("ann")
    };
    let client = match client {
        Era::Modern => {
            let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
            let lifecycle = ClientLifecycleMode::Discover { preferred_versions };
            let client = serve_client_with_lifecycle(person, pipe(&gateway), lifecycle);
            client.await.unwrap()
        }
        _ => person.serve(pipe(&gateway)).await.unwrap(),
    };
    (client, gateway)
}

async fn ask(client: &RunningService<RoleClient, Person>) -> String {
    let what = json!({"what": ["elicitation"]});
    text(&client.call_tool(call("test__ask", what)).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_question_may_be_open_for_longer_than_call_timeout() {
    for cell in CELLS {
        let (client, _gateway) = connected(cell, 5 * MINUTE).await;
        let began = Instant::now();
        assert_eq!(ask(&client).await, r#"{"elicitation":"ann"}"#, "{cell:?}");
        assert!(began.elapsed() >= 5 * MINUTE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_is_given_up_after_the_park_limit_and_is_no_fault() {
    for server in [Era::Legacy, Era::Modern] {
        let (client, gateway) = connected((Era::Legacy, server), 60 * MINUTE).await;
        for _ in 0..6 {
            let began = Instant::now();
            let what = json!({"what": ["elicitation"]});
            let given_up = client.call_tool(call("test__ask", what)).await;
            let is_answered = given_up
                .as_ref()
                .is_ok_and(|result| text(result).contains("ann"));
            assert!(!is_answered, "{given_up:?}");
            let took = began.elapsed();
            assert!(took >= 10 * MINUTE && took < 11 * MINUTE, "{took:?}");
        }
        let echoed = client.call_tool(call("test__echo", json!({"message": "a"})));
        assert_eq!(text(&echoed.await.unwrap()), "a");
        assert_eq!(*client.service().withdrawn.lock(), 6, "the client knows");
        drop(gateway);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_reports_progress_may_take_longer_than_call_timeout() {
    for cell in CELLS {
        let (client, _gateway) = connected(cell, Duration::ZERO).await;
        let steps = json!({"steps": 10, "ms": 60_000});
        let done = client.call_tool(call("test__progress", steps)).await;
        assert_eq!(text(&done.unwrap()), "10 steps", "{cell:?}");
    }
    let (client, _gateway) = connected(CELLS[0], Duration::ZERO).await;
    let began = Instant::now();
    let silent = client.call_tool(call("test__sleep", json!({"ms": 600_000})));
    assert!(silent.await.is_err());
    assert_eq!(began.elapsed().as_secs(), 120, "silence is not progress");
}
