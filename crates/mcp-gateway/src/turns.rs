//! Whose turn it is at a server that asks and does not say which call it asks for.
//!
//! Modern clients that can do the same share a session, so that a question of a legacy server over stdio could reach the
//! wrong one of them. Calls run side by side until a server asks so; from then on it has one call at a time on this session.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rmcp::{ErrorData, model::ErrorCode};
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
    time::timeout,
};

use crate::message::own_error;

/// The turns at the servers of one session.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<Turn>>>);

#[derive(Debug, Default)]
struct Turn {
    asks: AtomicBool,
    /// Held by each call; alone, once the server asks.
    calls: Arc<RwLock<()>>,
}

/// The turn of a call, until it is dropped.
#[derive(Debug)]
pub(crate) enum Held {
    WithOthers(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

impl Turns {
    fn at(&self, server: &str) -> Arc<Turn> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(server) {
            return Arc::clone(turn);
        }
        Arc::clone(turns.entry(server.to_owned()).or_default())
    }

    /// Notes that this server asks without a word on which call it asks for.
    pub(crate) fn asks(&self, server: &str) {
        self.at(server).asks.store(true, Ordering::Release);
    }

    /// Waits until a call to this server may begin.
    ///
    /// # Errors
    /// If the calls before it do not end soon.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn take(&self, server: &str) -> Result<Held, ErrorData> {
        let turn = self.at(server);
        let calls = Arc::clone(&turn.calls);
        let taken = timeout(LONGEST, async {
            if !turn.asks.load(Ordering::Acquire) {
                let held = Arc::clone(&calls).read_owned().await;
                // It may have asked meanwhile.
                if !turn.asks.load(Ordering::Acquire) {
                    return Held::WithOthers(held);
                }
            }
            Held::Alone(calls.write_owned().await)
        });
        taken.await.map_err(|_| {
            let message = format!(
                "server `{server}` waits for another client's answer, and takes one call at a time"
            );
            let hint = "call again later, or give each client a token of its own";
            own_error(ErrorCode::INTERNAL_ERROR, message, "checkout", hint)
        })
    }
}

/// How long a call waits for those before it.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_run_side_by_side_until_their_server_asks() {
        let turns = Turns::default();
        let before = [
            turns.take("one").await.unwrap(),
            turns.take("one").await.unwrap(),
        ];
        turns.asks("one");
        assert!(turns.take("one").now_or_never().is_none(), "they go on");
        drop(before);
        let first = turns.take("one").await.unwrap();
        assert!(turns.take("one").now_or_never().is_none());
        assert!(turns.take("two").now_or_never().is_some(), "another server");
        let late = turns.take("one").await.unwrap_err();
        assert!(late.message.contains("one call at a time"), "{late:?}");
        drop(first);
        turns.take("one").await.unwrap();
    }
}
