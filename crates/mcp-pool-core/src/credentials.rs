//! Refusals of the credentials with which sessions were opened.
//!
//! Credentials are numbered in the order in which they were given out. A server that refuses one number has refused
//! those before it too, for all purposes: sessions that were opened with them serve no more callers. So
//! a thousand callers who meet the same refusal find the same number, and the source of the
//! credentials is asked once for all of them, by the next opening.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{challenge::AuthChallenge, source::Asked};

/// The refusals that one connector has met.
#[derive(Debug, Default)]
pub(crate) struct RefusalTracker {
    /// The highest number that was refused.
    refused: AtomicU64,
    /// Why the last number was refused.
    refusal: Mutex<Option<Refusal>>,
    /// The highest number with which a request was answered.
    proven: AtomicU64,
    /// The highest number that made the pool pause.
    paused: AtomicU64,
    /// Pauses in a row, without an answer in between.
    pauses: AtomicU32,
}

/// Why a server refused credentials.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The highest number that was refused in this way.
    number: u64,
    pub(crate) asked: Asked,
    pub(crate) challenge: Option<AuthChallenge>,
}

/// The credentials that one session goes by.
#[derive(Clone, Debug)]
pub(crate) struct IssuedCredentials {
    tracker: Arc<RefusalTracker>,
    number: u64,
    /// Why the source was asked for them.
    why: Option<Refusal>,
    since: Instant,
}

/// What is the matter with credentials that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The credentials were good once, or may have lain about: new ones may help.
    Stale,
    /// They were requested after a refusal: requesting them once more would not help.
    Wrong,
}

impl IssuedCredentials {
    /// Credentials given out for a first time, or because the ones before were refused.
    pub(crate) fn new(tracker: Arc<RefusalTracker>, number: u64, why: Option<Refusal>) -> Self {
        Self {
            tracker,
            number,
            why,
            since: Instant::now(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether the server has refused them, or later ones.
    pub(crate) fn is_refused(&self) -> bool {
        self.number <= self.tracker.refused.load(Ordering::Acquire)
    }

    /// The server has refused them, here or on another session.
    pub(crate) fn refuse(&self) -> Bad {
        /// What was good for so long has been good, even if unused.
        const NEW: Duration = Duration::from_secs(60);
        self.tracker
            .refused
            .fetch_max(self.number, Ordering::AcqRel);
        let proven = self.number <= self.tracker.proven.load(Ordering::Relaxed);
        let renewed = self.why.as_ref().map(|refusal| refusal.asked) == Some(Asked::Refused);
        if renewed && !proven && self.since.elapsed() < NEW {
            Bad::Wrong
        } else {
            Bad::Stale
        }
    }

    /// The server has answered 401 to them, with this challenge.
    pub(crate) fn refuse_with(&self, challenge: Option<AuthChallenge>) {
        self.note(Asked::Refused, challenge);
        self.refuse();
    }

    /// The server has answered 403 `insufficient_scope` to them. They are refused, unless they were asked for because of
    /// the same scope: asking once more would not help.
    pub(crate) fn wants_scope(&self, challenge: AuthChallenge) {
        let before = self
            .why
            .as_ref()
            .filter(|why| why.asked == Asked::InsufficientScope);
        let before = before.and_then(|why| why.challenge.as_ref());
        if before.is_none_or(|before| before.scope != challenge.scope) {
            self.note(Asked::InsufficientScope, Some(challenge));
            self.refuse();
        }
    }

    fn note(&self, asked: Asked, challenge: Option<AuthChallenge>) {
        let mut refusal = self.tracker.refusal.lock();
        if refusal
            .as_ref()
            .is_none_or(|refusal| refusal.number < self.number)
        {
            *refusal = Some(Refusal {
                number: self.number,
                asked,
                challenge,
            });
        }
    }

    /// Why the server has refused them, or later ones; `None` if it has not.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if !self.is_refused() {
            return None;
        }
        let refusal = self.tracker.refusal.lock();
        let refusal = refusal
            .as_ref()
            .filter(|refusal| refusal.number >= self.number);
        Some(refusal.cloned().unwrap_or(Refusal {
            number: self.number,
            asked: Asked::Refused,
            challenge: None,
        }))
    }

    /// The server has answered a request that carried them.
    pub(crate) fn prove(&self) {
        if self.tracker.proven.load(Ordering::Relaxed) < self.number {
            self.tracker
                .proven
                .fetch_max(self.number, Ordering::Relaxed);
            self.tracker.pauses.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the pool has yet to pause because of them, and how many times in a row that makes.
    pub(crate) fn pause(&self) -> Option<u32> {
        let first = self
            .tracker
            .paused
            .fetch_max(self.number, Ordering::Relaxed)
            < self.number;
        first.then(|| self.tracker.pauses.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(tracker: &Arc<RefusalTracker>, number: u64, asked: Asked) -> IssuedCredentials {
        let why = (asked != Asked::Open).then(|| Refusal {
            number: number - 1,
            asked,
            challenge: None,
        });
        IssuedCredentials::new(Arc::clone(tracker), number, why)
    }

    #[test]
    fn a_scope_that_was_asked_for_and_is_still_missing_is_not_asked_for_again() {
        let tracker = Arc::default();
        let lacking = |scope: &str| {
            let header = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
            AuthChallenge::parse(&header).unwrap()
        };
        let first = issued(&tracker, 1, Asked::Open);
        first.wants_scope(lacking("write"));
        let refusal = first.refusal().unwrap();
        assert_eq!(refusal.asked, Asked::InsufficientScope);
        let second = IssuedCredentials::new(Arc::clone(&tracker), 2, Some(refusal));
        second.wants_scope(lacking("write"));
        assert!(!second.is_refused());
        second.wants_scope(lacking("admin"));
        assert!(second.is_refused());
    }

    #[test]
    fn a_refusal_reaches_back_and_not_forward() {
        let tracker = Arc::default();
        let [first, second, third] = [1, 2, 3].map(|number| issued(&tracker, number, Asked::Open));
        second.refuse();
        assert!(first.is_refused() && second.is_refused());
        assert!(!third.is_refused());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_of_asking_anew_and_never_served_is_wrong_and_not_stale() {
        let tracker = Arc::default();
        assert_eq!(issued(&tracker, 1, Asked::Open).refuse(), Bad::Stale);
        assert_eq!(issued(&tracker, 2, Asked::Refused).refuse(), Bad::Wrong);
        let proven = issued(&tracker, 3, Asked::Refused);
        proven.prove();
        assert_eq!(proven.refuse(), Bad::Stale);
        let old = issued(&tracker, 4, Asked::Refused);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(old.refuse(), Bad::Stale);
    }

    #[test]
    fn the_pool_pauses_once_for_each_number_and_longer_each_time_until_one_serves() {
        let tracker = Arc::default();
        let [one, two, three] = [1, 2, 3].map(|number| issued(&tracker, number, Asked::Refused));
        assert_eq!((one.pause(), one.pause()), (Some(1), None));
        assert_eq!((two.pause(), one.pause()), (Some(2), None));
        three.prove();
        assert_eq!(three.pause(), Some(1));
    }
}
