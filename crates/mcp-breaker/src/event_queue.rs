//! Telling observers, in order and outside every lock.
//!
//! An observer must be able to call back into the breaker, so no lock may be held while it runs. Without one, two threads
//! that cause a transition each could tell them in the wrong order, and a gauge fed by them would be wrong until the
//! next. So transitions are queued under the gate's lock, in the order they happen, and delivered by whichever thread
//! finds nobody delivering. A transition caused by an observer is delivered by the loop that called it: later, not
//! deeper.

use std::collections::VecDeque;

use crate::{BreakerEvent, BreakerObserver, sync::Mutex};

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<BreakerEvent>,
    delivering: bool,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Queues events. To be called with the gate locked: that lock gives the order.
    pub(crate) fn push(&self, events: &mut Vec<BreakerEvent>) {
        self.queue.lock().events.extend(events.drain(..));
    }

    /// Delivers what is queued, unless somebody is at it. To be called with nothing locked.
    pub(crate) fn deliver(&self, observers: &[Box<dyn BreakerObserver>]) {
        {
            let mut queue = self.queue.lock();
            if queue.delivering {
                return;
            }
            queue.delivering = true;
        }
        let mut turn = Turn {
            outbox: self,
            over: false,
        };
        while let Some(event) = turn.next() {
            for observer in observers {
                observer.on_event(&event);
            }
        }
    }
}

/// The right to deliver; given up when the queue is found empty, or when an observer panics.
struct Turn<'a> {
    outbox: &'a Outbox,
    over: bool,
}

impl Turn<'_> {
    fn next(&mut self) -> Option<BreakerEvent> {
        let mut queue = self.outbox.queue.lock();
        let event = queue.events.pop_front();
        if event.is_none() {
            queue.delivering = false;
            self.over = true;
        }
        event
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.outbox.queue.lock().delivering = false;
        }
    }
}
