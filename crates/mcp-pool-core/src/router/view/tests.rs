use crate::{
    lifecycle::CloseReason,
    router::{
        Answer, Claim, Refusal, ScopeId, SessionKey, Stage,
        tests::{Pool, pool, scope, served, wait},
    },
};

/// Opens a session for a caller, who holds it.
fn open(pool: &mut Pool, scope: Option<ScopeId>, number: u32) -> SessionKey {
    wait(pool, scope);
    let key = pool.opened(scope, number);
    assert_eq!(served(pool).len(), 1);
    key
}

/// So many sessions of the shared queue, each held by one caller.
fn held(pool: &mut Pool, sessions: u32) -> Vec<SessionKey> {
    (0..sessions)
        .map(|number| open(pool, None, number))
        .collect()
}

#[test]
fn a_pool_runs_is_suspended_or_is_closed_for_good() {
    let mut pool = pool(|_| {});
    let modes = |pool: &Pool| (pool.is_suspended(), pool.is_closed());
    assert_eq!(modes(&pool), (false, false));
    pool.resume();
    assert_eq!(modes(&pool), (false, false));
    pool.suspend();
    assert_eq!(modes(&pool), (true, false));
    pool.resume();
    assert_eq!(modes(&pool), (false, false));
    pool.close();
    pool.suspend();
    pool.resume();
    assert_eq!(modes(&pool), (false, true));
    let refused = pool.acquire(None, Claim::Share, || 0);
    assert!(matches!(refused, Answer::Refused(Refusal::Closed)));
}

#[test]
fn leases_openings_and_waiters_are_counted() {
    let mut pool = pool(|limits| limits.max_connecting = 2);
    let counts = |pool: &Pool| (pool.leases(), pool.opening(), pool.waiters());
    assert_eq!(counts(&pool), (0, 0, 0));
    held(&mut pool, 3);
    assert_eq!(counts(&pool), (3, 0, 0));
    for _ in 0..3 {
        wait(&mut pool, None);
    }
    assert_eq!(counts(&pool), (3, 2, 3));
    assert!(pool.has_actions(), "openings");
    pool.drain_actions().for_each(drop);
    assert!(!pool.has_actions());
}

#[test]
fn sessions_that_have_a_probe_to_answer_are_named_until_they_are_retired() {
    let mut pool = pool(|_| {});
    let keys = held(&mut pool, 3);
    assert!(pool.suspects().is_empty());
    assert!(!pool.anything_suspect(None));
    pool.suspect(keys[1]);
    pool.suspect(keys[2]);
    assert_eq!(pool.suspects(), keys[1..]);
    assert!(pool.anything_suspect(None));
    assert_eq!((pool.live(), pool.shared()), (3, 1));
    pool.retire(keys[1], CloseReason::Idle);
    assert_eq!(pool.suspects(), keys[2..]);
    pool.retire(keys[2], CloseReason::Idle);
    assert!(!pool.anything_suspect(None));
    assert_eq!((pool.live(), pool.shared()), (1, 1));
}

#[test]
fn a_scope_has_a_probe_to_wait_for_where_its_own_session_has() {
    let mut pool = pool(|_| {});
    let key = open(&mut pool, scope(1), 0);
    open(&mut pool, scope(2), 1);
    assert!(!pool.anything_suspect(scope(1)));
    pool.suspect(key);
    let suspect = [None, scope(1), scope(2), scope(3)].map(|scope| pool.anything_suspect(scope));
    assert_eq!(suspect, [false, true, false, false]);
}

#[test]
fn a_session_that_one_caller_has_alone_is_not_given_up_for_another_pool() {
    let mut pool = pool(|_| {});
    let keys = held(&mut pool, 3);
    pool.release(keys[0], Claim::Share);
    let whole = pool.acquire(None, Claim::Whole, || 0);
    assert!(matches!(whole, Answer::Granted(_)));
    open(&mut pool, scope(1), 0);
    assert_eq!((pool.live(), pool.shared()), (4, 2));
}

#[test]
fn maintenance_sees_the_longest_unused_session_first_and_what_scopes_own() {
    let mut pool = pool(|_| {});
    let keys = held(&mut pool, 5);
    let owned = open(&mut pool, scope(1), 5);
    for key in [owned, keys[3], keys[1], keys[4]] {
        pool.release(key, Claim::Share);
    }
    pool.suspect(keys[4]);
    pool.retire(keys[2], CloseReason::Idle);
    let seen: Vec<_> = pool
        .live_sessions()
        .iter()
        .map(|live| (live.session, live.load, live.rests, live.owned))
        .collect();
    let expected = [
        (3, 0, true, false),
        (1, 0, true, false),
        (0, 1, false, false),
        (4, 0, false, false),
        (5, 0, true, true),
    ];
    assert_eq!(seen, expected);
    assert_eq!(pool.oldest_idle(), Some((keys[3], 3)));
    // The server keeps nothing for its scope.
    pool.holds_state = |_| false;
    assert!(!pool.is_owned(owned));
    pool.holds_state = |_| true;
    pool.end_scope(ScopeId(1));
    assert!(!pool.is_owned(owned), "its scope has ended");
}

#[test]
fn a_session_kept_for_a_caller_does_not_rest() {
    let mut pool = pool(|limits| limits.max_in_flight = 2);
    let key = held(&mut pool, 1)[0];
    let shared = pool.acquire(None, Claim::Share, || 0);
    assert!(matches!(shared, Answer::Granted(_)));
    pool.suspend();
    let whole = pool.acquire(None, Claim::Whole, || 0);
    assert!(matches!(whole, Answer::Queued(_)));
    pool.resume();
    pool.suspend();
    assert!(!pool.release(key, Claim::Share), "another lease is out");
    assert!(!pool.rests(key), "it carries a call");
    assert!(pool.release(key, Claim::Share), "nothing runs on it");
    assert!(!pool.rests(key), "it is reserved");
    assert_eq!(pool.oldest_idle(), None);
}

#[test]
fn sessions_by_load_are_the_live_ones_the_least_loaded_first() {
    let mut pool = pool(|limits| (limits.max_in_flight, limits.scale_up_at) = (3, 3));
    let mut keys = Vec::new();
    for session in 0..3 {
        keys.push(open(&mut pool, None, session));
        for _ in 0..2 {
            let granted = pool.acquire(None, Claim::Share, || 0);
            assert!(matches!(granted, Answer::Granted(_)));
        }
    }
    for (key, times) in [(keys[1], 2), (keys[2], 1)] {
        for _ in 0..times {
            pool.release(key, Claim::Share);
        }
    }
    let by_load = [(keys[1], 1), (keys[2], 2), (keys[0], 3)];
    assert_eq!(pool.sessions_by_load(), by_load);
    pool.retire(keys[2], CloseReason::Idle);
    assert_eq!(pool.sessions_by_load(), [by_load[0], by_load[2]]);
    let stages: Vec<_> = pool.sessions().map(|(_, session, ..)| *session).collect();
    assert_eq!(stages, [0, 1, 2], "one that retires holds its place");
}

#[test]
fn a_key_names_its_session_until_that_has_ended_and_its_leases_are_back() {
    let mut pool = pool(|_| {});
    let key = held(&mut pool, 2)[1];
    assert_eq!(pool.session(key), Some(1));
    assert!(pool.retire(key, CloseReason::Idle));
    assert!(!pool.retire(key, CloseReason::Idle), "decided before");
    assert!(pool.broke(key, CloseReason::Broken), "it ends at once");
    assert!(!pool.broke(key, CloseReason::Broken), "known");
    pool.closed(key);
    assert!(!pool.broke(key, CloseReason::Broken), "known");
    assert_eq!(pool.session(key), Some(1), "a lease is out");
    assert_eq!(pool.sessions().count(), 1, "its place is free");
    assert!(!pool.release(key, Claim::Share), "it does not rest");
    assert_eq!(pool.session(key), None);
}

#[test]
fn a_session_that_retires_ends_with_its_last_lease() {
    let mut pool = pool(|limits| limits.max_in_flight = 2);
    let key = held(&mut pool, 1)[0];
    let granted = pool.acquire(None, Claim::Share, || 0);
    assert!(matches!(granted, Answer::Granted(_)));
    pool.retire(key, CloseReason::Idle);
    assert!(!pool.release(key, Claim::Share));
    assert_eq!(
        pool.entries.get(key).stage,
        Stage::Retiring(CloseReason::Idle)
    );
    assert!(!pool.release(key, Claim::Share));
    assert_eq!(pool.entries.get(key).stage, Stage::Closing);
}

#[test]
fn the_first_waiter_is_the_one_who_came_first_in_line_or_with_a_session_reserved() {
    let mut pool = pool(|limits| (limits.max_in_flight, limits.max_connections) = (2, 1));
    let ask = |pool: &mut Pool, scope, claim, waiter| {
        let answer = pool.acquire(scope, claim, || waiter);
        assert!(matches!(answer, Answer::Queued(_)));
    };
    assert_eq!(pool.first_waiter(), None);
    held(&mut pool, 1);
    ask(&mut pool, None, Claim::Whole, 10);
    assert!(pool.any_reserved(None));
    ask(&mut pool, scope(1), Claim::Share, 11);
    ask(&mut pool, None, Claim::Share, 12);
    ask(&mut pool, scope(2), Claim::Share, 13);
    assert_eq!(pool.first_waiter(), Some(&10));
    let firsts = [None, scope(1), scope(2), scope(3)].map(|scope| pool.first_in_queue(scope));
    assert_eq!(firsts, [Some(&10), Some(&11), Some(&13), None]);
    let reserved = *pool.queues.shared().reserved.keys().next().expect("one");
    assert_eq!(pool.cancel(None, reserved), Some(10));
    assert_eq!(pool.first_waiter(), Some(&11), "of a scope");
}

#[test]
fn a_place_is_waited_for_while_one_is_opened_or_none_is_left() {
    let mut pool = pool(|limits| limits.max_connections = 2);
    assert!(!pool.waits_for_a_place());
    wait(&mut pool, None);
    assert!(pool.waits_for_a_place(), "one is being opened");
    pool.opened(None, 0);
    assert_eq!(served(&mut pool).len(), 1);
    assert!(!pool.waits_for_a_place());
    held(&mut pool, 1);
    assert!(pool.waits_for_a_place(), "none is left");
}
