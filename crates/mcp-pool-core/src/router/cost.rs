//! What events cost: sessions and queues looked at, in a pool of ten and in one of ten thousand.

use super::{Answer, Claim, Grant, Limits, Router, ScopeId, SessionKey, steps};

type Pool = Router<u32, u32>;

const FEW: u32 = 10;
const MANY: u32 = 10_000;

fn pool(max_connections: u32, max_in_flight: u32) -> Pool {
    Router::new(Limits {
        min_connections: 0,
        max_connections,
        max_in_flight,
        scale_up_at: max_in_flight,
        max_connecting: u32::MAX,
        max_waiters: usize::MAX,
    })
}

fn scope(number: u32) -> Option<ScopeId> {
    Some(ScopeId(number.into()))
}

fn granted(answer: Answer<u32>) -> Grant<u32> {
    match answer {
        Answer::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

/// So many scopes with an idle session each.
fn scopes(number: u32) -> Pool {
    let mut pool = pool(2 * MANY, 4);
    for n in 0..number {
        let Answer::Queued(_) = pool.acquire(scope(n), Claim::Share, || n) else {
            panic!("there is no session yet");
        };
        let key = pool.opened(scope(n), n);
        pool.release(key, Claim::Share);
    }
    pool.drain_actions().for_each(drop);
    pool
}

/// So many sessions of the shared queue, each of them had by a caller alone.
fn held_whole(number: u32) -> (Pool, Vec<SessionKey>) {
    let mut pool = pool(number, 4);
    let keys = (0..number).map(|n| {
        let _ = pool.acquire(None, Claim::Whole, || n);
        pool.opened(None, n)
    });
    let keys = keys.collect();
    pool.drain_actions().for_each(drop);
    (pool, keys)
}

/// The work looks at as much in a small pool as in a large one.
fn costs_the_same<P>(make: impl Fn(u32) -> P, work: impl Fn(&mut P)) {
    let [few, many] = [FEW, MANY].map(|number| {
        let mut pool = make(number);
        steps::of(|| work(&mut pool))
    });
    assert!(few > 0, "nothing is counted");
    assert_eq!(few, many, "sessions and queues looked at");
}

#[test]
fn a_call_costs_the_same_among_ten_scopes_and_among_ten_thousand() {
    costs_the_same(scopes, |pool| {
        let grant = granted(pool.acquire(scope(3), Claim::Share, || 0));
        pool.release(grant.key, Claim::Share);
    });
}

#[test]
fn the_life_of_a_session_costs_the_same_among_ten_scopes_and_among_ten_thousand() {
    costs_the_same(scopes, |pool| {
        let new = scope(MANY + 1);
        let _ = pool.acquire(new, Claim::Share, || 0);
        // As the shell does with every opening that succeeds.
        pool.set_gate(true);
        let key = pool.opened(new, MANY);
        pool.suspect(key);
        pool.cleared(key);
        pool.release(key, Claim::Share);
        pool.broke(key, crate::lifecycle::CloseReason::Broken);
        pool.closed(key);
        pool.end_scope(ScopeId(u64::from(MANY + 1)));
    });
}

#[test]
fn backing_off_and_resuming_cost_the_same_among_ten_scopes_and_among_ten_thousand() {
    costs_the_same(scopes, |pool| {
        pool.set_gate(false);
        pool.set_gate(true);
        pool.suspend();
        pool.resume();
        let _ = pool.first_waiter();
        let _ = pool.anything_suspect(None);
    });
}

#[test]
fn a_caller_that_gives_up_costs_the_same_among_ten_that_wait_and_among_ten_thousand() {
    let waiting = |number| {
        let mut pool = pool(1, 1);
        let _ = pool.acquire(None, Claim::Share, || 0);
        let key = pool.opened(None, 0);
        for n in 0..number {
            let claim = [Claim::Share, Claim::Whole][n as usize % 2];
            let _ = pool.acquire(None, claim, || n);
        }
        (pool, key)
    };
    costs_the_same(waiting, |(pool, key)| {
        let Answer::Queued(ticket) = pool.acquire(None, Claim::Share, || 0) else {
            panic!("others wait");
        };
        pool.cancel(None, ticket);
        pool.release(*key, Claim::Share);
    });
}

#[test]
fn a_session_wanted_whole_costs_the_same_among_ten_that_are_held_and_among_ten_thousand() {
    let reserved = |number| {
        let (mut pool, keys) = held_whole(number);
        for n in 0..number {
            let _ = pool.acquire(None, Claim::Whole, || n);
        }
        (pool, keys)
    };
    costs_the_same(reserved, |(pool, keys)| {
        let Answer::Queued(ticket) = pool.acquire(None, Claim::Whole, || 0) else {
            panic!("all are held");
        };
        // Not the one that the first in line has reserved.
        pool.release(keys[5], Claim::Whole);
        pool.cancel(None, ticket);
    });
}

#[test]
fn growth_costs_the_same_beside_ten_sessions_and_beside_ten_thousand() {
    let busy = |number| {
        let mut pool = pool(2 * MANY, 4);
        for n in 0..4 * number {
            if let Answer::Queued(_) = pool.acquire(None, Claim::Share, || n) {
                pool.opened(None, n);
            }
        }
        pool.drain_actions().for_each(drop);
        pool
    };
    costs_the_same(busy, |pool| {
        let _ = pool.acquire(None, Claim::Share, || 0);
        let key = pool.opened(None, 0);
        pool.release(key, Claim::Share);
        let _ = pool.oldest_idle();
    });
}

#[test]
fn the_list_for_maintenance_looks_at_each_session_as_often_in_a_large_pool() {
    for make in [scopes, |number| held_whole(number).0] {
        let [few, many] = [FEW, MANY].map(|number| {
            let pool = make(number);
            steps::of(|| assert_eq!(pool.live_sessions().len(), number as usize))
        });
        assert!(few <= 8 * u64::from(FEW), "{few}");
        assert_eq!(many, few * u64::from(MANY / FEW));
    }
}
