//! Single decisions of the router, each of which a random history meets too seldom.

use super::*;

pub(super) type Pool = Router<u32, u32>;

pub(super) fn pool(change: impl FnOnce(&mut Limits)) -> Pool {
    let mut limits = Limits {
        min_connections: 0,
        max_connections: 10,
        max_in_flight: 1,
        scale_up_at: 1,
        max_connecting: 1,
        max_waiters: 10,
    };
    change(&mut limits);
    Router::new(limits)
}

pub(super) fn scope(number: u64) -> Option<ScopeId> {
    Some(ScopeId(number))
}

pub(super) fn wait(pool: &mut Pool, scope: Option<ScopeId>) -> Ticket {
    match pool.acquire(scope, Claim::Share, || 0) {
        Answer::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// For a session of the shared queue, alone.
fn wait_for_whole(pool: &mut Pool, waiter: u32) -> Ticket {
    match pool.acquire(None, Claim::Whole, || waiter) {
        Answer::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

pub(super) fn served(pool: &mut Pool) -> Vec<Grant<u32>> {
    let grants = pool.drain_actions().filter_map(|action| match action {
        Action::Serve { grant, .. } => Some(grant),
        _ => None,
    });
    grants.collect()
}

pub(super) fn openings(pool: &mut Pool) -> Vec<Option<ScopeId>> {
    let scopes = pool.drain_actions().filter_map(|action| match action {
        Action::Open { scope } => Some(scope),
        _ => None,
    });
    scopes.collect()
}

#[test]
fn as_many_wait_as_may_and_one_more_is_refused() {
    let mut pool = pool(|limits| limits.max_waiters = 3);
    for _ in 0..3 {
        wait(&mut pool, None);
    }
    let refused = pool.acquire(None, Claim::Share, || 0);
    assert!(matches!(refused, Answer::Refused(Refusal::QueueFull)));
    assert_eq!(pool.waiters(), 3);
}

#[test]
fn a_caller_in_the_background_takes_no_place_in_line_from_others() {
    let mut pool = pool(|limits| {
        limits.max_waiters = 2;
        limits.max_connections = 1;
    });
    let background = |pool: &mut Pool| {
        let answer = pool.acquire_for(Caller::Background, None, Claim::Share, || 0);
        match answer {
            Answer::Queued(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    };
    let gives_up = background(&mut pool);
    background(&mut pool);
    wait(&mut pool, None);
    wait(&mut pool, None);
    let refused = pool.acquire(None, Claim::Share, || 0);
    assert!(matches!(refused, Answer::Refused(Refusal::QueueFull)));
    // It waits where no caller may wait any more, and is served in its turn.
    background(&mut pool);
    assert_eq!(pool.waiters(), 2);
    pool.cancel(None, gives_up);
    let key = pool.opened(None, 0);
    assert_eq!((served(&mut pool).len(), pool.waiters()), (1, 2));
    for left in [1, 0, 0] {
        pool.release(key, Claim::Share);
        assert_eq!((served(&mut pool).len(), pool.waiters()), (1, left));
    }
}

#[test]
fn as_many_are_being_opened_at_once_as_may_be() {
    let mut pool = pool(|limits| limits.max_connecting = 2);
    for _ in 0..5 {
        wait(&mut pool, None);
    }
    assert_eq!(openings(&mut pool).len(), 2);
    pool.opened(None, 0);
    assert_eq!(openings(&mut pool).len(), 1);
}

#[test]
fn a_caller_who_waited_for_a_session_that_was_open_hit_the_pool_and_others_missed() {
    let mut pool = pool(|limits| limits.max_connections = 1);
    wait(&mut pool, None);
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    let hits = |pool: &mut Pool| {
        served(pool)
            .iter()
            .map(|grant| grant.hit)
            .collect::<Vec<_>>()
    };
    assert_eq!(hits(&mut pool), [false], "opened for it");
    wait(&mut pool, None);
    pool.release(key, Claim::Share);
    assert_eq!(
        hits(&mut pool),
        [false],
        "it came before the session was open"
    );
    pool.release(key, Claim::Share);
    assert_eq!(hits(&mut pool), [true], "it came after that");
}

#[test]
fn the_scope_whose_first_caller_has_waited_longest_has_its_session_opened_first() {
    let mut pool = pool(|limits| limits.max_connections = 1);
    wait(&mut pool, scope(1));
    assert_eq!(openings(&mut pool), [scope(1)]);
    // The last caller of scope 2 came after that of scope 3, its first one before.
    for number in [2, 3, 2, 4] {
        wait(&mut pool, scope(number));
    }
    let mut order = Vec::new();
    for number in [1, 2, 3] {
        let key = pool.opened(scope(number), 0);
        assert_eq!(served(&mut pool).len(), 1);
        pool.end_scope(ScopeId(number));
        pool.release(key, Claim::Share);
        pool.closed(key);
        order.extend(openings(&mut pool));
    }
    assert_eq!(order, [scope(2), scope(3), scope(4)]);
}

#[test]
fn after_a_cut_the_only_session_that_serves_is_kept_though_it_is_one_too_many() {
    let mut pool = pool(|limits| limits.max_connections = 2);
    wait(&mut pool, None);
    let dying = pool.opened(None, 0);
    wait(&mut pool, None);
    pool.configure(Limits {
        max_connections: 1,
        ..pool.limits()
    });
    pool.broke(dying, CloseReason::Broken);
    let key = pool.opened(None, 1);
    assert_eq!(pool.entries.get(key).stage, Stage::Live);
    // One that comes beside it goes.
    assert_eq!(served(&mut pool).len(), 2);
}

#[test]
fn a_session_that_is_owed_goes_to_the_other_pool_after_those_who_came_before() {
    let mut pool = pool(|limits| limits.max_connections = 1);
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    wait(&mut pool, None);
    pool.owe();
    wait(&mut pool, None);
    assert_eq!(served(&mut pool).len(), 1);
    pool.release(key, Claim::Share);
    assert_eq!(served(&mut pool).len(), 1, "it came before");
    pool.release(key, Claim::Share);
    let actions: Vec<_> = pool.drain_actions().collect();
    assert!(
        matches!(actions[..], [Action::Yield { .. }, Action::Close { .. }]),
        "{actions:?}"
    );
    assert_eq!(pool.waiters(), 1);
}

#[test]
fn a_session_that_callers_share_is_given_up_when_its_leases_are_back() {
    let mut pool = pool(|limits| limits.max_in_flight = 4);
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    assert_eq!(served(&mut pool).len(), 1);
    pool.owe();
    assert_eq!(
        pool.entries.get(key).stage,
        Stage::Retiring(CloseReason::Shrunk)
    );
    wait(&mut pool, None);
    pool.release(key, Claim::Share);
    assert_eq!(pool.entries.get(key).stage, Stage::Closing);
}

fn granted(pool: &mut Pool, claim: Claim) -> SessionKey {
    match pool.acquire(None, claim, || 0) {
        Answer::Granted(grant) => grant.key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_warm_pool_keeps_its_minimum_unless_refill_is_paused() {
    let mut pool = pool(|limits| (limits.min_connections, limits.max_connecting) = (3, 10));
    wait(&mut pool, None);
    assert_eq!(openings(&mut pool).len(), 1, "for the caller alone");
    let first = pool.opened(None, 0);
    assert_eq!(openings(&mut pool).len(), 0);
    pool.warm_up();
    assert_eq!(openings(&mut pool).len(), 2);
    let keys = [pool.opened(None, 1), pool.opened(None, 2)];
    pool.suspect(first);
    assert_eq!(openings(&mut pool).len(), 0, "it will answer its probe");
    pool.pause_refill();
    pool.retire(keys[0], CloseReason::Idle);
    assert_eq!(openings(&mut pool).len(), 0);
    pool.resume_refill();
    assert_eq!(openings(&mut pool).len(), 1);
}

#[test]
fn two_calls_at_once_make_a_pool_warm() {
    let mut pool = pool(|limits| {
        (limits.min_connections, limits.max_connecting) = (2, 10);
        (limits.max_in_flight, limits.scale_up_at) = (4, 4);
    });
    wait(&mut pool, None);
    pool.opened(None, 0);
    openings(&mut pool);
    granted(&mut pool, Claim::Share);
    assert_eq!(openings(&mut pool).len(), 1);
}

#[test]
fn a_session_more_is_opened_when_those_there_carry_more_than_they_should() {
    let mut pool = pool(|limits| {
        (limits.max_in_flight, limits.scale_up_at) = (4, 2);
    });
    wait(&mut pool, None);
    pool.opened(None, 0);
    openings(&mut pool);
    granted(&mut pool, Claim::Share);
    assert_eq!(openings(&mut pool).len(), 0, "two is what one should carry");
    granted(&mut pool, Claim::Share);
    assert_eq!(openings(&mut pool).len(), 1);
}

#[test]
fn a_session_had_whole_is_as_many_as_its_caller_needs() {
    let mut pool = pool(|limits| {
        (limits.max_in_flight, limits.scale_up_at) = (4, 2);
        limits.max_connecting = 10;
    });
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    pool.release(key, Claim::Share);
    granted(&mut pool, Claim::Whole);
    openings(&mut pool);
    // One for two who share, beside the one that is had whole.
    wait(&mut pool, None);
    wait(&mut pool, None);
    assert_eq!(openings(&mut pool).len(), 1);
    let whole = pool.acquire(None, Claim::Whole, || 0);
    assert!(matches!(whole, Answer::Queued(_)));
    assert_eq!(openings(&mut pool).len(), 1, "for one who wants it alone");
}

#[test]
fn nothing_is_opened_without_a_runtime_or_while_openings_back_off() {
    let mut pool = pool(|_| {});
    pool.set_has_runtime(false);
    wait(&mut pool, None);
    assert_eq!(openings(&mut pool).len(), 0);
    pool.set_has_runtime(true);
    assert_eq!(openings(&mut pool).len(), 1);
    pool.set_gate(false);
    pool.open_abandoned(None);
    let actions: Vec<_> = pool.drain_actions().collect();
    assert!(
        matches!(
            actions[..],
            [Action::Refuse {
                refusal: Refusal::OpenFailed,
                ..
            }]
        ),
        "{actions:?}"
    );
    let refused = pool.acquire(scope(1), Claim::Share, || 0);
    assert!(matches!(refused, Answer::Refused(Refusal::OpenFailed)));
    pool.set_gate(true);
    wait(&mut pool, scope(1));
    assert_eq!(openings(&mut pool), [scope(1)]);
}

#[test]
fn callers_who_wait_while_a_pool_is_suspended_are_served_when_it_resumes() {
    let mut pool = pool(|_| {});
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    assert_eq!(served(&mut pool).len(), 1);
    pool.suspend();
    wait(&mut pool, None);
    pool.release(key, Claim::Share);
    assert!(!pool.has_actions(), "nothing is opened or handed out");
    pool.resume();
    assert_eq!(served(&mut pool).len(), 1);
}

#[test]
fn a_raised_limit_serves_those_who_wait_and_a_lowered_one_closes_the_least_loaded() {
    let mut pool = pool(|limits| limits.max_in_flight = 2);
    wait(&mut pool, None);
    let busy = pool.opened(None, 0);
    granted(&mut pool, Claim::Share);
    wait(&mut pool, None);
    let less = pool.opened(None, 1);
    pool.drain_actions().for_each(drop);
    let limits = pool.limits();
    pool.configure(Limits {
        max_connections: 1,
        ..limits
    });
    let stage = |pool: &Pool, key| pool.entries.get(key).stage;
    assert_eq!(stage(&pool, less), Stage::Retiring(CloseReason::Shrunk));
    assert_eq!(stage(&pool, busy), Stage::Live);
    wait(&mut pool, None);
    assert_eq!(served(&mut pool).len(), 0);
    pool.configure(Limits {
        max_connections: 1,
        max_in_flight: 3,
        ..limits
    });
    assert_eq!(served(&mut pool).len(), 1);
}

#[test]
fn a_session_taken_whole_has_another_opened_for_the_calls_it_can_no_longer_carry() {
    let mut pool = pool(|limits| {
        (limits.max_in_flight, limits.scale_up_at) = (4, 2);
        limits.max_connections = 3;
    });
    wait(&mut pool, None);
    pool.opened(None, 0);
    for _ in 0..2 {
        granted(&mut pool, Claim::Share);
    }
    assert_eq!(openings(&mut pool).len(), 2, "one for the first, one more");
    pool.opened(None, 1);
    granted(&mut pool, Claim::Whole);
    assert_eq!(openings(&mut pool).len(), 1, "three calls are on one");
}

#[test]
fn a_session_that_is_cleared_without_a_probe_stays() {
    let mut pool = pool(|limits| limits.max_connecting = 3);
    for _ in 0..3 {
        wait(&mut pool, None);
    }
    let keys = [0, 1, 2].map(|session| pool.opened(None, session));
    pool.configure(Limits {
        max_connections: 2,
        ..pool.limits()
    });
    // One of them retires and holds its place until its lease is back.
    pool.cleared(keys[2]);
    let live = keys.map(|key| pool.entries.get(key).stage == Stage::Live);
    assert_eq!(live.iter().filter(|live| **live).count(), 2);
}

#[test]
fn one_whose_reserved_session_broke_comes_before_those_who_came_later() {
    let mut pool = pool(|limits| (limits.max_connections, limits.max_connecting) = (2, 2));
    for session in 0..2 {
        wait(&mut pool, None);
        pool.opened(None, session);
    }
    assert_eq!(served(&mut pool).len(), 2);
    let [first, second] = [1, 2].map(|waiter| wait_for_whole(&mut pool, waiter));
    let reserved = |pool: &Pool| pool.queues.shared().reserved.clone();
    let theirs = reserved(&pool);
    assert_eq!(theirs.len(), 2);
    pool.broke(theirs[&first], CloseReason::Broken);
    assert_eq!(reserved(&pool).get(&first), None, "it is back in line");
    pool.release(theirs[&second], Claim::Share);
    let waiters = pool.drain_actions().filter_map(|action| match action {
        Action::Serve { waiter, .. } => Some(waiter),
        _ => None,
    });
    assert_eq!(waiters.collect::<Vec<_>>(), [1]);
    assert_eq!(reserved(&pool).get(&second), Some(&theirs[&second]));
}

#[test]
fn a_session_that_another_has_alone_is_waited_for_where_no_other_is_left() {
    let mut pool = pool(|limits| {
        (limits.max_in_flight, limits.max_connections) = (2, 2);
        limits.max_connecting = 2;
    });
    wait_for_whole(&mut pool, 0);
    pool.opened(None, 0);
    wait(&mut pool, None);
    let shared = pool.opened(None, 1);
    assert_eq!(served(&mut pool).len(), 2);
    // The first waits for the session that is shared, the second for the one that is had alone.
    let [first, second] = [1, 2].map(|waiter| wait_for_whole(&mut pool, waiter));
    let reserved = |pool: &Pool, ticket| pool.queues.shared().reserved.get(&ticket).copied();
    assert_eq!(reserved(&pool, first), Some(shared));
    assert!(reserved(&pool, second).is_some());
    // So the shared one serves on when the first gives up.
    pool.cancel(None, first);
    granted(&mut pool, Claim::Share);
}

#[test]
fn of_a_scope_and_the_shared_queue_who_came_first_has_a_session_opened_first() {
    for scope_first in [true, false] {
        let mut pool = pool(|limits| limits.max_connections = 1);
        wait(&mut pool, scope(1));
        assert_eq!(openings(&mut pool), [scope(1)]);
        let order = if scope_first {
            [scope(2), None]
        } else {
            [None, scope(2)]
        };
        for queue in order {
            wait(&mut pool, queue);
        }
        pool.end_scope(ScopeId(1));
        pool.open_abandoned(scope(1));
        assert_eq!(openings(&mut pool), [order[0]]);
    }
}

#[test]
fn a_scope_that_has_lost_its_state_says_so_to_one_caller() {
    let held = |pool: &mut Pool| {
        wait(pool, scope(1));
        let key = pool.opened(scope(1), 0);
        assert_eq!(served(pool).len(), 1);
        key
    };
    let refusals = |pool: &mut Pool| {
        let refusals = pool.drain_actions().filter_map(|action| match action {
            Action::Refuse { refusal, .. } => Some(refusal),
            _ => None,
        });
        refusals.collect::<Vec<_>>()
    };
    let lost = Refusal::StateLost(CloseReason::Broken);

    let mut waited_for = pool(|_| {});
    let key = held(&mut waited_for);
    wait(&mut waited_for, scope(1));
    wait(&mut waited_for, scope(1));
    waited_for.broke(key, CloseReason::Broken);
    assert_eq!(refusals(&mut waited_for), [lost], "the first in line");
    assert_eq!(waited_for.lost_state(scope(1), true), None);

    let mut unused = pool(|_| {});
    let key = held(&mut unused);
    unused.broke(key, CloseReason::Broken);
    for take in [false, true] {
        let reason = unused.lost_state(scope(1), take);
        assert_eq!(reason, Some(CloseReason::Broken), "the next caller");
    }
    assert_eq!(unused.lost_state(scope(1), false), None);
    assert_eq!(unused.lost_state(None, true), None);

    let mut closed = pool(|_| {});
    held(&mut closed);
    wait(&mut closed, scope(1));
    closed.close();
    assert_eq!(refusals(&mut closed), [Refusal::Closed]);
    assert_eq!(closed.lost_state(scope(1), true), None);

    let mut stateless = pool(|_| {});
    stateless.holds_state = |_| false;
    let key = held(&mut stateless);
    wait(&mut stateless, scope(1));
    stateless.broke(key, CloseReason::Broken);
    assert!(refusals(&mut stateless).is_empty());
    assert_eq!(stateless.lost_state(scope(1), true), None);
}

#[test]
fn while_openings_back_off_those_wait_who_have_something_to_wait_for() {
    let refused = |pool: &mut Pool, scope| {
        let answer = pool.acquire(scope, Claim::Share, || 0);
        matches!(answer, Answer::Refused(Refusal::OpenFailed))
    };
    let mut pool = pool(|limits| limits.max_connections = 2);
    wait(&mut pool, None);
    pool.set_gate(false);
    assert!(!refused(&mut pool, None), "one is being opened");
    let key = pool.opened(None, 0);
    assert!(!refused(&mut pool, None), "one is open");
    assert!(refused(&mut pool, scope(1)), "it is not the scope's");
    pool.broke(key, CloseReason::Broken);
    assert!(refused(&mut pool, None));
    assert_eq!(pool.waiters(), 0);
}

#[test]
fn a_session_that_has_answered_its_probe_serves_those_who_wait() {
    let mut pool = pool(|limits| limits.max_connections = 1);
    wait(&mut pool, None);
    let key = pool.opened(None, 0);
    pool.suspect(key);
    pool.release(key, Claim::Share);
    wait(&mut pool, None);
    assert_eq!(served(&mut pool).len(), 1, "the first, before the probe");
    pool.cleared(key);
    assert_eq!(served(&mut pool).len(), 1);
}
