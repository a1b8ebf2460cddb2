//! What happened, for the invariants to look at.

use mars_meta_model::Entry;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Something that happened to a node, named by its place in [`crate::World::nodes`].
#[derive(Clone, Debug)]
pub enum Event {
    /// A process began; its store was opened.
    Started(usize),
    /// The process is gone.
    Crashed(usize),
    /// An older disk was put in the place of the present one.
    Restored(usize),
    /// A local write was answered.
    Wrote {
        /// The node.
        node: usize,
        /// What was written.
        entries: Vec<Entry>,
    },
    /// What a node held was written anew by itself, over what it refused.
    Reasserted {
        /// The node.
        node: usize,
        /// What was written.
        entries: Vec<Entry>,
    },
    /// Received entries were applied.
    Merged {
        /// The node.
        node: usize,
        /// When.
        at: Instant,
        /// The node's system clock in ns.
        wall: u64,
        /// The node's epoch afterwards.
        epoch: u16,
        /// What was applied.
        applied: Vec<Entry>,
        /// What was refused for its stamp.
        refused: Vec<Entry>,
    },
}

#[derive(Debug, Default)]
struct Inner {
    on: bool,
    events: Vec<Event>,
}

/// A record of [`Event`]s. Empty until it is switched on. Clones are the same journal.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Inner>>);

impl Journal {
    /// Records from now on.
    pub fn switch_on(&self) {
        self.0.lock().unwrap().on = true;
    }

    pub(crate) fn record(&self, event: impl FnOnce() -> Event) {
        let mut inner = self.0.lock().unwrap();
        if inner.on {
            inner.events.push(event());
        }
    }

    /// All that was recorded since the last call, in order.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap().events)
    }
}
