//! No node takes a stamp that lies beyond the drift bound of its own system clock.

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_model::{Entry, current_epoch};

#[derive(Debug, Default)]
pub(super) struct DriftBound;

impl Invariant for DriftBound {
    fn name(&self) -> &'static str {
        "drift_bound"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        let Event::Merged {
            node,
            wall,
            applied,
            ..
        } = event
        else {
            return Ok(());
        };
        let bound = wall + DEFAULT_MAX_AHEAD;
        // Stamps of earlier epochs say nothing any more.
        let epoch = world.nodes[*node]
            .store()
            .map_or(0, |store| store.with_table(current_epoch));
        let far = |entry: &&Entry| entry.epoch >= epoch && entry.stamp.as_nanos() > bound;
        match applied.iter().find(far) {
            None => Ok(()),
            Some(entry) => Err(format!(
                "{} took {} with the stamp {}, {} ms ahead of its clock",
                world.nodes[*node].host,
                entry.key,
                entry.stamp,
                (entry.stamp.as_nanos() - wall) / 1_000_000
            )),
        }
    }
}
