//! The breaker and a plain model of it, step by step through random histories, in virtual time.

mod reference;

use std::{cell::RefCell, future::Future, sync::mpsc, time::Duration};

use futures::future::join_all;
use mcp_breaker::{Breaker, BreakerEvent, Class, Permit, State};
use proptest::{collection::vec, option, prelude::*, sample::select};
use reference::{Case, MAX_RECOVERY, PROBE_LIMIT, RECOVERY, Reference, Report, Ticket, WINDOW};
use tokio::time::{Instant, advance, sleep};

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    Settle { which: usize, class: Class },
    Drop { which: usize },
    Advance(u64),
    Order(State),
}

/// One caller of many: waits, calls, holds its permit, settles or is cancelled.
#[derive(Clone, Debug)]
struct Call {
    wait: u64,
    hold: u64,
    class: Option<Class>,
}

fn cases() -> impl Strategy<Value = Case> {
    let rates = || option::of(select(vec![0.1, 0.3, 0.5, 0.8, 1.0]));
    let slow = option::of((select(vec![100u64, 1_000]), select(vec![0.3, 0.5, 1.0])));
    (
        option::of(1..5u32),
        rates(),
        slow,
        1..8u32,
        1..4u32,
        1..5u32,
    )
        .prop_map(
            |(
                failure_threshold,
                failure_rate,
                slow,
                minimum_calls,
                half_open_max_calls,
                success_threshold,
            )| Case {
                failure_threshold,
                failure_rate,
                slow,
                minimum_calls,
                half_open_max_calls,
                success_threshold,
            },
        )
}

fn classes() -> impl Strategy<Value = Class> {
    prop_oneof![4 => Just(Class::Success), 4 => Just(Class::Fault), 1 => Just(Class::Ignored)]
}

fn orders() -> impl Strategy<Value = State> {
    select(vec![
        State::Closed,
        State::ForcedOpen,
        State::ForcedClosed,
        State::Disabled,
        State::MetricsOnly,
    ])
}

fn times() -> impl Strategy<Value = u64> {
    select(vec![
        1,
        99,
        100,
        499,
        500,
        999,
        1_000,
        RECOVERY - 1,
        RECOVERY,
        PROBE_LIMIT,
        10_000,
        20_000,
        40_000,
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => Just(Step::Acquire),
        20 => (any::<usize>(), classes()).prop_map(|(which, class)| Step::Settle { which, class }),
        2 => any::<usize>().prop_map(|which| Step::Drop { which }),
        8 => times().prop_map(Step::Advance),
        1 => orders().prop_map(Step::Order),
    ];
    vec(step, 1..300)
}

fn callers() -> impl Strategy<Value = Vec<Vec<Call>>> {
    let class = prop_oneof![8 => classes().prop_map(Some), 1 => Just(None)];
    let call = (0..3_000u64, 0..9_000u64, class).prop_map(|(wait, hold, class)| Call {
        wait,
        hold,
        class,
    });
    vec(vec(call, 1..25), 1..8)
}

/// Breaker and model, given the same inputs.
struct Pair {
    breaker: Breaker,
    model: Reference,
    events: mpsc::Receiver<BreakerEvent>,
    born: Instant,
    reported: Vec<(State, State)>,
    refusals: u64,
    releases: u64,
}

impl Pair {
    fn new(case: &Case) -> Self {
        let (sender, events) = mpsc::channel();
        let mut builder = Breaker::builder()
            .failure_threshold(case.failure_threshold)
            .failure_rate(case.failure_rate)
            .minimum_calls(case.minimum_calls)
            .window(Duration::from_millis(WINDOW))
            .recovery_timeout(Duration::from_millis(RECOVERY))
            .max_recovery_timeout(Duration::from_millis(MAX_RECOVERY))
            .recovery_jitter(0.0)
            .half_open_max_calls(case.half_open_max_calls)
            .success_threshold(case.success_threshold)
            .probe_limit(Duration::from_millis(PROBE_LIMIT))
            .observer(move |event: &BreakerEvent| sender.send(event.clone()).unwrap());
        if let Some((after, rate)) = case.slow {
            builder = builder.slow_calls(Duration::from_millis(after), rate);
        }
        Self {
            breaker: builder.build().unwrap(),
            model: Reference::new(case.clone()),
            events,
            born: Instant::now(),
            reported: Vec::new(),
            refusals: 0,
            releases: 0,
        }
    }

    fn now(&self) -> u64 {
        (Instant::now() - self.born).as_millis() as u64
    }

    fn acquire(&mut self) -> Option<(Permit, Ticket)> {
        let answer = match (self.breaker.try_acquire(), self.model.acquire(self.now())) {
            (Ok(permit), Ok(ticket)) => {
                assert_eq!(permit.is_probe(), ticket.probe.is_some());
                Some((permit, ticket))
            }
            (Err(rejected), Err(retry_after)) => {
                assert_eq!(rejected.retry_after, retry_after);
                assert_eq!(rejected.state, self.model.state);
                None
            }
            (ours, expected) => panic!("the breaker says {ours:?}, the model {expected:?}"),
        };
        self.compare();
        answer
    }

    fn settle(&mut self, (permit, ticket): (Permit, Ticket), class: Option<Class>) {
        match class {
            Some(class) => permit.record(class),
            None => drop(permit),
        }
        self.model
            .settle(&ticket, class.unwrap_or(Class::Ignored), self.now());
        self.compare();
    }

    fn order(&mut self, state: State) {
        match state {
            State::ForcedOpen => self.breaker.force_open(),
            State::ForcedClosed => self.breaker.force_closed(),
            State::Disabled => self.breaker.disable(),
            State::MetricsOnly => self.breaker.metrics_only(),
            State::Closed | State::HalfOpen | State::Open => self.breaker.reset(),
        }
        self.model.order(state);
        self.compare();
    }

    fn compare(&mut self) {
        assert_eq!(self.breaker.state(), self.model.state);
        let counts = self.breaker.counts();
        let report = Report {
            successes: counts.successes,
            faults: counts.faults,
            ignored: counts.ignored,
            slow: counts.slow,
            late: counts.late,
            rejected: counts.rejected,
            times_opened: counts.times_opened,
            probes_released: counts.probes_released,
            consecutive_faults: counts.consecutive_faults,
            probes_out: counts.probes_out,
            probe_successes: counts.probe_successes,
            window: counts
                .window
                .map(|window| (window.calls, window.faults, window.slow)),
            retry_after: self.breaker.retry_after(),
        };
        assert_eq!(report, self.model.report(self.now()));
        assert_eq!(
            counts.calls,
            counts.successes + counts.faults + counts.ignored
        );

        for event in self.events.try_iter() {
            match event {
                BreakerEvent::Transition { from, to, .. } => self.reported.push((from, to)),
                BreakerEvent::WouldOpen { .. } => {
                    self.reported.push((State::MetricsOnly, State::Open));
                }
                BreakerEvent::Rejected(_) => self.refusals += 1,
                BreakerEvent::ProbeReleased { .. } => self.releases += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.reported, self.model.reported);
        assert_eq!(
            (self.refusals, self.releases),
            (counts.rejected, counts.probes_released)
        );
    }
}

fn in_virtual_time(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_goes_as_the_model_says(case in cases(), steps in steps()) {
        in_virtual_time(async {
            let mut pair = Pair::new(&case);
            let mut out = Vec::new();
            for step in steps {
                match step {
                    Step::Acquire => out.extend(pair.acquire()),
                    Step::Settle { which, class } if !out.is_empty() => {
                        let call = out.swap_remove(which % out.len());
                        pair.settle(call, Some(class));
                    }
                    Step::Drop { which } if !out.is_empty() => {
                        let call = out.swap_remove(which % out.len());
                        pair.settle(call, None);
                    }
                    Step::Settle { .. } | Step::Drop { .. } => {}
                    Step::Advance(millis) => {
                        advance(Duration::from_millis(millis)).await;
                        pair.compare();
                    }
                    Step::Order(state) => pair.order(state),
                }
            }
        });
    }

    #[test]
    fn tasks_calling_at_once_go_as_the_model_says(
        case in cases(),
        callers in callers(),
        operator in vec((times(), orders()), 0..4),
    ) {
        in_virtual_time(async {
            let pair = RefCell::new(Pair::new(&case));
            let callers = callers.into_iter().map(async |calls| {
                for Call { wait, hold, class } in calls {
                    sleep(Duration::from_millis(wait)).await;
                    let call = pair.borrow_mut().acquire();
                    if let Some(call) = call {
                        sleep(Duration::from_millis(hold)).await;
                        pair.borrow_mut().settle(call, class);
                    }
                }
            });
            let orders = async {
                for (wait, state) in operator {
                    sleep(Duration::from_millis(wait)).await;
                    pair.borrow_mut().order(state);
                }
            };
            futures::join!(join_all(callers), orders);
        });
    }
}
