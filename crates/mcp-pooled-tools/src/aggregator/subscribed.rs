//! The resources to which an aggregator has subscribed, and which of them have changed on the sessions of its scope.
//!
//! The updates of a resource are alike, so each resource keeps the number of its latest one, and a reader the number that it
//! has come to. A reader that is slow misses none, and one that is idle holds nothing: a queue for each client would be most
//! of what the client costs.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;

/// A server's own URI of a resource.
pub(super) type Own = (Arc<str>, String);

#[derive(Debug, Default)]
pub(super) struct Subscribed {
    resources: Mutex<HashMap<Own, Noted>>,
    /// Updates so far.
    updates: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Noted {
    /// The URIs that were subscribed to, each as often as it was.
    uris: Vec<String>,
    /// The number of its latest update; 0 before the first.
    updated: u64,
}

/// A subscription that the server has not taken yet. Dropped, it is none.
#[derive(Debug)]
pub(super) struct Subscribing<'a> {
    subscribed: &'a Subscribed,
    resource: Option<Own>,
}

impl Subscribed {
    /// Notes a subscription before the server is asked: it may report a change before its answer is read.
    pub(super) fn begin(&self, server: &Arc<str>, own: &str, uri: &str) -> Subscribing<'_> {
        let resource = (Arc::clone(server), own.to_owned());
        let mut resources = self.resources.lock();
        let noted = resources.entry(resource.clone()).or_default();
        noted.uris.push(uri.to_owned());
        Subscribing {
            subscribed: self,
            resource: Some(resource),
        }
    }

    /// Notes the end of a subscription.
    pub(super) fn end(&self, server: &Arc<str>, own: &str) {
        self.remove(&(Arc::clone(server), own.to_owned()));
    }

    fn remove(&self, resource: &Own) {
        let mut resources = self.resources.lock();
        if let Some(noted) = resources.get_mut(resource) {
            noted.uris.pop();
            if noted.uris.is_empty() {
                resources.remove(resource);
            }
        }
    }

    /// A server has reported a change of a resource.
    pub(super) fn updated(&self, server: &Arc<str>, own: &str) {
        let mut resources = self.resources.lock();
        let Some(noted) = resources.get_mut(&(Arc::clone(server), own.to_owned())) else {
            return;
        };
        // In the lock, so that numbers grow in the order in which readers find them.
        self.updates.send_modify(|updates| *updates += 1);
        noted.updated = *self.updates.borrow();
    }

    /// The URI by which a resource was subscribed to.
    pub(super) fn uri(&self, resource: &Own) -> Option<String> {
        self.resources.lock().get(resource)?.uris.last().cloned()
    }

    /// The updates from now on.
    pub(super) fn changes(&self) -> Updates {
        let updates = self.updates.subscribe();
        let seen = *updates.borrow();
        Updates {
            updates,
            seen,
            found: VecDeque::new(),
        }
    }
}

impl Subscribing<'_> {
    /// The server has taken it.
    pub(super) fn taken(mut self) {
        self.resource = None;
    }
}

impl Drop for Subscribing<'_> {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            self.subscribed.remove(&resource);
        }
    }
}

/// The updates that one reader has not had.
#[derive(Debug)]
pub(super) struct Updates {
    updates: watch::Receiver<u64>,
    /// The number that it has come to.
    seen: u64,
    found: VecDeque<String>,
}

impl Updates {
    /// The URI of the next resource that has changed; several changes of one resource may be one.
    ///
    /// # Cancel safety
    /// May be dropped at any point: no update is lost.
    pub(super) async fn next(&mut self, subscribed: &Subscribed) -> String {
        loop {
            if let Some(uri) = self.found.pop_front() {
                return uri;
            }
            // It fails only when `subscribed` is gone, which the caller holds.
            let _ = self.updates.changed().await;
            let resources = subscribed.resources.lock();
            let changed = resources.values().filter(|noted| noted.updated > self.seen);
            let changed = changed.filter_map(|noted| noted.uris.last().cloned());
            self.found = changed.collect();
            self.seen = *self.updates.borrow_and_update();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn all(updates: &mut Updates, subscribed: &Subscribed) -> Vec<String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(uri) = pin!(updates.next(subscribed)).poll(&mut context) {
            all.push(uri);
        }
        all.sort();
        all
    }

    #[test]
    fn a_reader_however_slow_hears_of_each_resource_that_has_changed_and_of_no_other() {
        let subscribed = Subscribed::default();
        let server: Arc<str> = "server".into();
        for number in 0..5_000 {
            let uri = format!("{number:04}");
            subscribed.begin(&server, &uri, &uri).taken();
        }
        let [mut quick, mut slow] = [subscribed.changes(), subscribed.changes()];
        for number in 0..5_000 {
            subscribed.updated(&server, &format!("{number:04}"));
            assert_eq!(all(&mut quick, &subscribed), [format!("{number:04}")]);
        }
        let heard = all(&mut slow, &subscribed);
        assert!(heard.len() == 5_000 && heard.is_sorted());
        subscribed.updated(&server, "0007");
        subscribed.updated(&server, "0007");
        subscribed.updated(&server, "another");
        assert_eq!(all(&mut slow, &subscribed), ["0007"]);
        assert!(all(&mut subscribed.changes(), &subscribed).is_empty());
    }

    #[test]
    fn a_change_before_the_server_s_answer_counts_and_one_after_a_refusal_does_not() {
        let subscribed = Subscribed::default();
        let server: Arc<str> = "server".into();
        let mut updates = subscribed.changes();
        let subscribing = subscribed.begin(&server, "own", "exposed");
        subscribed.updated(&server, "own");
        assert_eq!(all(&mut updates, &subscribed), ["exposed"]);
        drop(subscribing);
        subscribed.updated(&server, "own");
        subscribed.begin(&server, "own", "exposed").taken();
        assert!(all(&mut updates, &subscribed).is_empty());
        subscribed.end(&server, "own");
        assert!(subscribed.resources.lock().is_empty());
    }
}
