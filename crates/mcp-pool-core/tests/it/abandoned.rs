//! A cancelled call that still runs on its server keeps its place on the session.

use crate::common;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{assert_balanced, at_rest, call, observed, over_pipe, pool_of, quiet_with, text};
use mcp_pool_core::{
    CloseReason, Connected, Connector, Handshake, OpenError, PinnedLease, PoolEvent, PoolOptions,
    SharingMode, connect::BoxFuture,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

/// What a server does with a cancelled call.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers after this time, as if it was not cancelled.
    Late(Duration),
    /// Ends it and answers with an error.
    Polite,
    /// Goes on with it, and never answers it.
    Mute,
}

/// Speaks JSON-RPC by hand: rmcp's server never answers a call that was cancelled. Counts the calls that run at once.
#[derive(Clone)]
struct ByHand {
    manner: Manner,
    /// Answers a ping after this time.
    ping: Duration,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    running: AtomicU32,
    overlaps: AtomicU32,
    cancelled: AtomicU32,
    pings: AtomicU32,
    most_pings_at_once: AtomicU32,
}

impl ByHand {
    fn new(manner: Manner) -> Self {
        Self {
            manner,
            ping: Duration::ZERO,
            counts: Arc::default(),
        }
    }

    fn slow_to_ping(manner: Manner, ping: Duration) -> Self {
        Self {
            ping,
            ..Self::new(manner)
        }
    }

    fn begin(&self) {
        if self.counts.running.fetch_add(1, SeqCst) > 0 {
            self.counts.overlaps.fetch_add(1, SeqCst);
        }
    }

    fn end(&self) {
        self.counts.running.fetch_sub(1, SeqCst);
    }

    fn overlaps(&self) -> u32 {
        self.counts.overlaps.load(SeqCst)
    }

    async fn serve(self, stream: tokio::io::DuplexStream) {
        let (reader, mut writer) = tokio::io::split(stream);
        let (answers, mut to_write) = mpsc::unbounded_channel::<Value>();
        tokio::spawn(async move {
            while let Some(answer) = to_write.recv().await {
                let line = format!("{answer}\n");
                if writer.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut lines = BufReader::new(reader).lines();
        let mut running = HashMap::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            let id = message["id"].clone();
            let answer = |result: Value| {
                let _ = answers.send(json!({ "jsonrpc": "2.0", "id": id, "result": result }));
            };
            let done = json!({ "content": [{ "type": "text", "text": "done" }] });
            match message["method"].as_str().unwrap_or_default() {
                "initialize" => answer(json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "by hand", "version": "1" },
                })),
                "ping" if self.ping.is_zero() => answer(json!({})),
                "ping" => {
                    let (server, answers) = (self.clone(), answers.clone());
                    let at_once = server.counts.pings.fetch_add(1, SeqCst) + 1;
                    let most = &server.counts.most_pings_at_once;
                    most.fetch_max(at_once, SeqCst);
                    tokio::spawn(async move {
                        sleep(server.ping).await;
                        server.counts.pings.fetch_sub(1, SeqCst);
                        let _ = answers.send(json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
                    });
                }
                "tools/call" if message["params"]["name"] == "slow" => {
                    self.begin();
                    running.insert(id.to_string(), ());
                    if let Manner::Late(after) = self.manner {
                        let (server, answers) = (self.clone(), answers.clone());
                        tokio::spawn(async move {
                            sleep(after).await;
                            server.end();
                            let _ =
                                answers.send(json!({ "jsonrpc": "2.0", "id": id, "result": done }));
                        });
                    }
                }
                "tools/call" => {
                    self.begin();
                    self.end();
                    answer(done);
                }
                "notifications/cancelled" => {
                    self.counts.cancelled.fetch_add(1, SeqCst);
                    let id = &message["params"]["requestId"];
                    if matches!(self.manner, Manner::Polite)
                        && running.remove(&id.to_string()).is_some()
                    {
                        self.end();
                        let error = json!({ "code": 0, "message": "cancelled" });
                        let _ = answers.send(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                    }
                }
                _ if id.is_null() => {}
                method => {
                    let error = json!({ "code": -32601, "message": method });
                    let _ = answers.send(json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                }
            }
        }
        if matches!(self.manner, Manner::Mute) {
            running.iter().for_each(|_| self.end());
        }
    }
}

impl Connector for ByHand {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(self.clone().serve(theirs));
            over_pipe(ours, handshake).await
        })
    }
}

fn one_session(sharing: SharingMode) -> PoolOptions {
    quiet_with(|options| {
        options.max_connections = 1;
        options.max_in_flight = 1;
        options.scale_up_at = 1;
        options.sharing = sharing;
        options.cancel_grace = 5 * SECOND;
        options.connection_timeout = 60 * SECOND;
    })
}

/// Gives a call up after a second.
async fn give_up(session: &mcp_pool_core::Session) {
    let slow = call(session, "slow", json!({}));
    assert!(timeout(SECOND, slow).await.is_err());
}

async fn give_up_on(held: &PinnedLease) {
    let guard = held.begin_call(None);
    give_up(held.session()).await;
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_call_that_was_given_up_is_free_when_the_server_has_answered_it() {
    for sharing in [SharingMode::Exclusive, SharingMode::Pinned] {
        for (manner, after) in [
            (Manner::Late(4 * SECOND), 4 * SECOND),
            (Manner::Polite, SECOND),
        ] {
            let server = ByHand::new(manner);
            let pool = pool_of(server.clone(), one_session(sharing));
            let scope = pool.scope();
            let began = Instant::now();
            let lease = pool.acquire_in(&scope).await.unwrap();
            let id = lease.id();
            let guard = lease.begin_call(None);
            give_up(&lease).await;
            drop(guard);
            drop(lease);
            let next = pool.acquire_in(&scope).await.unwrap();
            assert_eq!(began.elapsed().as_secs(), after.as_secs(), "{sharing:?}");
            assert_eq!(next.id(), id, "{sharing:?}: the session is kept");
            assert_eq!(
                text(&call(&next, "quick", json!({})).await.unwrap()),
                "done"
            );
            drop(next);
            assert_eq!(
                server.counts.cancelled.load(SeqCst),
                1,
                "the server was notified"
            );
            assert_eq!(server.overlaps(), 0, "{sharing:?}");
            assert_eq!(assert_balanced(&pool).opened, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_session_on_which_such_a_call_does_not_end_is_replaced() {
    // Whether or not the pool knows of a call.
    for guarded in [true, false] {
        let server = ByHand::new(Manner::Mute);
        let pool = pool_of(server.clone(), one_session(SharingMode::Exclusive));
        let began = Instant::now();
        let lease = pool.acquire().await.unwrap();
        let id = lease.id();
        let guard = guarded.then(|| lease.begin_call(None));
        give_up(&lease).await;
        drop(guard);
        drop(lease);
        let next = pool.acquire().await.unwrap();
        assert_ne!(next.id(), id);
        assert_eq!(began.elapsed().as_secs(), 6, "{guarded}");
        assert_eq!(
            text(&call(&next, "quick", json!({})).await.unwrap()),
            "done"
        );
        assert_eq!(server.overlaps(), 0);
        drop(next);
        let status = assert_balanced(&pool);
        assert_eq!(status.closed.get(&CloseReason::Abandoned), Some(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_session_that_answers_a_probe_keeps_its_state_though_such_a_call_does_not_end() {
    let server = ByHand::new(Manner::Mute);
    let pool = pool_of(server.clone(), one_session(SharingMode::Pinned));
    let scope = pool.scope();
    for round in 0..3 {
        let began = Instant::now();
        let lease = pool.acquire_in(&scope).await.unwrap();
        let guard = lease.begin_call(None);
        give_up(&lease).await;
        drop(guard);
        drop(lease);
        drop(pool.acquire_in(&scope).await.unwrap());
        assert_eq!(began.elapsed().as_secs(), 6, "round {round}");
    }
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn where_calls_run_side_by_side_the_place_is_free_at_once() {
    let server = ByHand::new(Manner::Mute);
    let pool = pool_of(server, one_session(SharingMode::Multiplexed));
    let lease = pool.acquire().await.unwrap();
    let guard = lease.begin_call(None);
    give_up(&lease).await;
    drop(guard);
    drop(lease);
    let began = Instant::now();
    drop(pool.acquire().await.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_before_it_has_left_keeps_its_place_until_it_has_ended() {
    let server = ByHand::new(Manner::Late(2 * SECOND));
    let pool = pool_of(server.clone(), one_session(SharingMode::Exclusive));
    let lease = pool.acquire().await.unwrap();
    let guard = lease.begin_call(None);
    // In rmcp's queue, and no further: nothing else has run.
    assert!(
        timeout(Duration::ZERO, call(&lease, "slow", json!({})))
            .await
            .is_err()
    );
    drop(guard);
    drop(lease);
    let next = pool.acquire().await.unwrap();
    call(&next, "quick", json!({})).await.unwrap();
    assert_eq!(server.overlaps(), 0);
    drop(next);
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_between_two_requests_costs_no_session() {
    let pool = pool_of(
        ByHand::new(Manner::Mute),
        one_session(SharingMode::Exclusive),
    );
    let lease = pool.acquire().await.unwrap();
    let guard = lease.begin_call(None);
    call(&lease, "quick", json!({})).await.unwrap();
    drop(guard);
    drop(lease);
    let began = Instant::now();
    drop(pool.acquire().await.unwrap());
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_closes_waits_for_no_call_that_was_given_up() {
    let pool = pool_of(
        ByHand::new(Manner::Mute),
        one_session(SharingMode::Exclusive),
    );
    let lease = pool.acquire().await.unwrap();
    let guard = lease.begin_call(None);
    give_up(&lease).await;
    drop(guard);
    drop(lease);
    let began = Instant::now();
    pool.close().await;
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn who_holds_an_exclusive_session_makes_one_call_at_a_time_on_it() {
    let server = ByHand::new(Manner::Late(2 * SECOND));
    let pool = pool_of(server.clone(), one_session(SharingMode::Exclusive));
    let held = pool.pin().await.unwrap();
    let one = async {
        let _turn = held.turn().await.unwrap();
        call(&held, "slow", json!({})).await.unwrap();
    };
    let other = async {
        let _turn = held.turn().await.unwrap();
        call(&held, "slow", json!({})).await.unwrap();
    };
    tokio::join!(one, other);
    give_up_on(&held).await;
    let turn = held.turn().await.unwrap();
    call(&held, "quick", json!({})).await.unwrap();
    drop(turn);
    assert_eq!(server.overlaps(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_holds_an_exclusive_session_is_told_that_it_is_closed_under_a_call_that_does_not_end() {
    let pool = pool_of(
        ByHand::new(Manner::Mute),
        one_session(SharingMode::Exclusive),
    );
    let held = pool.pin().await.unwrap();
    give_up_on(&held).await;
    assert_eq!(held.turn().await.unwrap_err(), CloseReason::Abandoned);
    // Once that is decided, none of its further calls waits.
    let decided = Instant::now();
    assert_eq!(held.turn().await.unwrap_err(), CloseReason::Abandoned);
    assert_eq!(decided.elapsed(), Duration::ZERO);
    drop(held);
    at_rest().await;
    drop(pool.acquire().await.unwrap());
}

/// The second call is given up in the moment in which the first has ended, and its cancellation is still on its way.
#[tokio::test(start_paused = true)]
async fn a_call_given_up_while_the_next_waits_for_an_earlier_one_is_waited_for_too() {
    let server = ByHand::new(Manner::Late(4 * SECOND));
    let pool = pool_of(server.clone(), one_session(SharingMode::Pinned));
    let held = pool.pin().await.unwrap();
    let began = Instant::now();
    give_up_on(&held).await;
    let second_guard = held.begin_call(None);
    let mut second = Box::pin(call(held.session(), "slow", json!({})));
    assert!(timeout(SECOND, &mut second).await.is_err());
    let mut next = Box::pin(held.turn());
    assert!(timeout(SECOND, &mut next).await.is_err());
    sleep(SECOND + SECOND / 2).await;
    assert_eq!(
        server.counts.running.load(SeqCst),
        1,
        "the first has ended, and the next caller has not seen it yet"
    );
    drop(second);
    drop(second_guard);
    drop(next.await.unwrap());
    assert_eq!(began.elapsed().as_secs(), 5, "the second ends after this");
    assert_eq!(server.counts.running.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_held_has_one_probe_to_answer_at_a_time() {
    let server = ByHand::slow_to_ping(Manner::Mute, 8 * SECOND);
    let mut options = one_session(SharingMode::Pinned);
    options.probe_timeout = 20 * SECOND;
    let pool = pool_of(server.clone(), options);
    let held = pool.pin().await.unwrap();
    let began = Instant::now();
    // Out of time: the pool probes the session.
    let guard = held.begin_call(Some(Instant::now() + SECOND));
    give_up(held.session()).await;
    drop(guard);
    // It has not ended within `cancel_grace`: its owner has the session probed as well.
    drop(held.turn().await.unwrap());
    assert_eq!(began.elapsed().as_secs(), 17);
    assert_eq!(server.counts.most_pings_at_once.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_on_an_exclusive_session_is_a_fault_only_if_a_probe_is_not_answered() {
    for (ping, reason, alive, after) in [
        (Duration::ZERO, CloseReason::Abandoned, true, 6),
        (600 * SECOND, CloseReason::ProbeFailed, false, 11),
    ] {
        let server = ByHand::slow_to_ping(Manner::Mute, ping);
        let (pool, events) = observed(server.clone(), one_session(SharingMode::Exclusive));
        let began = Instant::now();
        let lease = pool.acquire().await.unwrap();
        let id = lease.id();
        let guard = lease.begin_call(Some(Instant::now() + SECOND));
        give_up(&lease).await;
        drop(guard);
        drop(lease);
        let next = pool.acquire().await.unwrap();
        assert_ne!(next.id(), id);
        assert_eq!(began.elapsed().as_secs(), after);
        drop(next);
        assert_eq!(assert_balanced(&pool).closed.get(&reason), Some(&1));
        let probed = |event: &PoolEvent| matches!(event, PoolEvent::Probed { alive: found, after_timeout: true, .. } if *found == alive);
        assert_eq!(events.count(probed), 1, "{:#?}", events.all());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn calls_never_overlap_on_an_exclusive_session_as_its_server_sees_it() {
    use common::{echo, servers::server, within};
    let pool = pool_of(
        // It answers a call that overlaps another with an error.
        server("--forbid-overlap"),
        quiet_with(|options| {
            options.sharing = SharingMode::Exclusive;
            options.max_connections = 1;
            options.cancel_grace = Duration::from_millis(200);
        }),
    );
    // It ignores the cancellation, for a shorter and for a longer time than the grace.
    for ms in [50, 60_000, 100] {
        let lease = within(pool.acquire()).await.unwrap();
        let guard = lease.begin_call(None);
        let sleeping = call(&lease, "sleep", json!({ "ms": ms, "stubborn": true }));
        assert!(timeout(Duration::from_millis(30), sleeping).await.is_err());
        drop(guard);
        drop(lease);
        let next = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&next).await, "hello");
        let stats = within(call(&next, "stats", json!({}))).await.unwrap();
        assert_eq!(stats.structured_content.unwrap()["overlaps"], 0);
    }
    within(pool.close()).await;
    assert!(pool.status().closed.contains_key(&CloseReason::Abandoned));
}
