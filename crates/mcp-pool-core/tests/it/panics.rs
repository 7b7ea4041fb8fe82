//! A panic in user code (connector, observer, handler) affects no other caller.

use crate::common;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{Scripted, Step, assert_all_places_work, call, pool_of, quiet, quiet_with, within};
use mcp_pool_core::{
    Handshake, PoolEvent, ProgressSink, ServerListener, SessionPool,
    rmcp::{
        model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerNotification},
        service::PeerRequestOptions,
    },
};

#[tokio::test]
async fn an_observer_that_panics_costs_no_place() {
    let options = quiet_with(|options| options.max_connections = 1);
    let pool = SessionPool::builder("server", Scripted::always(Step::Open))
        .options(options)
        .observer(|_: &PoolEvent| panic!("as the test wants it"))
        .build()
        .unwrap();
    for _ in 0..3 {
        let session = within(pool.acquire()).await.unwrap().id();
        pool.evict(session);
    }
    assert_all_places_work(&pool).await;
    within(pool.close()).await;
}

struct BadListener;

impl ServerListener for BadListener {
    fn on_notification(&self, _: &ServerNotification) {
        panic!("as the test wants it");
    }
}

/// One caller asks for progress while another waits for its own answer on the same session.
async fn call_with_progress(pool: &SessionPool, sink: ProgressSink) {
    let (lease, neighbour) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    assert_eq!(lease.id(), neighbour.id());
    let neighbour = tokio::spawn(async move {
        let arguments = serde_json::json!({"ms": 500});
        call(&neighbour, "sleep", arguments).await.map(drop)
    });
    let arguments = serde_json::json!({"steps": 5, "ms": 20});
    let request = CallToolRequestParams::new("progress")
        .with_arguments(arguments.as_object().unwrap().clone());
    let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(request));
    let _route = lease.on_progress(&mut request, sink);
    let handle = lease
        .send_cancellable_request(request, PeerRequestOptions::no_options())
        .await
        .unwrap();
    within(handle.await_response()).await.unwrap();
    within(neighbour).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_progress_sink_that_panics_is_told_no_more_and_its_neighbours_go_on() {
    let pool = pool_of(Scripted::always(Step::Open), quiet());
    let reported = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reported);
    let sink: ProgressSink = Arc::new(move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == 1 {
            panic!("as the test wants it");
        }
    });
    call_with_progress(&pool, sink).await;
    assert_eq!(reported.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_listener_that_panics_disturbs_no_call() {
    let handshake = Handshake::default().listener(Arc::new(BadListener));
    let pool = SessionPool::builder("server", Scripted::always(Step::Open))
        .options(quiet())
        .handshake(handshake)
        .build()
        .unwrap();
    call_with_progress(&pool, Arc::new(|_| {})).await;
}
