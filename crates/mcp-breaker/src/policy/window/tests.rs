use super::*;

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    window: Window,
    origin: Instant,
}

impl Bench {
    fn new(minimum_calls: u32) -> Self {
        let origin = Instant::now();
        let limits = WindowLimits {
            length: MINUTE,
            minimum_calls,
            fault_rate: Some(0.5),
            slow_rate: Some(0.8),
        };
        Self {
            window: Window::new(limits, origin),
            origin,
        }
    }

    fn at(&mut self, millis: u64, fault: bool, slow: bool) -> bool {
        self.reason(millis, fault, slow).is_some()
    }

    fn reason(&mut self, millis: u64, fault: bool, slow: bool) -> Option<TransitionReason> {
        self.window.record(Outcome {
            in_rates: true,
            at: self.origin + Duration::from_millis(millis),
            fault,
            slow,
        })
    }

    fn counts(&self, millis: u64) -> (u64, u64, u64) {
        let counts = self
            .window
            .counts(self.origin + Duration::from_millis(millis));
        (counts.calls, counts.faults, counts.slow)
    }
}

#[test]
fn ten_faults_a_second_from_the_start_trip_at_the_minimum_number_of_calls() {
    let mut bench = Bench::new(10);
    for call in 0..9 {
        assert!(!bench.at(call * 100, true, false), "call {call}");
    }
    assert_eq!(
        bench.reason(900, true, false),
        Some(TransitionReason::FaultRate {
            rate: 1.0,
            calls: 10
        })
    );
}

#[test]
fn below_the_rate_nothing_trips_and_at_the_rate_it_does() {
    let mut bench = Bench::new(10);
    for call in 0..60 {
        assert!(!bench.at(call, false, false));
    }
    for call in 0..59 {
        assert!(!bench.at(100 + call, true, false), "{call}");
    }
    assert!(bench.at(200, true, false), "60 of 120");
}

#[test]
fn a_success_never_trips() {
    let mut bench = Bench::new(10);
    for call in 0..9 {
        assert!(!bench.at(call, true, false));
    }
    assert!(
        !bench.at(10, false, false),
        "the tenth call completes the minimum, but it is a success"
    );
    assert!(bench.at(11, true, false));
}

#[test]
fn a_slow_success_trips_on_the_slow_rate_only() {
    let mut bench = Bench::new(5);
    for call in 0..3 {
        assert!(!bench.at(call, true, false));
    }
    assert!(!bench.at(3, false, true));
    assert!(
        !bench.at(4, false, true),
        "the fault rate is over its limit, but this was no fault"
    );
    for call in 0..9 {
        assert!(!bench.at(5 + call, false, true), "{call}");
    }
    assert_eq!(
        bench.reason(30, false, true),
        Some(TransitionReason::SlowRate {
            rate: 0.8,
            calls: 15
        })
    );
}

#[test]
fn calls_are_forgotten_when_they_leave_the_window() {
    let mut bench = Bench::new(1_000);
    bench.at(0, true, false);
    bench.at(2_999, false, false);
    bench.at(3_000, true, true);
    assert_eq!(bench.counts(3_000), (3, 2, 1));
    assert_eq!(bench.counts(59_999), (3, 2, 1));
    assert_eq!(bench.counts(60_000), (1, 1, 1), "the first bucket has left");
    assert_eq!(bench.counts(62_999), (1, 1, 1));
    assert_eq!(bench.counts(63_000), (0, 0, 0));
    assert_eq!(bench.counts(3_000), (3, 2, 1), "reading forgets nothing");

    bench.at(61_000, false, false);
    assert_eq!(bench.counts(61_000), (2, 1, 1));
    assert_eq!(
        bench.counts(0),
        (2, 1, 1),
        "a reader whose clock is behind counts nothing twice"
    );
    bench.at(10_000_000, false, false);
    assert_eq!(
        bench.counts(10_000_000),
        (1, 0, 0),
        "a pause longer than the window empties it"
    );
}

#[test]
fn a_call_from_before_the_head_is_counted_in_the_head() {
    let mut bench = Bench::new(1_000);
    bench.at(30_000, true, false);
    bench.at(29_000, true, false);
    assert_eq!(bench.counts(30_000), (2, 2, 0));
    assert_eq!(bench.counts(89_999), (2, 2, 0));
    assert_eq!(bench.counts(90_000), (0, 0, 0));
}

#[test]
fn a_cleared_window_is_empty() {
    let mut bench = Bench::new(2);
    bench.at(0, true, false);
    assert!(bench.at(1, true, false));
    bench.window.clear();
    assert_eq!(bench.counts(1), (0, 0, 0));
    assert!(!bench.at(2, true, false));
}
