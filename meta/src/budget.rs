//! Bytes that several watches may queue together.

use mars_meta_model::{Entry, encoded_len};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an entry costs in a queue beside its bytes.
const ENTRY_COST: usize = 64;

/// What watches have queued, and may queue at most.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most,
        }
    }

    /// For those whose queue is bounded by its length alone.
    pub(crate) const fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    pub(crate) fn cost(entry: &Entry) -> usize {
        encoded_len(entry) + ENTRY_COST
    }

    /// Takes so much of it, if it is there.
    pub(crate) fn take(&self, cost: usize) -> bool {
        let more = |used: usize| used.checked_add(cost).filter(|used| *used <= self.most);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    pub(crate) fn give(&self, cost: usize) {
        self.used.fetch_sub(cost, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
