//! The alert tracker: alerts over time, and their silences.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Alert, AlertEvent, AlertKind, AlertRules, Condition, Moment, Severity};
use crate::snapshot::Summary;

/// A year.
const LONGEST_SILENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The alerts of all servers, active and past.
///
/// It has no clock and no task: the caller passes a [`Summary`] and the time every few seconds.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    rules: AlertRules,
    open: BTreeMap<(String, AlertKind), Open>,
    /// Resolved ones, the oldest first.
    past: VecDeque<Alert>,
    silences: BTreeMap<(String, AlertKind), Silence>,
}

/// A condition that has been observed and is not over.
#[derive(Clone, Debug)]
struct Open {
    since: Instant,
    seen: Instant,
    /// The alert, once the condition has held for `raise_after`.
    alert: Option<Alert>,
}

#[derive(Clone, Copy, Debug)]
struct Silence {
    until: Instant,
    shown: SystemTime,
}

impl Alerts {
    /// How many alerts are kept. Active ones are always kept.
    pub const KEPT: usize = 1_000;

    /// No alerts yet, under these rules.
    #[must_use]
    pub fn new(rules: AlertRules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &AlertRules {
        &self.rules
    }

    /// Updates the alerts from a summary, and returns what has changed. Alerts of servers that are not in the summary are
    /// resolved.
    pub fn observe(&mut self, summary: &Summary, now: Moment) -> Vec<AlertEvent> {
        let mut events = self.end_silences(now);
        for server in &summary.pool_metrics {
            for condition in self.rules.conditions(server) {
                self.observed(&server.server_name, condition, now, &mut events);
            }
        }
        let known = |name: &str| {
            let servers = summary.pool_metrics.iter();
            servers.into_iter().any(|server| server.server_name == name)
        };
        let patience = self.rules.resolve_after;
        let over: Vec<_> = self
            .open
            .iter()
            .filter(|((server, _), open)| open.is_over(now.instant, patience) || !known(server))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            if let Some(mut alert) = self.open.remove(&key).and_then(|open| open.alert) {
                alert.resolved_at = Some(now.wall);
                events.push(AlertEvent::Resolved(alert.clone()));
                self.past.push_back(alert);
            }
        }
        self.forget_the_oldest();
        events
    }

    /// Silences alerts of a server and kind for this time, an active one and later ones. Zero ends a silence.
    pub fn silence(&mut self, server: &str, kind: AlertKind, time: Duration, now: Moment) {
        let key = (server.to_owned(), kind);
        let time = time.min(LONGEST_SILENCE);
        let silence = (!time.is_zero()).then(|| Silence {
            until: now.instant + time,
            shown: now.wall + time,
        });
        if let Some(alert) = self.open.get_mut(&key).and_then(|open| open.alert.as_mut()) {
            alert.silenced_until = silence.map(|silence| silence.shown);
        }
        match silence {
            Some(silence) => self.silences.insert(key, silence),
            None => self.silences.remove(&key),
        };
    }

    /// Ends silences that have passed, and raises alerts again that are active.
    fn end_silences(&mut self, now: Moment) -> Vec<AlertEvent> {
        let mut events = Vec::new();
        let open = &mut self.open;
        self.silences.retain(|key, silence| {
            if silence.until > now.instant {
                return true;
            }
            if let Some(alert) = open.get_mut(key).and_then(|open| open.alert.as_mut()) {
                alert.silenced_until = None;
                events.push(AlertEvent::Raised(alert.clone()));
            }
            false
        });
        events
    }

    /// Active alerts and those resolved, the latest raised first.
    #[must_use]
    pub fn all(&self) -> Vec<Alert> {
        let mut all: Vec<_> = self.active().chain(&self.past).cloned().collect();
        all.sort_by_key(|alert| std::cmp::Reverse(alert.raised_at));
        all
    }

    /// Alerts that are not resolved, in the order of their servers.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.open.values().filter_map(|open| open.alert.as_ref())
    }

    /// The alerts of a server that are active, each kind with its severity.
    pub fn of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = (AlertKind, Severity)> + 'a {
        self.active()
            .filter(move |alert| alert.server == server)
            .map(|alert| (alert.kind, alert.severity))
    }

    fn observed(
        &mut self,
        server: &str,
        condition: Condition,
        now: Moment,
        events: &mut Vec<AlertEvent>,
    ) {
        let Condition {
            kind,
            severity,
            value,
            threshold,
            message,
        } = condition;
        let message = format!("server `{}`: {message}", server.escape_debug());
        let silence = self.silences.get(&(server.to_owned(), kind));
        let silenced_until = silence.map(|silence| silence.shown);
        let open = match self.open.entry((server.to_owned(), kind)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Open {
                since: now.instant,
                seen: now.instant,
                alert: None,
            }),
        };
        open.seen = now.instant;
        if let Some(alert) = &mut open.alert {
            alert.last_seen = now.wall;
            alert.value = value;
            alert.threshold = threshold;
            alert.message = message;
            // Never back to a warning: a value that wavers would be reported each time.
            if severity > alert.severity {
                alert.severity = severity;
                events.push(AlertEvent::Escalated(alert.clone()));
            }
        } else if now.instant.saturating_duration_since(open.since) >= self.rules.raise_after {
            let alert = Alert {
                server: server.to_owned(),
                server_name: server.to_owned(),
                kind,
                severity,
                message,
                value,
                threshold,
                raised_at: now.wall,
                last_seen: now.wall,
                resolved_at: None,
                silenced_until,
            };
            events.push(AlertEvent::Raised(alert.clone()));
            open.alert = Some(alert);
        }
    }

    fn forget_the_oldest(&mut self) {
        let room = Self::KEPT.saturating_sub(self.active().count());
        let too_many = self.past.len().saturating_sub(room);
        self.past.drain(..too_many);
    }
}

impl Open {
    /// Whether the condition is gone for `patience`, or at all if it has raised no alert.
    fn is_over(&self, now: Instant, patience: Duration) -> bool {
        let gone = now.saturating_duration_since(self.seen);
        match self.alert {
            Some(_) => gone >= patience && !gone.is_zero(),
            None => !gone.is_zero(),
        }
    }
}
