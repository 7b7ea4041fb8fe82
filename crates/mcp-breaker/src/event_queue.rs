//! Event queue: delivers transitions to observers in order and outside every lock.
//!
//! An observer may call back into the breaker, so no lock is held while it runs. Two threads with a transition each could
//! then report them in the wrong order. Transitions are therefore queued under the state machine's lock, and delivered by
//! one thread at a time. A transition caused by an observer is delivered by the loop that called it, without recursion.

use std::collections::VecDeque;

use crate::{BreakerEvent, BreakerObserver, sync::Mutex};

#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<BreakerEvent>,
    delivering: bool,
}

impl EventQueue {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Queues events. Call it with the state machine locked: that lock gives the order.
    pub(crate) fn push(&self, events: &mut Vec<BreakerEvent>) {
        self.queue.lock().events.extend(events.drain(..));
    }

    /// Delivers the queued events, unless another thread is delivering. Call it with nothing locked.
    pub(crate) fn deliver(&self, observers: &[Box<dyn BreakerObserver>]) {
        {
            let mut queue = self.queue.lock();
            if queue.delivering {
                return;
            }
            queue.delivering = true;
        }
        let mut turn = Turn {
            events: self,
            over: false,
        };
        while let Some(event) = turn.next() {
            for observer in observers {
                observer.on_event(&event);
            }
        }
    }
}

/// The right to deliver. It ends when the queue is empty, or when an observer panics.
struct Turn<'a> {
    events: &'a EventQueue,
    over: bool,
}

impl Turn<'_> {
    fn next(&mut self) -> Option<BreakerEvent> {
        let mut queue = self.events.queue.lock();
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
            self.events.queue.lock().delivering = false;
        }
    }
}
