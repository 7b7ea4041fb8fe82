//! Alerts over time: raised once, resolved once.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use mcp_metrics::{
    AlertEvent, AlertKind, AlertRules, Alerts, BreakerState, ServerSnapshot, Summary,
    alert::{Moment, Severity},
};
use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Time that the test moves.
struct Clock(Moment);

impl Clock {
    fn new() -> Self {
        Self(Moment::new(Instant::now(), UNIX_EPOCH + 1_000 * SECOND))
    }

    fn after(&mut self, duration: Duration) -> Moment {
        self.0 = Moment::new(self.0.instant + duration, self.0.wall + duration);
        self.0
    }
}

fn summary(servers: impl IntoIterator<Item = ServerSnapshot>) -> Summary {
    let mut summary = Summary::default();
    summary.pool_metrics.extend(servers);
    summary
}

fn server(utilization: f64) -> ServerSnapshot {
    let mut server = ServerSnapshot::new("browser");
    server.utilization = utilization;
    server.waiters = 1;
    server
}

fn changes(events: &[AlertEvent]) -> Vec<&'static str> {
    let change = |event: &AlertEvent| match event {
        AlertEvent::Raised(_) => "raised",
        AlertEvent::Escalated(_) => "escalated",
        AlertEvent::Resolved(_) => "resolved",
        _ => "other",
    };
    events.iter().map(change).collect()
}

#[test]
fn pain_28_an_alert_is_raised_once_and_resolved_once_however_often_it_is_looked_at() {
    let (mut alerts, mut clock) = (Alerts::new(AlertRules::default()), Clock::new());
    let mut reported = Vec::new();
    // An hour of a full pool, looked at every 30 s, and then an hour of an empty one.
    for look in 0..240 {
        let utilization = if look < 120 { 1.0 } else { 0.0 };
        let now = clock.after(30 * SECOND);
        reported.extend(alerts.observe(&summary([server(utilization)]), now));
    }
    assert_eq!(changes(&reported), ["raised", "resolved"]);
    let alert = reported[1].alert();
    let lasted = alert.resolved_at.unwrap().duration_since(alert.raised_at);
    assert_eq!(lasted.unwrap(), 3_630 * SECOND);
    assert_eq!(alert.last_seen, alert.raised_at + 119 * 30 * SECOND);
    assert_eq!(alerts.active().count(), 0);
    assert_eq!(alerts.all(), std::slice::from_ref(alert));
}

#[test]
fn what_comes_and_goes_is_one_alert() {
    let (mut alerts, mut clock) = (Alerts::new(AlertRules::default()), Clock::new());
    let mut reported = Vec::new();
    for look in 0..1_000 {
        // Above and below the thresholds by turns, never gone for a minute.
        let utilization = [0.91, 0.2, 0.96, 0.9, 0.2][look % 5];
        reported.extend(alerts.observe(&summary([server(utilization)]), clock.after(10 * SECOND)));
    }
    assert_eq!(changes(&reported), ["raised", "escalated"]);
}

#[test]
fn at_the_thresholds_exactly() {
    for (utilization, severity) in [
        (0.9, None),
        (0.900_001, Some(Severity::Warning)),
        (0.949_999, Some(Severity::Warning)),
        (0.95, Some(Severity::Critical)),
    ] {
        let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
        let reported = alerts.observe(&summary([server(utilization)]), clock.after(SECOND));
        assert_eq!(
            reported.first().map(|event| event.alert().severity),
            severity,
            "{utilization}"
        );
    }
}

#[test]
fn it_is_resolved_when_the_condition_has_been_gone_for_as_long_as_the_rules_say() {
    let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
    alerts.observe(&summary([server(1.0)]), clock.after(SECOND));
    let well = summary([server(0.0)]);
    assert_eq!(alerts.observe(&well, clock.after(59 * SECOND)), []);
    assert_eq!(alerts.active().count(), 1);
    assert_eq!(
        changes(&alerts.observe(&well, clock.after(SECOND))),
        ["resolved"]
    );
    // And may be raised again.
    assert_eq!(
        changes(&alerts.observe(&summary([server(1.0)]), clock.after(SECOND))),
        ["raised"]
    );
    assert_eq!(alerts.all().len(), 2);
    assert!(alerts.all()[0].is_active() && !alerts.all()[1].is_active());
}

#[test]
fn with_raise_after_a_moment_is_no_alert_and_two_moments_are_none_either() {
    let mut rules = AlertRules::default();
    rules.raise_after = 10 * SECOND;
    let (mut alerts, mut clock) = (Alerts::new(rules), Clock::new());
    for _ in 0..10 {
        assert_eq!(
            alerts.observe(&summary([server(1.0)]), clock.after(9 * SECOND)),
            []
        );
        assert_eq!(
            alerts.observe(&summary([server(0.0)]), clock.after(9 * SECOND)),
            []
        );
    }
    assert_eq!(
        alerts.observe(&summary([server(1.0)]), clock.after(9 * SECOND)),
        []
    );
    assert_eq!(
        changes(&alerts.observe(&summary([server(1.0)]), clock.after(10 * SECOND))),
        ["raised"]
    );
}

#[test]
fn an_alert_is_brought_up_to_date_without_a_word() {
    let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
    alerts.observe(&summary([server(0.97)]), clock.after(SECOND));
    assert_eq!(
        alerts.observe(&summary([server(0.92)]), clock.after(SECOND)),
        []
    );
    let alert = alerts.active().next().unwrap();
    assert_eq!((alert.value, alert.threshold), (0.92, 0.9));
    // As bad as it has been.
    assert_eq!(alert.severity, Severity::Critical);
    let of = |name| alerts.of(name).collect::<Vec<_>>();
    assert_eq!(
        of("browser"),
        [(AlertKind::PoolExhaustion, Severity::Critical)]
    );
    assert_eq!(of("another"), []);
}

#[test]
fn the_alerts_of_a_server_that_is_no_more_are_resolved() {
    let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
    alerts.observe(&summary([server(1.0)]), clock.after(SECOND));
    assert_eq!(
        changes(&alerts.observe(&summary([]), clock.after(SECOND))),
        ["resolved"]
    );
}

#[test]
fn a_thousand_are_remembered_and_the_active_ones_are_among_them() {
    let mut rules = AlertRules::default();
    rules.resolve_after = SECOND;
    let (mut alerts, mut clock) = (Alerts::new(rules), Clock::new());
    let mut lasting = ServerSnapshot::new("lasting");
    lasting.circuit_breaker_state = BreakerState::Open;
    for _ in 0..1_500 {
        alerts.observe(
            &summary([lasting.clone(), server(1.0)]),
            clock.after(SECOND),
        );
        alerts.observe(
            &summary([lasting.clone(), server(0.0)]),
            clock.after(SECOND),
        );
    }
    let all = alerts.all();
    assert_eq!(all.len(), Alerts::KEPT);
    assert_eq!(all.iter().filter(|alert| alert.is_active()).count(), 1);
    assert!(all.is_sorted_by(|a, b| a.raised_at >= b.raised_at));
}

#[test]
fn an_alert_in_json() {
    let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
    alerts.observe(&summary([server(1.0)]), clock.after(SECOND));
    assert_eq!(
        serde_json::to_value(alerts.all()).unwrap(),
        serde_json::json!([{
            "server": "browser",
            "server_name": "browser",
            "kind": "pool_exhaustion",
            "severity": "critical",
            "message": "server `browser`: 0 of 0 places are taken, 0 callers wait (max_connections, max_in_flight)",
            "value": 1.0,
            "threshold": 0.95,
            "raised_at": "1970-01-01T00:16:41.000Z",
            "last_seen": "1970-01-01T00:16:41.000Z",
            "resolved_at": null,
            "silenced_until": null,
        }])
    );
}

/// What a server is like at a look: how full, whether its breaker is open, and seconds since the look before.
type Look = (u8, bool, u32);

/// The promises, said another way: for each kind on its own, from the history of its condition.
fn expected(looks: &[Look], rules: &AlertRules, kind: AlertKind) -> Vec<&'static str> {
    let mut reported = Vec::new();
    let (mut now, mut last_held, mut began) = (0, None::<u64>, None::<u64>);
    let mut active: Option<Severity> = None;
    for (full, open, pause) in looks {
        now += u64::from(*pause);
        let severity = match kind {
            AlertKind::CircuitBreakerOpen => open.then_some(Severity::Critical),
            _ if *full >= 95 => Some(Severity::Critical),
            _ if *full > 90 => Some(Severity::Warning),
            _ => None,
        };
        match (severity, active) {
            (Some(severity), Some(worst)) => {
                last_held = Some(now);
                if severity > worst {
                    reported.push("escalated");
                    active = Some(severity);
                }
            }
            (Some(severity), None) => {
                last_held = Some(now);
                let since = *began.get_or_insert(now);
                if now - since >= rules.raise_after.as_secs() {
                    reported.push("raised");
                    active = Some(severity);
                }
            }
            (None, Some(_)) => {
                if now - last_held.unwrap() >= rules.resolve_after.as_secs() {
                    reported.push("resolved");
                    (active, began) = (None, None);
                }
            }
            (None, None) => began = None,
        }
    }
    reported
}

proptest! {
    #[test]
    fn any_history_is_told_as_promised(
        looks in vec((prop_oneof![Just(0), 85..100_u8], any::<bool>(), 1..40_u32), 1..200),
        raise_after in 0..30_u32,
        resolve_after in 0..90_u32,
    ) {
        let mut rules = AlertRules::default();
        rules.raise_after = raise_after * SECOND;
        rules.resolve_after = resolve_after * SECOND;
        let (mut alerts, mut clock) = (Alerts::new(rules.clone()), Clock::new());
        let mut reported: BTreeMap<AlertKind, Vec<AlertEvent>> = BTreeMap::new();
        for (full, open, pause) in &looks {
            let mut server = server(f64::from(*full) / 100.0);
            if *open {
                server.circuit_breaker_state = BreakerState::Open;
            }
            for event in alerts.observe(&summary([server]), clock.after(*pause * SECOND)) {
                reported.entry(event.alert().kind).or_default().push(event);
            }
            // Never two active ones of a kind.
            prop_assert!(alerts.active().map(|alert| alert.kind).is_sorted_by(|a, b| a < b));
        }
        for kind in [AlertKind::PoolExhaustion, AlertKind::CircuitBreakerOpen] {
            let events = reported.remove(&kind).unwrap_or_default();
            prop_assert_eq!(changes(&events), expected(&looks, &rules, kind), "{}", kind);
            for event in events {
                let alert = event.alert();
                prop_assert!(alert.raised_at <= alert.last_seen);
                let resolved = alert.resolved_at.unwrap_or(alert.last_seen);
                prop_assert!(alert.last_seen <= resolved);
            }
        }
        prop_assert!(reported.is_empty());
    }
}

#[test]
fn a_silenced_alert_says_so_and_is_raised_again_when_the_silence_ends() {
    let (mut alerts, mut clock) = (Alerts::default(), Clock::new());
    let mut look = |alerts: &mut Alerts, after| {
        let reported = alerts.observe(&summary([server(1.0)]), clock.after(after));
        let silenced: Vec<_> = reported
            .iter()
            .map(|reported| reported.alert().silenced_until.is_some())
            .collect();
        (changes(&reported), silenced)
    };
    assert_eq!(look(&mut alerts, SECOND), (vec!["raised"], vec![false]));
    let kind = AlertKind::PoolExhaustion;
    let now = Moment::new(Instant::now() + SECOND, UNIX_EPOCH + 1_001 * SECOND);
    alerts.silence("browser", kind, 60 * SECOND, now);
    let until = alerts.active().next().unwrap().silenced_until;
    assert_eq!(until, Some(UNIX_EPOCH + 1_061 * SECOND));
    assert_eq!(look(&mut alerts, 50 * SECOND), (vec![], vec![]));
    assert_eq!(
        look(&mut alerts, 30 * SECOND),
        (vec!["raised"], vec![false])
    );
    // One that is raised under a silence is reported as such; ending the silence by hand is no event.
    let mut later = Alerts::default();
    later.silence("browser", kind, 600 * SECOND, now);
    assert_eq!(look(&mut later, SECOND), (vec!["raised"], vec![true]));
    later.silence("browser", kind, Duration::ZERO, now);
    assert_eq!(later.active().next().unwrap().silenced_until, None);
}
