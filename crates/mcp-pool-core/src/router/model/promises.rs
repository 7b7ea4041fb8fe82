//! What the router promises, computed from all sessions and callers.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        let router = &self.router;
        let holding = router.sessions().count() as u32;
        assert_eq!(router.places, holding);
        assert_eq!(router.opening as usize, self.openings.len());
        let limit = router.limits.max_connections;
        let used = holding + router.opening;
        // After a cut the surplus may live on, but it may not grow.
        self.max_places = if used <= limit {
            limit
        } else {
            used.min(self.max_places.max(limit))
        };
        assert!(used <= self.max_places, "more places than allowed");

        let live = router
            .entries
            .iter()
            .filter(|(_, e)| e.scope.is_none() && e.stage == Stage::Live)
            .count();
        assert!(
            self.pinned || live as u32 <= limit || router.sums.usable <= 1,
            "a surplus is kept after a cut"
        );

        let counted = |queued: &&Queued| queued.caller == Caller::Foreground;
        let waiters = self.queued.values().filter(counted).count();
        assert_eq!(router.waiters(), waiters, "a waiter was lost");
        assert_eq!(router.leases(), self.leases.len());
        assert!(waiters <= router.limits.max_waiters);
        assert!(router.opening <= router.limits.max_connecting);
        assert_eq!(router.owed.is_some(), self.owed.is_some());
        for (key, _, _, load) in router.sessions() {
            assert_eq!(
                load as usize,
                self.leases.iter().filter(|lease| lease.key == key).count(),
                "a place was lost"
            );
        }
        self.the_books_agree();

        if router.mode == Mode::Running {
            self.no_waiter_is_forgotten();
        }
    }

    /// What is kept so that nothing need be looked through is what looking through everything would find.
    fn the_books_agree(&self) {
        let router = &self.router;
        let mut sums = Sums::default();
        let mut rests_reserved = BTreeSet::new();
        for (key, entry) in router.entries.iter() {
            sums.add(entry);
            if let Some((ticket, _)) = &entry.reserved {
                let queue = router.queue(entry.scope).expect("refused with its scope");
                assert_eq!(queue.reserved.get(ticket), Some(&key));
            }
            if entry.rests_reserved() {
                rests_reserved.insert(key);
            }
        }
        let filed = |(key, e): (SessionKey, &Entry<_, _>)| {
            let load = if e.whole { by_load::WHOLE } else { e.load };
            let leased_next = e.scope.is_none() && e.usable() && e.reserved.is_none();
            leased_next.then_some((load, key.0))
        };
        let mut expected: Vec<_> = router.entries.iter().filter_map(filed).collect();
        let mut found = router.by_load.filed(&router.entries);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "the index by load");
        for name in 0..4 {
            let scope = self.scope(name);
            let opening = self.openings.iter().filter(|of| **of == scope).count();
            let known = router.queue(scope).map_or(0, |queue| queue.opening);
            assert_eq!(known as usize, opening, "openings of a queue");
        }
        assert_eq!(router.sums, sums);
        assert_eq!(router.rests_reserved, rests_reserved);
        router.queues.check();
    }

    fn no_waiter_is_forgotten(&self) {
        let router = &self.router;
        assert!(
            self.owed.is_none() || router.at_rest(None).is_none(),
            "an idle session is kept though one is owed"
        );
        let kept = |e: &Entry<_, _>| e.reserved.is_some() && e.load == 0 && e.usable();
        assert!(
            !router.entries.iter().any(|(_, entry)| kept(entry)),
            "a session at rest is kept from the caller it is reserved for"
        );
        let full = router.places + router.opening >= router.limits.max_connections
            || router.opening >= router.limits.max_connecting;
        let may_open = router.gate_open && router.has_runtime && !full;
        assert!(
            !may_open || self.wanted() <= self.supply(),
            "a session that is wanted is not opened"
        );
        for queued in self.queued.values() {
            assert!(
                !self.someone_can_take(queued.scope, queued.claim),
                "forgotten while a place is free"
            );
            if queued.claim == Claim::Whole {
                self.may_wait_for_a_whole_session(queued);
            }
            let waits_for_something =
                self.any_live(queued.scope) || self.openings.contains(&queued.scope);
            assert!(
                waits_for_something || (router.gate_open && !may_open),
                "waits for nothing: no session, no opening, though one may start or none may"
            );
        }
    }

    /// A caller who wants a session alone, and is first in line, has one reserved, or all are reserved for or held by such
    /// callers.
    fn may_wait_for_a_whole_session(&self, queued: &Queued) {
        let entries = || self.router.entries.iter().map(|(_, entry)| entry);
        let mine = |ticket: Ticket| ticket == queued.ticket;
        let reserved = entries().any(|e| e.reserved.as_ref().is_some_and(|(t, _)| mine(*t)));
        let left = entries()
            .filter(|e| e.scope == queued.scope && e.usable())
            .any(|e| !e.whole && e.reserved.is_none());
        // Its turn has not come while an earlier caller waits for any free session.
        let earlier = self.queued.values().any(|other| {
            other.scope == queued.scope
                && other.claim == Claim::Share
                && other.ticket < queued.ticket
        });
        assert!(
            reserved || !left || earlier,
            "starves though a session could be reserved"
        );
    }

    /// One session per `scale_up_at` calls that run or wait, one for each caller who wants it alone, and the minimum.
    fn wanted(&self) -> u32 {
        let entries = || self.router.entries.iter().map(|(_, entry)| entry);
        let shared = || entries().filter(|e| e.scope.is_none() && e.stage == Stage::Live);
        let usable = || shared().filter(|e| !e.suspect);
        let waiting = |claim| {
            let waits = |queued: &&Queued| queued.scope.is_none() && queued.claim == claim;
            self.queued.values().filter(waits).count() as u32
        };
        let running: u32 = usable().filter(|e| !e.whole).map(|e| e.load).sum();
        let alone = usable().filter(|e| e.whole).count() as u32 + waiting(Claim::Whole);
        let calls = running + waiting(Claim::Share);
        let wanted = calls.div_ceil(self.router.limits.scale_up_at) + alone;
        let minimum = if self.router.warm && !self.router.refill_paused {
            let suspect = shared().filter(|e| e.suspect).count() as u32;
            self.router.limits.min_connections.saturating_sub(suspect)
        } else {
            0
        };
        wanted.max(minimum)
    }

    /// Sessions of the shared queue that serve callers, or soon will.
    fn supply(&self) -> u32 {
        let usable = |e: &Entry<_, _>| e.scope.is_none() && e.usable();
        let entries = self.router.entries.iter();
        let open = entries.filter(|(_, entry)| usable(entry)).count();
        let opening = self.openings.iter().filter(|scope| scope.is_none()).count();
        (open + opening) as u32
    }

    pub(super) fn no_session_too_many_is_opened(&self) {
        assert!(self.supply() <= self.wanted(), "nothing calls for it");
    }

    /// A scope has one session, and the scope that has waited longest has its own opened first.
    pub(super) fn is_next_to_be_opened(&self, scope: Option<ScopeId>) {
        if scope.is_none() {
            return;
        }
        let has_session = |scope| self.any_live(scope) || self.openings.contains(&scope);
        assert!(!has_session(scope), "a second session for a scope");
        let waiting = self
            .queued
            .values()
            .filter(|queued| !has_session(queued.scope));
        let first = waiting.min_by_key(|queued| queued.ticket);
        assert_eq!(first.expect("one waits").scope, scope, "not its turn");
    }

    pub(super) fn is_refused_with_reason(&self, refused: &Queued, refusal: Refusal) {
        let ended = |scope: ScopeId| !self.scopes.contains(&scope.0);
        match refusal {
            Refusal::OpenFailed => self.has_nothing_to_wait_for(refused.scope),
            Refusal::StateLost(_) => {
                let before =
                    |other: &Queued| other.scope == refused.scope && other.ticket < refused.ticket;
                assert!(refused.scope.is_some(), "only a scope has state");
                assert!(!self.queued.values().any(before), "not the first in line");
            }
            Refusal::Closed => assert!(
                self.router.mode == Mode::Closed || refused.scope.is_some_and(ended),
                "refused though neither the pool is closed nor the scope has ended"
            ),
            Refusal::QueueFull => panic!("refused though it has a place in line"),
        }
    }

    pub(super) fn has_nothing_to_wait_for(&self, scope: Option<ScopeId>) {
        assert!(
            !self.any_live(scope) && !self.openings.contains(&scope),
            "refused though it has something to wait for"
        );
    }

    fn any_live(&self, scope: Option<ScopeId>) -> bool {
        let mut entries = self.router.entries.iter();
        entries.any(|(_, e)| e.scope == scope && e.stage == Stage::Live)
    }
}
