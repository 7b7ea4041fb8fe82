//! A client's session: its view of the servers, its calls in flight, its streams.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use mcp_pooled_tools::Aggregator;
use parking_lot::Mutex;
use rmcp::model::ClientCapabilities;
use serde_json::value::RawValue;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    latest::Latest,
    log_level::LogLevel,
    path::Path,
    principal::Principal,
    questions::Questions,
    stream::{Item, Outbox},
    subscriptions::{Subscribed, Subscriptions},
    turns::Turns,
};

/// A client's session. A legacy client has one for each session id; modern clients of one principal and connection that ask at
/// one address with the same capabilities share one.
pub(crate) struct Session {
    /// The name of its scope: pinned servers belong to it.
    pub(crate) scope: String,
    /// Its client has initialized it, and ends it.
    pub(crate) is_legacy: bool,
    pub(crate) principal: Principal,
    pub(crate) client: ClientIdentity,
    pub(crate) path: Path,
    pub(crate) view: Aggregator,
    pub(crate) questions: Questions,
    pub(crate) turns: Turns,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) subscribed: Subscribed,
    /// Calls by the JSON of their ids.
    calls: UnderWay,
    /// Streams, and calls that go on under the id of another request.
    followed: UnderWay,
    /// Calls so far.
    begun: AtomicU64,
    /// Where messages go that belong to no call.
    stream: Mutex<Option<Outbox>>,
    attached: Notify,
    /// The least log level that the client wants.
    level: Mutex<Option<LogLevel>>,
    pub(crate) level_to_send: Latest<LogLevel>,
    pub(crate) roots_changed: Latest<()>,
    activity: Mutex<Activity>,
    /// Servers that it has called.
    used: Mutex<HashSet<String>>,
    /// An earlier one had its scope.
    rebuilt: AtomicBool,
    pub(crate) end: CancellationToken,
}

/// What may be cancelled, by the JSON of its id.
type UnderWay = Mutex<HashMap<Arc<str>, CancellationToken>>;

/// What a client said of itself.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) protocol_version: String,
    pub(crate) capabilities: ClientCapabilities,
}

impl ClientIdentity {
    /// Whether the client can be asked anything.
    pub(crate) fn can_be_asked(&self) -> bool {
        let can = &self.capabilities;
        can.elicitation.is_some() || can.sampling.is_some() || can.roots.is_some()
    }
}

#[derive(Debug)]
struct Activity {
    under_way: usize,
    last: Instant,
}

impl Session {
    /// `view` makes its view of the servers, in a scope of this name.
    pub(crate) fn new(
        scope: &str,
        is_legacy: bool,
        principal: Principal,
        client: ClientIdentity,
        path: Path,
        view: impl FnOnce(&Weak<Self>) -> Aggregator,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            scope: scope.to_owned(),
            is_legacy,
            principal,
            client,
            path,
            view: view(this),
            questions: Questions::new(),
            turns: Turns::default(),
            subscriptions: Subscriptions::default(),
            subscribed: Subscribed::default(),
            used: Mutex::default(),
            calls: Mutex::default(),
            followed: Mutex::default(),
            begun: AtomicU64::new(0),
            stream: Mutex::default(),
            level: Mutex::default(),
            level_to_send: Latest::default(),
            roots_changed: Latest::default(),
            activity: Mutex::new(Activity {
                under_way: 0,
                last: Instant::now(),
            }),
            attached: Notify::new(),
            rebuilt: AtomicBool::new(false),
            end: CancellationToken::new(),
        })
    }

    /// Notes a call, which ends when the session does.
    ///
    /// # Errors
    /// [`NotBegun`] if one with this id or `most` of them are under way.
    pub(crate) fn begin(self: &Arc<Self>, id: &str, most: usize) -> Result<CallEntry, NotBegun> {
        let call = self.enter(id, most, Kind::Call)?;
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(call)
    }

    /// Notes a stream, or a call that goes on under this id.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn follow(self: &Arc<Self>, id: &str, most: usize) -> Result<CallEntry, NotBegun> {
        self.enter(id, most, Kind::Followed)
    }

    fn enter(self: &Arc<Self>, id: &str, most: usize, kind: Kind) -> Result<CallEntry, NotBegun> {
        if self.end.is_cancelled() {
            return Err(NotBegun::Ended);
        }
        let mut all = self.under_way(kind).lock();
        if all.contains_key(id) {
            return Err(NotBegun::SameId);
        }
        if all.len() >= most {
            return Err(NotBegun::TooMany);
        }
        let cancel = match kind {
            Kind::Call => self.end.child_token(),
            // Its last message is still written when the session ends.
            Kind::Followed => CancellationToken::new(),
        };
        let id = Arc::<str>::from(id);
        all.insert(Arc::clone(&id), cancel.clone());
        drop(all);
        Ok(CallEntry {
            cancel,
            id,
            kind,
            busy: self.busy(),
        })
    }

    fn under_way(&self, kind: Kind) -> &UnderWay {
        match kind {
            Kind::Call => &self.calls,
            Kind::Followed => &self.followed,
        }
    }

    /// Its calls: so far, and under way.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let in_flight = self.calls.lock().len() as u64;
        (self.begun.load(Ordering::Relaxed), in_flight)
    }

    /// Cancels what has this id, if it is under way.
    pub(crate) fn cancel(&self, id: &RawValue) {
        for kind in [Kind::Call, Kind::Followed] {
            if let Some(cancel) = self.under_way(kind).lock().get(id.get()) {
                cancel.cancel();
            }
        }
    }

    /// The session is not idle until the returned value is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.activity.lock().under_way += 1;
        Busy(Arc::clone(self))
    }

    /// Since when nothing is under way; `None` while something is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let activity = self.activity.lock();
        (activity.under_way == 0).then_some(activity.last)
    }

    /// Has messages that belong to no call go to `outbox`, in place of the stream before.
    pub(crate) fn attach(&self, outbox: Outbox) {
        *self.stream.lock() = Some(outbox);
        self.attached.notify_one();
    }

    /// Completes when a stream has been attached.
    pub(crate) async fn attached(&self) {
        self.attached.notified().await;
    }

    /// Ends the stream for messages that belong to no call.
    pub(crate) fn detach(&self) {
        self.stream.lock().take();
    }

    /// Sends a message that belongs to no call. `false` without a stream.
    pub(crate) fn push(&self, item: Item) -> bool {
        let stream = self.stream.lock().clone();
        stream.is_some_and(|stream| stream.push(item))
    }

    pub(crate) fn stream(&self) -> Option<Outbox> {
        let stream = self.stream.lock().clone();
        stream.filter(|stream| !stream.is_closed())
    }

    /// Whether its client has closed its stream, or lost it, and has not opened another.
    pub(crate) fn has_lost_stream(&self) -> bool {
        self.stream.lock().as_ref().is_some_and(Outbox::is_closed)
    }

    pub(crate) fn set_level(&self, level: LogLevel) {
        *self.level.lock() = Some(level);
    }

    pub(crate) fn level(&self) -> Option<LogLevel> {
        *self.level.lock()
    }

    /// Notes whether an earlier session had its scope, whose state servers have lost.
    pub(crate) fn set_rebuilt(&self, rebuilt: bool) {
        self.rebuilt.store(rebuilt, Ordering::Relaxed);
    }

    pub(crate) fn is_rebuilt(&self) -> bool {
        self.rebuilt.load(Ordering::Relaxed)
    }

    /// Whether it has called this server.
    pub(crate) fn has_used(&self, server: &str) -> bool {
        self.used.lock().contains(server)
    }

    /// Notes that it calls this server. Whether that is the first time.
    pub(crate) fn uses(&self, server: &str) -> bool {
        self.used.lock().insert(server.to_owned())
    }

    /// Cancels its calls and ends its streams.
    pub(crate) fn end(&self) {
        self.end.cancel();
        self.detach();
    }
}

/// Why a call does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotBegun {
    SameId,
    TooMany,
    /// The session has ended, or was dropped for another one, since the request came.
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Call,
    Followed,
}

/// A call or stream that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct CallEntry {
    pub(crate) cancel: CancellationToken,
    id: Arc<str>,
    kind: Kind,
    busy: Busy,
}

impl Drop for CallEntry {
    fn drop(&mut self) {
        self.busy.0.under_way(self.kind).lock().remove(&self.id);
    }
}

/// The session is in use, until it is dropped.
pub(crate) struct Busy(Arc<Session>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut activity = self.0.activity.lock();
        activity.under_way -= 1;
        activity.last = Instant::now();
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("scope", &self.scope)
            .field("principal", &self.principal)
            .field("client", &self.client)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
