//! No node takes a stamp that lies beyond the drift bound of its own system clock.

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_lamport::DEFAULT_MAX_AHEAD;
use mars_meta_model::Entry;

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
            epoch,
            applied,
            ..
        } = event
        else {
            return Ok(());
        };
        let bound = wall + DEFAULT_MAX_AHEAD;
        // Stamps of earlier epochs say nothing any more.
        let far = |entry: &&Entry| entry.epoch >= *epoch && entry.stamp.as_nanos() > bound;
        match applied.iter().find(far) {
            None => Ok(()),
            Some(entry) => Err(format!(
                "{} took {} of epoch {} in epoch {epoch} with the stamp {}, {} ms ahead of its clock",
                world.nodes[*node].host,
                entry.key,
                entry.epoch,
                entry.stamp,
                (entry.stamp.as_nanos() - wall) / 1_000_000
            )),
        }
    }
}
