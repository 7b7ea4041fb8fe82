//! Subscriptions to resources: those of one client, and those on a session that several clients share, where the first makes
//! one and the last ends it.

use std::{collections::HashMap, sync::Arc};

use mcp_pooled_tools::{Client as _, Request, RequestOptions};
use parking_lot::Mutex;
use rmcp::{ErrorData, model::ErrorCode};
use serde_json::json;

use crate::{
    members::Members,
    message::{self, Incoming, own_error},
    session::Session,
};

/// How many clients have subscribed to each resource. Locked while the server is asked.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<String, Arc<Count>>>);

type Count = tokio::sync::Mutex<usize>;

/// A reference to a count. The last one that is dropped removes a count of zero.
struct Held<'a> {
    subscriptions: &'a Subscriptions,
    uri: &'a str,
    count: Arc<Count>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut counts = self.subscriptions.0.lock();
        // References are taken and given back under this lock alone.
        drop(std::mem::take(&mut self.count));
        let unused = counts.get_mut(self.uri).and_then(Arc::get_mut);
        if unused.is_some_and(|count| *count.get_mut() == 0) {
            counts.remove(self.uri);
        }
    }
}

impl Subscriptions {
    /// `None` for a resource that is one too many, or whose URI is too long.
    fn count<'a>(&'a self, uri: &'a str) -> Option<Held<'a>> {
        let mut counts = self.0.lock();
        let is_one_more = !counts.contains_key(uri);
        if uri.len() > LONGEST_URI || (is_one_more && counts.len() >= MOST) {
            return None;
        }
        Some(Held {
            subscriptions: self,
            uri,
            count: Arc::clone(counts.entry(uri.to_owned()).or_default()),
        })
    }
}

/// The subscriptions that the client of a session has made, each as often as it was.
#[derive(Debug, Default)]
pub(crate) struct Subscribed(Mutex<HashMap<String, usize>>);

impl Subscribed {
    /// The resource to which the client of this session wants to subscribe.
    ///
    /// # Errors
    /// If it has subscribed to too many, or the URI is too long.
    pub(crate) fn begin(&self, incoming: &Incoming) -> Result<String, ErrorData> {
        let refused = |why: String, hint| {
            let code = ErrorCode::INVALID_PARAMS;
            Err(own_error(code, why, "receive", hint))
        };
        let uri = uri_of(incoming);
        if uri.len() > LONGEST_URI {
            let why = format!("the URI has {} bytes, limit {LONGEST_URI}", uri.len());
            return refused(why, "subscribe to a resource that the server lists");
        }
        if self.0.lock().values().sum::<usize>() >= MOST {
            let why = format!("{MOST} subscriptions of this session are open");
            return refused(why, "unsubscribe from resources that are not needed");
        }
        Ok(uri)
    }

    /// The server has taken the subscription.
    pub(crate) fn taken(&self, uri: String) {
        *self.0.lock().entry(uri).or_default() += 1;
    }

    /// The client ends a subscription.
    pub(crate) fn end(&self, incoming: &Incoming) {
        let uri = uri_of(incoming);
        let mut subscribed = self.0.lock();
        if let Some(count) = subscribed.get_mut(&uri) {
            *count -= 1;
            if *count == 0 {
                subscribed.remove(&uri);
            }
        }
    }
}

fn uri_of(incoming: &Incoming) -> String {
    let params = incoming.params.as_deref().map(Members::of);
    params
        .and_then(|params| params.text("uri"))
        .unwrap_or_default()
}

impl Session {
    /// Counts a client in. Whether the server took the subscription.
    ///
    /// # Cancel safety
    /// If it is dropped, the client is not counted; the server may have taken the subscription.
    pub(crate) async fn subscribe(&self, uri: &str) -> bool {
        let Some(held) = self.subscriptions.count(uri) else {
            return false;
        };
        let mut count = held.count.lock().await;
        if *count == 0 && !self.about("resources/subscribe", uri).await {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts a client out. The last one ends the subscription.
    pub(crate) async fn unsubscribe(&self, uri: &str) {
        let Some(held) = self.subscriptions.count(uri) else {
            return;
        };
        let mut count = held.count.lock().await;
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.about("resources/unsubscribe", uri).await;
        }
    }

    /// Sends a request about a resource. Whether the server took it.
    async fn about(&self, method: &'static str, uri: &str) -> bool {
        let params = message::json(&json!({ "uri": uri }));
        let options = RequestOptions::new().cancellation(self.end.clone());
        match Request::from_raw(method, Some(&*params)) {
            Ok(request) => self.view.send(request, options).await.is_ok(),
            Err(_) => false,
        }
    }
}

/// Bytes of a URI to which a client may subscribe.
const LONGEST_URI: usize = 4 * 1024;
/// Subscriptions of one session.
const MOST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_that_was_refused_is_not_kept_and_no_session_has_too_many() {
        let subscriptions = Subscriptions::default();
        let kept = || subscriptions.0.lock().len();
        drop(subscriptions.count("refused").unwrap());
        assert_eq!(kept(), 0);
        let uris: Vec<_> = (0..=MOST).map(|number| number.to_string()).collect();
        for uri in &uris[..MOST] {
            let held = subscriptions.count(uri).unwrap();
            *held.count.try_lock().unwrap() = 1;
        }
        assert_eq!(kept(), MOST);
        assert!(subscriptions.count(&uris[MOST]).is_none());
        assert!(subscriptions.count(&uris[0]).is_some(), "it is there");
        let long = "x".repeat(LONGEST_URI + 1);
        assert!(Subscriptions::default().count(&long).is_none());
    }

    #[test]
    fn a_client_may_subscribe_again_after_it_has_unsubscribed() {
        let about = |uri: &str| Incoming {
            id: message::json(&1),
            method: "resources/subscribe".to_owned(),
            params: Some(message::json(&json!({ "uri": uri }))),
        };
        let subscribed = Subscribed::default();
        for _ in 0..MOST {
            let uri = subscribed.begin(&about("a")).unwrap();
            subscribed.taken(uri);
        }
        assert!(subscribed.begin(&about("b")).is_err());
        subscribed.end(&about("a"));
        subscribed.end(&about("b"));
        subscribed.begin(&about("b")).unwrap();
        let long = subscribed.begin(&about(&"x".repeat(LONGEST_URI + 1)));
        assert!(long.unwrap_err().message.contains("limit"));
    }
}
