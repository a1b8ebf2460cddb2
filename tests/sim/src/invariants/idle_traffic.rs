//! When nothing changes, a node sends no more than a few bytes per second to each neighbour.

use super::{Broken, Invariant, Quiet};
use crate::world::World;

/// Bytes of UDP payload per second, for each neighbour.
pub const PER_NEIGHBOUR: u64 = 40;
/// The same, for a node that has hardly any.
pub const PER_NODE: u64 = 150;

#[derive(Debug, Default)]
pub(super) struct IdleTraffic;

impl Invariant for IdleTraffic {
    fn name(&self) -> &'static str {
        "idle_traffic"
    }

    fn quiet(&mut self, world: &World, quiet: &Quiet) -> Result<(), Broken> {
        for (node, sent) in world.nodes.iter().zip(&quiet.sent) {
            let peers = u64::try_from(node.connections().unwrap_or(0)).unwrap();
            let rate = sent / quiet.time.as_secs().max(1);
            let bound = PER_NODE.max(PER_NEIGHBOUR * peers);
            if rate > bound {
                return Err(format!(
                    "{} sends {rate} B/s to {peers} neighbours with nothing to say, at most {bound}",
                    node.host
                ));
            }
        }
        Ok(())
    }
}
