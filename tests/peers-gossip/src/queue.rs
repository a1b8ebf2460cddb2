//! A queue of events in virtual time, for crates that are state machines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Events by time; those of one moment in the order in which they came.
pub struct Queue<E> {
    now: Duration,
    next: u64,
    order: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, E>,
}

impl<E> Queue<E> {
    pub fn new() -> Self {
        Self {
            now: Duration::ZERO,
            next: 0,
            order: BinaryHeap::new(),
            events: BTreeMap::new(),
        }
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// At a moment that does not lie in the past.
    pub fn at(&mut self, at: Duration, event: E) {
        let at = at.max(self.now);
        self.order.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    /// The next event until `end`, whose time it becomes; without one it is `end`.
    pub fn pop(&mut self, end: Duration) -> Option<E> {
        let due = self.order.peek().is_some_and(|Reverse((at, _))| *at <= end);
        if !due {
            self.now = end;
            return None;
        }
        let Reverse((at, number)) = self.order.pop()?;
        self.now = at;
        self.events.remove(&number)
    }
}
