//! Fixtures of the hazard tests: a scripted connector, and a record of events.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod handler;
pub(crate) mod raw;
#[cfg(target_os = "linux")]
pub(crate) mod servers;

use std::{future::Future, sync::Arc, time::Duration};

use mcp_pool_core::{
    Connected, Connector, Handshake, Lease, OpenError, OpenErrorKind, Phase, PoolEvent,
    PoolObserver, PoolOptions, RawRequest, Session, SessionPool, SessionPoolStatus,
    TransportReport,
    connect::{BoxFuture, lines::LineTransport},
    rmcp::{
        ServiceError,
        model::{CallToolRequestParams, CallToolResult},
    },
};
use mcp_testkit::TestServer;
use parking_lot::Mutex;
use serde_json::{Value, value::to_raw_value};
use tokio::{
    io::DuplexStream,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

/// Longer than anything here takes, on a machine under load too.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What one try at connecting does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Opens at once.
    Open,
    /// Opens after this time.
    OpenAfter(Duration),
    /// Opens when [`Scripted::let_through`] says so.
    Gated,
    /// Fails when [`Scripted::let_through`] says so.
    GatedFail(OpenErrorKind),
    /// Fails at once.
    Fail(OpenErrorKind),
    /// Neither opens nor fails.
    Never,
    /// Panics.
    Panic,
}

/// Connects to a test server in this process, as a script says. Clones are the same connector.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Inner>);

struct Inner {
    server: TestServer,
    script: Box<dyn Fn(usize) -> Step + Send + Sync>,
    gate: Semaphore,
    begun: watch::Sender<usize>,
    at_once: Mutex<(usize, usize)>,
}

impl Scripted {
    /// `script` is asked with the number of the try, from 1.
    pub(crate) fn new(
        server: &TestServer,
        script: impl Fn(usize) -> Step + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            server: server.clone(),
            script: Box::new(script),
            gate: Semaphore::new(0),
            begun: watch::Sender::new(0),
            at_once: Mutex::default(),
        }))
    }

    pub(crate) fn always(step: Step) -> Self {
        Self::new(&TestServer::new(), move |_| step)
    }

    /// Lets so many gated tries go on, present or future ones.
    pub(crate) fn let_through(&self, tries: usize) {
        self.0.gate.add_permits(tries);
    }

    /// Tries begun so far.
    pub(crate) fn begun(&self) -> usize {
        *self.0.begun.borrow()
    }

    /// Waits until so many tries have begun.
    pub(crate) async fn wait_begun(&self, tries: usize) {
        let mut begun = self.0.begun.subscribe();
        let reached = begun.wait_for(|begun| *begun >= tries);
        let reached = timeout(SOON, reached).await;
        reached.expect("too few tries").expect("never closed");
    }

    /// The most tries that were under way at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.0.at_once.lock().1
    }

    async fn step(&self, number: usize) -> Result<(), OpenError> {
        let fail = |kind| {
            Err(OpenError::new(
                kind,
                Phase::Open,
                format!("scripted {kind:?}"),
            ))
        };
        let passed = || async {
            let permit = self.0.gate.acquire().await.expect("never closed");
            permit.forget();
        };
        match (self.0.script)(number) {
            Step::Open => {}
            Step::OpenAfter(time) => sleep(time).await,
            Step::Gated => passed().await,
            Step::GatedFail(kind) => {
                passed().await;
                return fail(kind);
            }
            Step::Fail(kind) => return fail(kind),
            Step::Never => std::future::pending().await,
            Step::Panic => panic!("as the script says"),
        }
        Ok(())
    }
}

impl Connector for Scripted {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let _under_way = UnderWay::begin(&self.0.at_once);
            // Read as it is counted: another try may begin on another thread.
            let mut number = 0;
            self.0.begun.send_modify(|begun| {
                *begun += 1;
                number = *begun;
            });
            self.step(number).await?;
            over_pipe(self.0.server.connect(), handshake).await
        })
    }
}

/// Shakes hands over one end of a pipe.
pub(crate) async fn over_pipe(
    pipe: DuplexStream,
    handshake: &Handshake,
) -> Result<Connected, OpenError> {
    let report = Arc::new(TransportReport::default());
    let (reader, writer) = tokio::io::split(pipe);
    let transport = LineTransport::new(reader, writer, 16 << 20, Arc::clone(&report));
    handshake.perform(transport, report).await
}

struct UnderWay<'a>(&'a Mutex<(usize, usize)>);

impl<'a> UnderWay<'a> {
    fn begin(counts: &'a Mutex<(usize, usize)>) -> Self {
        let mut now = counts.lock();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        Self(counts)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().0 -= 1;
    }
}

/// All events of a pool. Clones are the same record.
#[derive(Clone)]
pub(crate) struct Events(Arc<watch::Sender<Vec<PoolEvent>>>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    pub(crate) fn all(&self) -> Vec<PoolEvent> {
        self.0.borrow().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&PoolEvent) -> bool) -> usize {
        self.0.borrow().iter().filter(|event| wanted(event)).count()
    }

    /// Waits until so many such events have happened, counting those of the past.
    pub(crate) async fn wait_for(&self, times: usize, wanted: impl Fn(&PoolEvent) -> bool) {
        let mut events = self.0.subscribe();
        let enough =
            |events: &Vec<PoolEvent>| events.iter().filter(|event| wanted(event)).count() >= times;
        let found = timeout(SOON, events.wait_for(enough)).await;
        if found.is_err() {
            panic!("the event has not come; what came: {:#?}", self.all());
        }
    }
}

impl PoolObserver for Events {
    fn on_event(&self, event: &PoolEvent) {
        self.0.send_modify(|events| events.push(event.clone()));
    }
}

pub(crate) fn opened(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::Opened { .. })
}

pub(crate) fn closed(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::Closed { .. })
}

pub(crate) fn attempt_failed(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::OpenAttemptFailed { .. })
}

/// Settings under which only what a test does opens or closes sessions.
pub(crate) fn quiet() -> PoolOptions {
    options(|options| {
        options.min_connections = 0;
        options.retry_attempts = 0;
    })
}

pub(crate) fn options(change: impl FnOnce(&mut PoolOptions)) -> PoolOptions {
    let mut options = PoolOptions::default();
    change(&mut options);
    options
}

pub(crate) fn quiet_with(change: impl FnOnce(&mut PoolOptions)) -> PoolOptions {
    let mut options = quiet();
    change(&mut options);
    options
}

/// A pool of in-process sessions to `server`.
pub(crate) fn pool_on(server: &TestServer, options: PoolOptions) -> SessionPool {
    pool_of(Scripted::new(server, |_| Step::Open), options)
}

pub(crate) fn pool_of(connector: impl Connector, options: PoolOptions) -> SessionPool {
    SessionPool::builder("server", connector)
        .options(options)
        .build()
        .unwrap()
}

pub(crate) fn observed(connector: impl Connector, options: PoolOptions) -> (SessionPool, Events) {
    let events = Events::new();
    let pool = SessionPool::builder("server", connector)
        .options(options)
        .observer(events.clone())
        .build()
        .unwrap();
    (pool, events)
}

pub(crate) async fn call(
    session: &Session,
    tool: &'static str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let arguments = arguments.as_object().expect("an object").clone();
    let params = CallToolRequestParams::new(tool).with_arguments(arguments);
    let params = to_raw_value(&params).expect("parameters are JSON");
    let request = RawRequest::new("tools/call").params(&params);
    let result = session.request(request).await?;
    session.parse(result).await
}

pub(crate) async fn echo(session: &Session) -> String {
    let answer = call(session, "echo", serde_json::json!({"message": "hello"}));
    text(&within(answer).await.expect("echo answers"))
}

pub(crate) fn text(result: &CallToolResult) -> String {
    result.content[0].as_text().expect("a text").text.clone()
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("took too long")
}

/// Under virtual time: runs everything until all that is left to do is to wait.
pub(crate) async fn at_rest() {
    sleep(Duration::from_millis(1)).await;
}

/// Takes a lease in a task of its own; the task is done when it has one.
pub(crate) fn acquire_apart(
    pool: &SessionPool,
) -> tokio::task::JoinHandle<Result<Lease, mcp_pool_core::AcquireError>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.acquire().await })
}

/// No session is held, no caller waits, and the sums add up.
pub(crate) fn assert_balanced(pool: &SessionPool) -> SessionPoolStatus {
    let status = pool.status();
    assert_eq!((status.in_flight, status.waiters), (0, 0), "{status:#?}");
    let connections = status.connections;
    assert_eq!(
        (connections.active, connections.total),
        (
            0,
            connections.idle + connections.connecting + connections.closing
        ),
        "{status:#?}"
    );
    let closed: u64 = status.closed.values().sum();
    let living = u64::from(connections.idle + connections.closing);
    assert_eq!(status.opened, closed + living, "{status:#?}");
    status
}

/// All places of the pool can be taken and used at the same time.
pub(crate) async fn assert_all_places_work(pool: &SessionPool) {
    let mut leases = Vec::new();
    for _ in 0..pool.status().capacity {
        leases.push(within(pool.acquire()).await.expect("a free place"));
    }
    for lease in &leases {
        assert_eq!(echo(lease).await, "hello");
    }
}
