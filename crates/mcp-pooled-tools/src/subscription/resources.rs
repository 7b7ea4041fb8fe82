//! Subscriptions to resources, counted over all callers of a pool.
//!
//! The first caller of a resource makes the subscription on some session, and the last one to leave ends it there. When
//! that session ends, the subscription is made again on another, and the resource is reported as updated, because an update
//! in between was lost.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use mcp_pool_core::{Era, Session};
use parking_lot::Mutex;
use rmcp::{
    model::{SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams},
    service::{ServiceError, Subscription},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    call::{CallDeadline, Exchange},
    error::{Error, ErrorKind},
    notifications::Notification,
    operation::Operation,
    request::Request,
    request_options::RequestOptions,
    scope::ScopeHandle,
    server::{Server, ServerPool},
};

pub(crate) const SUBSCRIBE: &str = "resources/subscribe";
pub(crate) const UNSUBSCRIBE: &str = "resources/unsubscribe";

/// The subscriptions of one pool, by resource.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_uri: Mutex<HashMap<String, Arc<Entry>>>,
    /// Ends all of them.
    stop: CancellationToken,
}

/// Locked while the server is asked.
type Entry = tokio::sync::Mutex<Counted>;

#[derive(Debug, Default)]
struct Counted {
    callers: usize,
    /// Ends the subscription when it is dropped.
    kept: Option<DropGuard>,
    ended: Option<oneshot::Receiver<()>>,
}

/// A subscription on one session.
enum OnSession {
    /// The server was asked by a request.
    Legacy(Arc<Session>),
    /// The server sends updates for as long as this is open.
    Modern(Arc<Session>, Box<Subscription>),
}

/// A reference to an entry. The last one that is dropped removes an entry without callers.
struct Held<'a> {
    subscriptions: &'a Subscriptions,
    uri: &'a str,
    entry: Arc<Entry>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut by_uri = self.subscriptions.by_uri.lock();
        // References are taken and given back under this lock alone.
        drop(std::mem::take(&mut self.entry));
        let unused = by_uri.get_mut(self.uri).and_then(Arc::get_mut);
        if unused.is_some_and(|counted| counted.get_mut().callers == 0) {
            by_uri.remove(self.uri);
        }
    }
}

impl Subscriptions {
    fn entry<'a>(&'a self, uri: &'a str) -> Held<'a> {
        let mut by_uri = self.by_uri.lock();
        Held {
            subscriptions: self,
            uri,
            entry: Arc::clone(by_uri.entry(uri.to_owned()).or_default()),
        }
    }

    /// Ends all subscriptions: the pool is shut down.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Counts a caller in. The first one makes the subscription.
    pub(crate) async fn enter(
        server: &Arc<Server>,
        pool: &Arc<ServerPool>,
        scope: &ScopeHandle,
        uri: &str,
        deadline: &CallDeadline,
    ) -> Result<(), Error> {
        let held = pool.context.subscriptions.entry(uri);
        let mut counted = held.entry.lock().await;
        if counted.callers == 0 {
            let made = make(pool, scope, uri, deadline).await?;
            let stop = pool.context.subscriptions.stop.child_token();
            let (ended, receiver) = oneshot::channel();
            counted.kept = Some(stop.clone().drop_guard());
            counted.ended = Some(receiver);
            let (pool, uri) = (Arc::downgrade(pool), uri.to_owned());
            server.spawn(async move {
                keep(&pool, &uri, made, &stop).await;
                let _ = ended.send(());
            });
        }
        counted.callers += 1;
        Ok(())
    }

    /// Counts a caller out. The last one ends the subscription, and waits until the server was notified.
    pub(crate) async fn leave(&self, uri: &str) {
        let held = self.entry(uri);
        let mut counted = held.entry.lock().await;
        counted.callers = counted.callers.saturating_sub(1);
        if counted.callers > 0 {
            return;
        }
        drop(counted.kept.take());
        if let Some(ended) = counted.ended.take() {
            let _ = ended.await;
        }
    }
}

/// Makes the subscription on a session of the pool.
async fn make(
    pool: &ServerPool,
    scope: &ScopeHandle,
    uri: &str,
    deadline: &CallDeadline,
) -> Result<OnSession, Error> {
    let lease = pool.acquire(scope, true).await?;
    let session = lease.session();
    let guard = lease.begin_call(deadline.for_pool());
    let made = match session.era() {
        Era::Legacy => {
            let request = request(SUBSCRIBE, uri);
            let options = RequestOptions::new();
            let subscribed = Exchange::on(session).run(&request, &options).await;
            subscribed.map(|_| OnSession::Legacy(Arc::clone(session)))
        }
        _ => listen(session, uri).await,
    };
    match made {
        Ok(made) => {
            guard.answered();
            Ok(made)
        }
        Err(error) => {
            let failure = guard.failed(&error);
            let operation = Operation::of_method(SUBSCRIBE);
            let (server, secrets) = (&pool.server, pool.secrets());
            Err(Error::call(
                server, secrets, &operation, failure, error, None,
            ))
        }
    }
}

async fn listen(session: &Arc<Session>, uri: &str) -> Result<OnSession, ServiceError> {
    let filter = SubscriptionFilter::builder().resource_subscription(uri);
    let listening = session.peer().listen(filter.build()).await?;
    Ok(OnSession::Modern(Arc::clone(session), Box::new(listening)))
}

fn request(method: &'static str, uri: &str) -> Request {
    match method {
        SUBSCRIBE => Request::of(method, SubscribeRequestParams::new(uri)),
        _ => Request::of(method, UnsubscribeRequestParams::new(uri)),
    }
}

/// Keeps the subscription until it is stopped, on one session after the other.
async fn keep(pool: &Weak<ServerPool>, uri: &str, mut made: OnSession, stop: &CancellationToken) {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);
    loop {
        tokio::select! {
            () = made.wait_ended() => {}
            () = stop.cancelled() => return made.end(uri).await,
        }
        let mut pause = FIRST;
        made = loop {
            let Some(pool) = pool.upgrade() else { return };
            let deadline = CallDeadline::start(pool.settings().call_timeout);
            let scope = ScopeHandle::default();
            let again = Box::pin(make(&pool, &scope, uri, &deadline));
            let again = tokio::select! {
                again = deadline.within(again) => again,
                () = stop.cancelled() => return,
            };
            match again {
                Ok(Ok(again)) => {
                    let uri = uri.to_owned();
                    let notifications = &pool.context.notifications;
                    notifications.report(Notification::ResourceUpdated { uri });
                    break again;
                }
                Ok(Err(error)) if error.kind() == ErrorKind::ShuttingDown => return,
                _ => {}
            }
            drop(pool);
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST),
                () = stop.cancelled() => return,
            }
        };
    }
}

impl OnSession {
    async fn wait_ended(&mut self) {
        match self {
            Self::Legacy(session) => {
                let never = std::future::pending::<Result<(), ServiceError>>();
                let _ = session.while_it_lives(never).await;
            }
            // The listener receives the update itself; here it is only taken from the queue.
            Self::Modern(session, listening) => {
                let ended = async {
                    while let Ok(Some(_)) = listening.next().await {}
                    Ok::<_, ServiceError>(())
                };
                let _ = session.while_it_lives(ended).await;
            }
        }
    }

    async fn end(self, uri: &str) {
        const LIMIT: Duration = Duration::from_secs(5);
        let ending = async {
            match self {
                Self::Legacy(session) => {
                    let (request, options) = (request(UNSUBSCRIBE, uri), RequestOptions::new());
                    let _ = Exchange::on(&session).run(&request, &options).await;
                }
                Self::Modern(_, mut listening) => {
                    let _ = listening.cancel().await;
                }
            }
        };
        if timeout(LIMIT, ending).await.is_err() {
            tracing::debug!("the end of a subscription was not answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_resource_to_which_no_caller_is_subscribed_is_not_kept() {
        let subscriptions = Subscriptions::default();
        let kept = || subscriptions.by_uri.lock().len();
        let (refused, other) = (subscriptions.entry("a"), subscriptions.entry("a"));
        drop(refused);
        assert_eq!(kept(), 1, "another caller has it in hand");
        other.entry.lock().await.callers += 1;
        drop(other);
        assert_eq!(kept(), 1, "it is subscribed to");
        subscriptions.leave("a").await;
        assert_eq!(kept(), 0);
        drop(subscriptions.entry("refused"));
        subscriptions.leave("never entered").await;
        assert_eq!(kept(), 0);
    }
}
