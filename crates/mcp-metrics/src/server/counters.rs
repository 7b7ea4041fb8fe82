//! The atomics behind a server's metrics.
//!
//! No count is kept twice: the number of calls is the number of their durations, the number of closed sessions that of
//! their ages. So they cannot differ.

use std::{
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::totals::{Calls, Closed, Totals};
use crate::{family::Family, histogram::Histogram, outcome::CallOutcome};

/// The limit on reasons, phases and methods, above what exists.
const NAMES: usize = 32;

#[derive(Debug)]
pub(super) struct Counters {
    methods: Family<Outcomes>,
    /// By tool, if tools are labelled.
    tools: Option<Family<Outcomes>>,
    /// Calls of methods and tools beyond the limits.
    others: Outcomes,
    pub(super) hits: Histogram,
    pub(super) misses: Histogram,
    opened: Histogram,
    closed: Family<Closings>,
    errors: Family<Count>,
    pub(super) retries: Count,
    pub(super) fallbacks: Count,
    pub(super) transitions: [Count; 3],
    pub(super) rejected: Count,
    /// Of dead and alive sessions.
    probes: [Count; 2],
    last_probe_failed: AtomicBool,
    /// A bit for each active alert.
    pub(super) alerts: Count,
    pub(super) health: Count,
    pub(super) transport: OnceLock<Cow<'static, str>>,
}

/// A histogram for each outcome, made at the first call.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    durations: OnceLock<Box<[Histogram; CallOutcome::ALL.len()]>>,
    /// Calls whose outcome is usually a fault of the server and was not.
    excused: Count,
}

#[derive(Debug, Default)]
struct Closings {
    ages: Histogram,
    faults: Count,
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Counters {
    pub(super) fn new(tools: usize) -> Self {
        Self {
            methods: Family::new(NAMES),
            tools: (tools > 0).then(|| Family::new(tools)),
            others: Outcomes::default(),
            hits: Histogram::default(),
            misses: Histogram::default(),
            opened: Histogram::default(),
            closed: Family::new(NAMES),
            errors: Family::new(NAMES),
            retries: Count::default(),
            fallbacks: Count::default(),
            transitions: Default::default(),
            rejected: Count::default(),
            probes: Default::default(),
            last_probe_failed: AtomicBool::new(false),
            alerts: Count::default(),
            health: Count::default(),
            transport: OnceLock::new(),
        }
    }

    #[inline]
    pub(super) fn calls(&self, method: &'static str, tool: Option<&str>) -> &Outcomes {
        let cell = match (&self.tools, tool) {
            (Some(tools), Some(tool)) => tools.cell(tool, || tool.to_owned().into()),
            _ => self.methods.named(method),
        };
        cell.unwrap_or(&self.others)
    }

    pub(super) fn opened(&self, took: Duration) {
        self.opened.record(took);
        // A handshake is an answer, too.
        self.last_probe_failed.store(false, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, reason: &'static str, fault: bool, age: Duration) {
        if let Some(closings) = self.closed.named(reason) {
            closings.ages.record(age);
            if fault {
                closings.faults.add();
            }
        }
    }

    pub(super) fn connection_error(&self, phase: &'static str) {
        if let Some(errors) = self.errors.named(phase) {
            errors.add();
        }
    }

    pub(super) fn probed(&self, alive: bool) {
        self.probes[usize::from(alive)].add();
        self.last_probe_failed.store(!alive, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Totals {
        let methods = self.methods.iter().map(|method| Calls {
            #[cfg(feature = "otel")]
            method: method.0.clone(),
            tool: None,
            outcomes: method.1.read(),
            excused: method.1.excused.get(),
        });
        let tools = self.tools.iter().flat_map(Family::iter);
        let tools = tools.map(|(tool, outcomes)| Calls {
            #[cfg(feature = "otel")]
            method: Cow::Borrowed(TOOL_CALL),
            tool: Some(tool.clone()),
            outcomes: outcomes.read(),
            excused: outcomes.excused.get(),
        });
        let others = self.others.durations.get().map(|_| Calls {
            #[cfg(feature = "otel")]
            method: Cow::Borrowed(TOOL_CALL),
            tool: Some(Cow::Borrowed(OTHER_TOOLS)),
            outcomes: self.others.read(),
            excused: self.others.excused.get(),
        });
        let closed = self.closed.iter().map(|(reason, closings)| Closed {
            reason: reason.clone(),
            ages: closings.ages.read(),
            faults: closings.faults.get(),
        });
        let errors = self.errors.iter();
        Totals {
            calls: methods.chain(tools).chain(others).collect(),
            hits: self.hits.read(),
            misses: self.misses.read(),
            opened: self.opened.read(),
            closed: closed.collect(),
            errors: errors
                .map(|(phase, count)| (phase.clone(), count.get()))
                .collect(),
            retries: self.retries.get(),
            fallbacks: self.fallbacks.get(),
            transitions: self.transitions.each_ref().map(Count::get),
            rejected: self.rejected.get(),
            probes: self.probes.each_ref().map(Count::get),
            last_probe_failed: self.last_probe_failed.load(Ordering::Relaxed),
            alerts: self.alerts.get(),
            health: self.health.get(),
            #[cfg(feature = "otel")]
            transport: self.transport.get().cloned(),
        }
    }

    pub(super) fn reset(&self) {
        let tools = self.tools.iter().flat_map(Family::iter);
        for (_, outcomes) in self.methods.iter().chain(tools) {
            outcomes.reset();
        }
        self.others.reset();
        for histogram in [&self.hits, &self.misses, &self.opened] {
            histogram.reset();
        }
        for (_, closings) in self.closed.iter() {
            closings.ages.reset();
            closings.faults.set(0);
        }
        for (_, count) in self.errors.iter() {
            count.set(0);
        }
        let counts = [&self.retries, &self.fallbacks, &self.rejected];
        let rows = self.transitions.iter().chain(&self.probes);
        let alerts = [&self.alerts, &self.health];
        for count in counts.into_iter().chain(rows).chain(alerts) {
            count.set(0);
        }
        self.last_probe_failed.store(false, Ordering::Relaxed);
    }
}

impl Outcomes {
    #[inline]
    pub(super) fn of(&self, outcome: CallOutcome) -> &Histogram {
        &self.durations.get_or_init(Box::default)[outcome as usize]
    }

    pub(super) fn excuse(&self) {
        self.excused.add();
    }

    fn read(&self) -> Vec<(CallOutcome, crate::histogram::Distribution)> {
        let histograms = self.durations.get().into_iter().flat_map(|all| all.iter());
        CallOutcome::ALL
            .into_iter()
            .zip(histograms.map(Histogram::read))
            .filter(|(_, durations)| !durations.0.is_empty())
            .collect()
    }

    fn reset(&self) {
        for histogram in self.durations.get().into_iter().flat_map(|all| all.iter()) {
            histogram.reset();
        }
        self.excused.set(0);
    }
}

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The method of a call of a tool.
#[cfg(feature = "otel")]
const TOOL_CALL: &str = "tools/call";

/// The label of tools beyond the limit.
const OTHER_TOOLS: &str = "_other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcomes_are_where_their_histograms_are() {
        for (place, outcome) in CallOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
