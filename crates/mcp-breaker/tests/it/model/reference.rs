//! What a breaker should do, written as plainly as possible: no locks, no epochs in words, no buckets kept, no failsafe.
//! Every call is kept, and all values are computed from them on request.

use std::time::Duration;

use mcp_breaker::{Class, State};

/// Settings of a case. Times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) failure_threshold: Option<u32>,
    pub(crate) failure_rate: Option<f64>,
    pub(crate) slow: Option<(u64, f64)>,
    pub(crate) minimum_calls: u32,
    pub(crate) half_open_max_calls: u32,
    pub(crate) success_threshold: u32,
}

pub(crate) const WINDOW: u64 = 10_000;
pub(crate) const BUCKETS: u64 = 20;
pub(crate) const RECOVERY: u64 = 5_000;
pub(crate) const MAX_RECOVERY: u64 = 30_000;
pub(crate) const PROBE_LIMIT: u64 = 7_000;

/// A call let through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) period: usize,
    pub(crate) probe: Option<usize>,
    pub(crate) started: u64,
    traceless: bool,
}

/// What the model has to say about itself; compared with the breaker after every step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) successes: u64,
    pub(crate) faults: u64,
    pub(crate) ignored: u64,
    pub(crate) slow: u64,
    pub(crate) late: u64,
    pub(crate) rejected: u64,
    pub(crate) times_opened: u64,
    pub(crate) probes_released: u64,
    pub(crate) consecutive_faults: u32,
    pub(crate) probes_out: u32,
    pub(crate) probe_successes: u32,
    pub(crate) window: Option<(u64, u64, u64)>,
    pub(crate) retry_after: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Reference {
    case: Case,
    pub(crate) state: State,
    /// Goes up with every change of state, and with every reset.
    period: usize,
    /// Judged calls of the present closed (or forced) period: when, fault, slow.
    log: Vec<(u64, bool, bool)>,
    totals: Report,
    open_until: u64,
    recovery: u64,
    closed_at: Option<u64>,
    probes: Vec<(usize, u64)>,
    probes_sent: usize,
    probe_successes: u32,
    /// Transitions, and `(MetricsOnly, Open)` where it would have opened.
    pub(crate) reported: Vec<(State, State)>,
}

impl Reference {
    pub(crate) fn new(case: Case) -> Self {
        Self {
            case,
            state: State::Closed,
            period: 0,
            log: Vec::new(),
            totals: Report::default(),
            open_until: 0,
            recovery: 0,
            closed_at: None,
            probes: Vec::new(),
            probes_sent: 0,
            probe_successes: 0,
            reported: Vec::new(),
        }
    }

    pub(crate) fn acquire(&mut self, now: u64) -> Result<Ticket, Option<Duration>> {
        if self.state == State::Open && now >= self.open_until {
            self.go(State::HalfOpen);
        }
        let mut ticket = Ticket {
            period: self.period,
            probe: None,
            started: now,
            traceless: false,
        };
        match self.state {
            State::Closed | State::ForcedClosed | State::MetricsOnly => {}
            State::Disabled => ticket.traceless = true,
            State::HalfOpen => {
                let before = self.probes.len();
                self.probes.retain(|(_, sent)| now < sent + PROBE_LIMIT);
                self.totals.probes_released += (before - self.probes.len()) as u64;
                if self.probes.len() as u32 == self.case.half_open_max_calls {
                    self.totals.rejected += 1;
                    return Err(None);
                }
                self.probes_sent += 1;
                self.probes.push((self.probes_sent, now));
                ticket.probe = Some(self.probes_sent);
            }
            State::Open => {
                self.totals.rejected += 1;
                return Err(Some(Duration::from_millis(self.open_until - now)));
            }
            State::ForcedOpen => {
                self.totals.rejected += 1;
                return Err(None);
            }
        }
        Ok(ticket)
    }

    pub(crate) fn settle(&mut self, ticket: &Ticket, class: Class, now: u64) {
        if ticket.traceless {
            return;
        }
        let fault = class == Class::Fault;
        let slow = class != Class::Ignored
            && self
                .case
                .slow
                .is_some_and(|(limit, _)| now - ticket.started >= limit);
        match class {
            Class::Success => self.totals.successes += 1,
            Class::Fault => self.totals.faults += 1,
            Class::Ignored => self.totals.ignored += 1,
        }
        self.totals.slow += u64::from(slow);
        let hung = ticket
            .probe
            .is_some_and(|id| !self.probes.iter().any(|(out, _)| *out == id));
        if ticket.period != self.period || hung {
            self.totals.late += 1;
            return;
        }
        if let Some(id) = ticket.probe {
            self.probes.retain(|(out, _)| *out != id);
            if class == Class::Ignored {
            } else if fault || slow {
                self.open((self.recovery * 2).min(MAX_RECOVERY), now);
            } else {
                self.probe_successes += 1;
                if self.probe_successes == self.case.success_threshold {
                    self.closed_at = Some(now);
                    self.log.clear();
                    self.go(State::Closed);
                }
            }
            return;
        }
        if class == Class::Ignored {
            return;
        }
        self.log.push((now, fault, slow));
        if !self.over_a_limit(fault, slow, now) {
            return;
        }
        match self.state {
            State::Closed => {
                let relapse = self
                    .closed_at
                    .is_some_and(|closed| now - closed < self.recovery);
                let recovery = if relapse {
                    (self.recovery * 2).min(MAX_RECOVERY)
                } else {
                    RECOVERY
                };
                self.open(recovery, now);
            }
            State::MetricsOnly => {
                self.reported.push((State::MetricsOnly, State::Open));
                self.log.clear();
            }
            _ => {}
        }
    }

    pub(crate) fn order(&mut self, state: State) {
        self.log.clear();
        self.closed_at = None;
        self.recovery = 0;
        if state == self.state {
            self.period += 1;
        } else {
            self.go(state);
        }
    }

    pub(crate) fn report(&self, now: u64) -> Report {
        let windowed = self.case.failure_rate.is_some() || self.case.slow.is_some();
        Report {
            consecutive_faults: if self.case.failure_threshold.is_some() {
                self.row()
            } else {
                0
            },
            probes_out: self.probes.len() as u32,
            probe_successes: self.probe_successes,
            window: windowed.then(|| self.window(now)),
            retry_after: (self.state == State::Open)
                .then(|| Duration::from_millis(self.open_until.saturating_sub(now))),
            ..self.totals.clone()
        }
    }

    fn over_a_limit(&self, fault: bool, slow: bool, now: u64) -> bool {
        if fault
            && self
                .case
                .failure_threshold
                .is_some_and(|limit| self.row() >= limit)
        {
            return true;
        }
        let (calls, faults, slows) = self.window(now);
        if calls < u64::from(self.case.minimum_calls) {
            return false;
        }
        let over = |part: u64, limit: f64| part as f64 / calls as f64 >= limit;
        (fault
            && self
                .case
                .failure_rate
                .is_some_and(|limit| over(faults, limit)))
            || (slow && self.case.slow.is_some_and(|(_, limit)| over(slows, limit)))
    }

    /// Faults at the end of the log.
    fn row(&self) -> u32 {
        self.log
            .iter()
            .rev()
            .take_while(|(_, fault, _)| *fault)
            .count() as u32
    }

    fn window(&self, now: u64) -> (u64, u64, u64) {
        let bucket = |at: u64| at / (WINDOW / BUCKETS);
        let inside: Vec<_> = self
            .log
            .iter()
            .filter(|(at, ..)| bucket(*at) + BUCKETS > bucket(now))
            .collect();
        let count = |part: &dyn Fn(&(u64, bool, bool)) -> bool| {
            inside.iter().filter(|call| part(call)).count() as u64
        };
        (
            inside.len() as u64,
            count(&|call| call.1),
            count(&|call| call.2),
        )
    }

    fn open(&mut self, recovery: u64, now: u64) {
        self.recovery = recovery;
        self.open_until = now + recovery;
        self.totals.times_opened += 1;
        self.go(State::Open);
    }

    fn go(&mut self, state: State) {
        self.reported.push((self.state, state));
        self.state = state;
        self.period += 1;
        self.probes.clear();
        self.probe_successes = 0;
    }
}
