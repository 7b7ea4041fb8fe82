//! Updates of resources, and subscriptions of several clients to one.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, Sharing, config::Lifecycle,
    core::connect::in_process::InProcess,
};
use mcp_testkit::resource_server::{ResourceServer, Session};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    LONG, Served,
    raw::{Events, Legacy, modern},
};

/// The resource, which its server does not list.
const URI: &str = "mcp+test:file%3A%2F%2F%2Fa";

/// Those of the modern client: servers see no difference between clients that can do the same.
fn capabilities() -> Value {
    json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} })
}

async fn assert_told(events: &mut Events) {
    let update = timeout(LONG, events.next()).await.unwrap().unwrap();
    assert_eq!(update["method"], "notifications/resources/updated");
    assert_eq!(update["params"]["uri"], URI);
}

async fn about(client: &Legacy, id: u64, method: &str) {
    let reply = client.send(id, method, json!({ "uri": URI })).await;
    let reply: Value = reply.json().await.unwrap();
    assert!(reply["result"].is_object(), "{reply}");
}

/// Two legacy clients and a modern one subscribe to a resource of a server of this era.
async fn three_subscribers(era: Lifecycle) {
    let server = ResourceServer::default();
    let served = {
        let server = server.clone();
        let settings = PoolSettings::new()
            .min_connections(0)
            .lifecycle(era)
            .sharing(Sharing::Multiplexed);
        let connector = InProcess::new(move || Session(server.clone()));
        let manager = ConnectionManager::builder().connector("test", connector, settings);
        Served::start(Gateway::builder(manager.build().await.unwrap())).await
    };
    let url = served.url();
    let [ann, ben] = [
        Legacy::open(&url, capabilities()).await,
        Legacy::open(&url, capabilities()).await,
    ];
    let (mut of_ann, mut of_ben) = (ann.listen().await, ben.listen().await);
    about(&ann, 1, "resources/subscribe").await;
    about(&ben, 1, "resources/subscribe").await;
    let wanted = json!({ "notifications": { "resourceSubscriptions": [URI] } });
    let listening = modern(&Client::new(), &url, 1, "subscriptions/listen", wanted).await;
    let mut of_cat = Events::of(listening);
    let acknowledged = of_cat.next().await.unwrap();
    let accepted = &acknowledged["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(*accepted, json!([URI]), "{acknowledged}");
    server.wait_open(1).await;
    server.update().await;
    for events in [&mut of_ann, &mut of_ben, &mut of_cat] {
        assert_told(events).await;
    }

    about(&ann, 2, "resources/unsubscribe").await;
    let ends = ben.http.delete(&url).header("mcp-session-id", &ben.session);
    assert_eq!(ends.send().await.unwrap().status(), 204);
    assert!(timeout(LONG, of_ben.next()).await.unwrap().is_none());
    server.update().await;
    assert_told(&mut of_cat).await;
    server.wait_open(1).await;
    // The last one goes without a word.
    drop(of_cat);
    server.wait_open(0).await;
    assert_eq!(server.made(), 1, "one subscription for all three");
    served.stop().await;
    let heard = of_ann.next().await;
    assert!(
        heard.is_none(),
        "one that has left receives no more: {heard:?}"
    );
}

#[tokio::test]
async fn the_last_of_three_clients_to_leave_ends_the_subscription_at_a_legacy_server() {
    three_subscribers(Lifecycle::Initialize).await;
}

#[tokio::test]
async fn the_last_of_three_clients_to_leave_ends_the_subscription_at_a_modern_server() {
    three_subscribers(Lifecycle::Discover).await;
}
