//! The router against random histories: its promises are checked after every event.

mod promises;

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

type Waiter = u64;
/// A session as its number and the scope it was opened for.
type Session = (u64, Option<ScopeId>);

#[derive(Clone, Debug)]
enum Event {
    Acquire {
        scope: u64,
        whole: bool,
        background: bool,
    },
    Cancel(usize),
    Release(usize),
    Opened(usize),
    OpenFailed(usize, bool),
    Abandoned(usize),
    Housed(bool),
    Retire(usize),
    Broke(usize),
    Closed(usize),
    Suspect(usize),
    Cleared(usize),
    Gate(bool),
    Suspend,
    Resume,
    WarmUp,
    Refill(bool),
    EndScope(u64),
    Owe,
    Forgive,
    Resize {
        max_connections: u32,
        max_in_flight: u32,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let n = 0..64usize;
    prop_oneof![
        10 => (0..4u64, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(scope, whole, background)| Event::Acquire { scope, whole, background }),
        3 => n.clone().prop_map(Event::Cancel),
        10 => n.clone().prop_map(Event::Release),
        6 => n.clone().prop_map(Event::Opened),
        1 => (n.clone(), any::<bool>()).prop_map(|(i, gate)| Event::OpenFailed(i, gate)),
        1 => n.clone().prop_map(Event::Abandoned),
        1 => prop::bool::weighted(0.7).prop_map(Event::Housed),
        1 => n.clone().prop_map(Event::Retire),
        1 => n.clone().prop_map(Event::Broke),
        3 => n.clone().prop_map(Event::Closed),
        1 => n.clone().prop_map(Event::Suspect),
        2 => n.prop_map(Event::Cleared),
        1 => any::<bool>().prop_map(Event::Gate),
        1 => Just(Event::Suspend),
        2 => Just(Event::Resume),
        1 => Just(Event::WarmUp),
        1 => any::<bool>().prop_map(Event::Refill),
        1 => (0..4u64).prop_map(Event::EndScope),
        2 => Just(Event::Owe),
        1 => Just(Event::Forgive),
        1 => (1..5u32, 1..5u32).prop_map(|(max_connections, max_in_flight)| Event::Resize {
            max_connections,
            max_in_flight,
        }),
    ]
}

struct Queued {
    ticket: Ticket,
    caller: Caller,
    scope: Option<ScopeId>,
    claim: Claim,
}

struct Leased {
    key: SessionKey,
    claim: Claim,
    waiter: Waiter,
}

struct World {
    router: Router<Session, Waiter>,
    pinned: bool,
    next_waiter: Waiter,
    next_session: u64,
    /// The scope behind each of the four names; a name whose scope ended gets a new one.
    scopes: [u64; 4],
    next_scope: u64,
    queued: BTreeMap<Waiter, Queued>,
    leases: Vec<Leased>,
    openings: Vec<Option<ScopeId>>,
    closing: Vec<SessionKey>,
    served: HashSet<Waiter>,
    /// What another pool is owed, by the ticket after which it was promised.
    owed: Option<u64>,
    /// The most places ever allowed since they were last all within the limit.
    max_places: u32,
}

impl World {
    fn new(limits: Limits, pinned: bool) -> Self {
        Self {
            router: Router::new(limits),
            pinned,
            next_waiter: 0,
            next_session: 0,
            scopes: [0, 1, 2, 3],
            next_scope: 4,
            queued: BTreeMap::new(),
            leases: Vec::new(),
            openings: Vec::new(),
            closing: Vec::new(),
            served: HashSet::new(),
            owed: None,
            max_places: limits.max_connections,
        }
    }

    fn scope(&self, name: u64) -> Option<ScopeId> {
        self.pinned.then(|| ScopeId(self.scopes[name as usize]))
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Acquire {
                scope,
                whole,
                background,
            } => {
                let (claim, caller) = match (whole, background) {
                    (true, _) => (Claim::Whole, Caller::Foreground),
                    (false, true) => (Claim::Share, Caller::Background),
                    (false, false) => (Claim::Share, Caller::Foreground),
                };
                self.acquire(caller, self.scope(scope), claim);
            }
            Event::Cancel(i) => {
                let Some(waiter) =
                    pick(i, self.queued.len()).and_then(|i| self.queued.keys().nth(i).copied())
                else {
                    return;
                };
                let queued = self.queued.remove(&waiter).expect("picked");
                assert_eq!(
                    self.router.cancel(queued.scope, queued.ticket),
                    Some(waiter)
                );
            }
            Event::Release(i) => {
                if let Some(i) = pick(i, self.leases.len()) {
                    let lease = self.leases.swap_remove(i);
                    self.router.release(lease.key, lease.claim);
                }
            }
            Event::Opened(i) => {
                if let Some(i) = pick(i, self.openings.len()) {
                    let scope = self.openings.swap_remove(i);
                    self.next_session += 1;
                    self.router.opened(scope, (self.next_session, scope));
                }
            }
            Event::OpenFailed(i, gate) => {
                if let Some(i) = pick(i, self.openings.len()) {
                    let scope = self.openings.swap_remove(i);
                    self.router.set_gate(gate);
                    self.router.open_failed(scope);
                }
            }
            Event::Abandoned(i) => {
                if let Some(i) = pick(i, self.openings.len()) {
                    let scope = self.openings.swap_remove(i);
                    self.router.open_abandoned(scope);
                }
            }
            Event::Housed(has_runtime) => self.router.set_has_runtime(has_runtime),
            Event::Retire(i) => {
                self.on_session(i, |router, key| {
                    router.retire(key, CloseReason::Idle);
                });
            }
            Event::Broke(i) => {
                self.on_session(i, |router, key| {
                    router.broke(key, CloseReason::Broken);
                });
            }
            Event::Suspect(i) => self.on_session(i, Router::suspect),
            Event::Cleared(i) => self.on_session(i, Router::cleared),
            Event::Closed(i) => {
                if let Some(i) = pick(i, self.closing.len()) {
                    let key = self.closing.swap_remove(i);
                    self.router.closed(key);
                }
            }
            Event::Gate(open) => self.router.set_gate(open),
            Event::Suspend => self.router.suspend(),
            Event::Resume => self.router.resume(),
            Event::WarmUp => self.router.warm_up(),
            Event::Refill(true) => self.router.resume_refill(),
            Event::Refill(false) => self.router.pause_refill(),
            Event::EndScope(name) if self.pinned => {
                let scope = ScopeId(self.scopes[name as usize]);
                self.scopes[name as usize] = self.next_scope;
                self.next_scope += 1;
                self.router.end_scope(scope);
            }
            Event::EndScope(_) => {}
            Event::Owe => {
                self.owed.get_or_insert(self.router.sequence + 1);
                self.router.owe();
            }
            Event::Forgive => {
                self.owed = None;
                self.router.forgive();
            }
            Event::Resize {
                max_connections,
                max_in_flight,
            } => {
                let limits = Limits {
                    max_connections,
                    max_in_flight,
                    scale_up_at: self.router.limits.scale_up_at.min(max_in_flight),
                    min_connections: self.router.limits.min_connections.min(max_connections),
                    ..self.router.limits()
                };
                self.router.configure(limits);
            }
        }
        let opened = self.carry_out();
        self.check();
        // A cut retires one session after another, and looks for what to open between them.
        if opened && !matches!(event, Event::Resize { .. }) {
            self.no_session_too_many_is_opened();
        }
    }

    fn acquire(&mut self, caller: Caller, scope: Option<ScopeId>, claim: Claim) {
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        let had_room = self.someone_can_take(scope, claim) && self.router.mode == Mode::Running;
        let line_empty = !self.queued.values().any(|queued| queued.scope == scope);
        if self.router.lost_state(scope, true).is_some() {
            assert_eq!(self.router.lost_state(scope, true), None, "reported twice");
            return;
        }
        match self.router.acquire_for(caller, scope, claim, || waiter) {
            Answer::Granted(grant) => {
                let overtakes = |other: &Queued| other.scope == scope && other.claim == claim;
                assert!(
                    !self.queued.values().any(overtakes),
                    "a newcomer is served before one who waits"
                );
                self.lease(waiter, scope, grant);
            }
            Answer::Queued(ticket) => {
                assert!(
                    !(had_room && line_empty),
                    "a caller waits though a session has room"
                );
                self.queued.insert(
                    waiter,
                    Queued {
                        ticket,
                        caller,
                        scope,
                        claim,
                    },
                );
            }
            Answer::Refused(Refusal::QueueFull) => {
                assert_eq!(caller, Caller::Foreground);
                assert_eq!(self.router.waiters(), self.router.limits.max_waiters);
            }
            Answer::Refused(Refusal::OpenFailed) => {
                assert!(!self.router.gate_open);
                self.has_nothing_to_wait_for(scope);
            }
            Answer::Refused(Refusal::Closed) => assert_eq!(self.router.mode, Mode::Closed),
            Answer::Refused(Refusal::StateLost(_)) => unreachable!("reported above"),
        }
    }

    fn on_session(&mut self, i: usize, act: impl FnOnce(&mut Router<Session, Waiter>, SessionKey)) {
        let keys: Vec<_> = self.router.sessions().map(|(key, ..)| key).collect();
        if let Some(i) = pick(i, keys.len()) {
            act(&mut self.router, keys[i]);
        }
    }

    /// Returns whether a session is to be opened for the shared queue.
    fn carry_out(&mut self) -> bool {
        let mut opened = false;
        let actions: Vec<_> = self.router.drain_actions().collect();
        for action in actions {
            match action {
                Action::Serve { waiter, grant } => {
                    let queued = self
                        .queued
                        .remove(&waiter)
                        .expect("only who waits is served");
                    let overtaken = self.queued.values().find(|other| {
                        other.scope == queued.scope
                            && other.claim == queued.claim
                            && other.ticket < queued.ticket
                    });
                    assert!(overtaken.is_none(), "served before one who came earlier");
                    self.lease(waiter, queued.scope, grant);
                }
                Action::Refuse { waiter, refusal } => {
                    let queued = self
                        .queued
                        .remove(&waiter)
                        .expect("only who waits is refused");
                    self.is_refused_with_reason(&queued, refusal);
                }
                Action::Open { scope } => {
                    opened |= scope.is_none();
                    self.is_next_to_be_opened(scope);
                    self.openings.push(scope);
                }
                Action::Yield { session } => {
                    let owed = self
                        .owed
                        .take()
                        .expect("nothing is given up without a request");
                    assert_eq!(session.1, None, "the session of a scope was given up");
                    let before = |other: &Queued| other.scope.is_none() && other.ticket.0 < owed;
                    assert!(
                        !self.queued.values().any(before),
                        "given up before one who came earlier was served"
                    );
                }
                Action::Close { session, .. } => {
                    let found = self.router.sessions().find(|(_, s, ..)| **s == session);
                    self.closing
                        .push(found.expect("what closes holds a place").0);
                }
            }
        }
        opened
    }

    fn lease(&mut self, waiter: Waiter, scope: Option<ScopeId>, grant: Grant<Session>) {
        assert!(self.served.insert(waiter), "served twice");
        assert_eq!(grant.session.1, scope, "a pinned session crossed scopes");
        let others: Vec<_> = self
            .leases
            .iter()
            .filter(|lease| lease.key == grant.key)
            .collect();
        assert!(
            others.iter().all(|other| other.claim == Claim::Share),
            "shared what another has whole"
        );
        match grant.claim {
            Claim::Share => assert!(
                (others.len() as u32) < self.router.limits.max_in_flight,
                "too many on one session"
            ),
            Claim::Whole => assert!(others.is_empty(), "given whole while shared"),
        }
        self.leases.push(Leased {
            key: grant.key,
            claim: grant.claim,
            waiter,
        });
    }

    fn someone_can_take(&self, scope: Option<ScopeId>, claim: Claim) -> bool {
        let max = self.router.limits.max_in_flight;
        self.router
            .entries
            .iter()
            .any(|(_, entry)| entry.scope == scope && entry.can_take(claim, max))
    }

    /// Everything comes back, and the books are balanced.
    fn wind_down(&mut self) {
        self.router.close();
        self.carry_out();
        assert!(self.queued.is_empty(), "closing answers everyone");
        for lease in std::mem::take(&mut self.leases) {
            self.router.release(lease.key, lease.claim);
            let _ = lease.waiter;
        }
        for scope in std::mem::take(&mut self.openings) {
            self.next_session += 1;
            self.router.opened(scope, (self.next_session, scope));
        }
        self.carry_out();
        for key in std::mem::take(&mut self.closing) {
            self.router.closed(key);
        }
        self.carry_out();
        assert_eq!(
            (
                self.router.places,
                self.router.opening,
                self.router.waiters()
            ),
            (0, 0, 0)
        );
        assert_eq!(
            self.router.entries.iter().count(),
            0,
            "an entry was left behind"
        );
        assert_eq!(self.router.sums, Sums::default());
    }
}

fn pick(i: usize, len: usize) -> Option<usize> {
    (len > 0).then(|| i % len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(
        pinned in any::<bool>(),
        max_connections in 1..5u32,
        max_in_flight in 1..5u32,
        max_connecting in 1..3u32,
        min_connections in 0..3u32,
        events in prop::collection::vec(event(), 1..120),
    ) {
        let limits = Limits {
            min_connections: if pinned { 0 } else { min_connections.min(max_connections) },
            max_connections,
            max_in_flight,
            scale_up_at: max_in_flight.div_ceil(2),
            max_connecting,
            max_waiters: 12,
        };
        let mut world = World::new(limits, pinned);
        for event in &events {
            world.apply(event);
        }
        world.wind_down();
    }
}
