//! How many syncs run on this host at the same time (`defaults-H/sync-limit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count and its limit, shared by all drivers of a host.
#[derive(Debug, Default)]
pub(crate) struct SyncSlots {
    running: AtomicUsize,
    /// 0 means no limit.
    limit: AtomicUsize,
}

/// The right to run one sync; given back when dropped.
#[derive(Debug)]
pub(crate) struct SyncSlot(Arc<SyncSlots>);

impl SyncSlots {
    /// Sets the limit; 0 is none. Syncs that run go on.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit now.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// A slot, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<SyncSlot> {
        let limit = self.limit();
        self.running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
                (limit == 0 || running < limit).then_some(running + 1)
            })
            .ok()
            .map(|_| SyncSlot(Arc::clone(self)))
    }
}

impl Drop for SyncSlot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_until_a_slot_is_given_back() {
        let slots = Arc::new(SyncSlots::default());
        let many: Vec<_> = (0..5).map(|_| slots.take().unwrap()).collect();
        slots.set_limit(2);
        assert!(slots.take().is_none(), "five run already");
        drop(many);
        let first = slots.take().unwrap();
        let _second = slots.take().unwrap();
        assert!(slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
    }
}
