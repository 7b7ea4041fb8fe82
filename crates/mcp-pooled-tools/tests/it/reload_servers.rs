//! Servers that a reload adds, removes, changes or breaks while they are in use.

use crate::common;
use std::fs;

use common::{
    LONG,
    project::{Project, server, unique, who},
    whoami,
};
use mcp_pooled_tools::{ErrorKind, Identity, ManagerStatus};
use mcp_testkit::process as processes;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing_and_says_so_and_so_does_one_that_is_gone() {
    let project = Project::new(json!({ "a": server("a", json!({ "max_connections": 1 })) })).await;
    let tools = project.manager.tools("a").unwrap();
    let before = who(&tools).await;
    let reloads = project.manager.status().reloads;
    project.write("{\"mcpServers\": {");
    let reported = |status: &ManagerStatus, text: &str| {
        let error = status.last_reload_error.as_ref();
        error.is_some_and(|error| error.contains(text))
    };
    project
        .until(|status| reported(status, "line 1, column"))
        .await;
    fs::remove_file(project.path()).unwrap();
    project
        .until(|status| reported(status, "there is no such file"))
        .await;
    assert_eq!(project.manager.status().reloads, reloads);
    assert_eq!(who(&tools).await, before);
    // Mended: as it was, and the sessions too.
    let status = project
        .change(json!({ "a": server("a", json!({ "max_connections": 1 })) }))
        .await;
    assert_eq!(status.last_reload_error, None);
    assert_eq!(who(&tools).await, before);
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_entry_breaks_goes_on_as_it_was_and_the_others_change() {
    let project = Project::new(
        json!({ "a": server("a", json!({ "max_connections": 1 })), "b": server("b", json!({})) }),
    )
    .await;
    let tools = project.manager.tools("a").unwrap();
    let before = who(&tools).await;
    let status = project
        .change(json!({
            "a": { "command": "${SURELY_NOT_SET}" },
            "b": server("b", json!({ "max_connections": 3 })),
            "c": server("c", json!({})),
        }))
        .await;
    let reported = status.last_reload_error.unwrap();
    assert!(
        reported.contains("mcpServers.a.command: variable SURELY_NOT_SET is not set"),
        "{reported}"
    );
    assert_eq!(who(&tools).await, before);
    assert_eq!(project.pool("b").connections.max, 3);
    who(&project.manager.tools("c").unwrap()).await;
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_added_removed_switched_off_and_comes_back_to_its_handles() {
    let (a, b) = (unique("stays"), unique("comes-and-goes"));
    let project = Project::new(json!({ "a": server(&a, json!({})) })).await;
    assert_eq!(
        project.manager.tools("b").unwrap_err().kind(),
        ErrorKind::Config
    );
    // Those who are served are not hurried: this is for the shutdown.
    let hurried = json!({ "shutdown_grace": 0.05 });
    let both = json!({ "a": server(&a, json!({})), "b": server(&b, hurried) });
    project.change(both.clone()).await;
    let tools = project.manager.tools("b").unwrap();
    let held = tools.session().await.unwrap();
    let in_flight = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call("sleep", json!({ "ms": 700 })).await }
    });
    project.until(|_| project.pool("b").in_flight > 0).await;

    project.change(json!({ "a": server(&a, json!({})) })).await;
    assert_eq!(project.manager.servers(), ["a"]);
    assert_eq!(
        project.manager.tools("b").unwrap_err().to_string(),
        "there is no server `b`; known: a"
    );
    let error = tools
        .call("echo", json!({ "message": "x" }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "server `b`: the server was removed from the configuration"
    );
    in_flight.await.unwrap().expect("it was under way");
    held.call("echo", json!({ "message": "mine" }))
        .await
        .expect("as long as it is held");
    drop(held);
    let gone = || processes::by_marker(&b).is_empty();
    assert!(processes::wait_until(LONG, gone).await);

    project.change(both.clone()).await;
    who(&tools).await;
    let mut off = both.clone();
    off["b"]["disabled"] = true.into();
    project.change(off).await;
    let error = tools
        .call("echo", json!({ "message": "x" }))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "server `b`: the server is disabled: switched off: disabled is true"
    );
    assert!(processes::wait_until(LONG, gone).await);
    project.change(both).await;
    who(&tools).await;
    project.manager.shutdown().await;
    assert!(gone() && processes::by_marker(&a).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_header_arrives_for_every_identity() {
    let http = mcp_testkit::HttpServer::start(mcp_testkit::HttpOptions::default()).await;
    let of_team = |team: &str| json!({ "a": { "url": http.url(), "headers": { "X-Team": team } } });
    let project = Project::new(of_team("first")).await;
    let tools = project.manager.tools("a").unwrap();
    let mine = tools.with_identity(Identity::new("me").header("x-who", "me"));
    let asked = json!({ "headers": ["x-team", "x-who"] });
    let answer = mine.call("whoami", asked.clone()).await.unwrap();
    assert_eq!(
        whoami(&answer)["headers"],
        json!({ "x-team": "first", "x-who": "me" })
    );
    project.change(of_team("second")).await;
    let answer = mine.call("whoami", asked.clone()).await.unwrap();
    assert_eq!(
        whoami(&answer)["headers"],
        json!({ "x-team": "second", "x-who": "me" })
    );
    let answer = tools.call("whoami", asked).await.unwrap();
    assert_eq!(
        whoami(&answer)["headers"],
        json!({ "x-team": "second", "x-who": null })
    );
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_of_a_changed_server_are_listed_anew() {
    let one = json!({ "max_connections": 1, "lifecycle": "initialize" });
    let project = Project::new(json!({ "a": server("before", one.clone()) })).await;
    let tools = project.manager.tools("a").unwrap();
    tools.list_all_tools().await.unwrap();
    // With the last session of old the list would go anyway.
    let held = tools.session().await.unwrap();
    project.change(json!({ "a": server("after", one) })).await;
    tools.list_all_tools().await.unwrap();
    let stats = tools.call("stats", json!({})).await.unwrap();
    let requests = &stats.structured_content.unwrap()["requests"];
    assert_eq!(requests["tools/list"], 1, "{requests}");
    drop(held);
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_either_configuration_is_in_an_error_after_a_reload() {
    let talkative = |token: &str| {
        json!({ "a": {
            "command": "sh",
            "args": ["-c", "echo \"bad: $TOKEN first-secret\" >&2; exit 1"],
            "env": { "TOKEN": token },
            "pool": { "retry_attempts": 0 },
        }})
    };
    let project = Project::new(talkative("first-secret")).await;
    let tools = project.manager.tools("a").unwrap();
    tools.call("echo", json!({})).await.unwrap_err();
    project.change(talkative("second-secret")).await;
    let error = tools.call("echo", json!({})).await.unwrap_err();
    let shown = format!("{error} {error:?} {:?}", error.stderr());
    assert!(shown.contains("bad: *** ***"), "{shown}");
    assert!(!shown.contains("-secret"), "{shown}");
    project.manager.shutdown().await;
}

#[tokio::test]
async fn a_server_that_comes_back_as_another_one_does_not_list_what_the_old_one_did() {
    let servers = json!({ "a": server(&unique("back"), json!({})) });
    let project = Project::new(servers.clone()).await;
    let all = project.manager.aggregator();
    assert!(!all.list_all_tools().await.unwrap().is_empty());
    let mut off = servers;
    off["a"]["disabled"] = true.into();
    off["a"]["command"] = "/no/such/program".into();
    project.change(off.clone()).await;
    off["a"]["disabled"] = false.into();
    project.change(off).await;
    let listed = all.list_all_tools().await;
    let listed = listed.map_or(0, |listed| listed.len());
    assert_eq!(listed, 0, "tools of a program that is not there");
    project.manager.shutdown().await;
}
