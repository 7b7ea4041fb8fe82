//! Subscriptions to resources on a session that several clients share: the first makes one, the last ends it.

use std::{collections::HashMap, sync::Arc};

use mcp_pooled_tools::{Client as _, Request, RequestOptions};
use parking_lot::Mutex;
use serde_json::json;

use crate::{message, session::Session};

/// How many clients have subscribed to each resource. Locked while the server is asked.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<String, Arc<tokio::sync::Mutex<usize>>>>);

impl Session {
    /// Counts a client in. Whether the server took the subscription.
    ///
    /// # Cancel safety
    /// If it is dropped, the client is not counted; the server may have taken the subscription.
    pub(crate) async fn subscribe(&self, uri: &str) -> bool {
        let count = {
            let mut counts = self.subscriptions.0.lock();
            Arc::clone(counts.entry(uri.to_owned()).or_default())
        };
        let mut count = count.lock().await;
        if *count == 0 && !self.about("resources/subscribe", uri).await {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts a client out. The last one ends the subscription.
    pub(crate) async fn unsubscribe(&self, uri: &str) {
        let Some(count) = self.subscriptions.0.lock().get(uri).cloned() else {
            return;
        };
        let mut count_now = count.lock().await;
        *count_now = count_now.saturating_sub(1);
        if *count_now > 0 {
            return;
        }
        self.about("resources/unsubscribe", uri).await;
        let mut counts = self.subscriptions.0.lock();
        // Held there and here, and by nothing that waits.
        if Arc::strong_count(&count) == 2 {
            counts.remove(uri);
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
