//! No queue is longer than its limit: of changes for gossip, of keys and messages for a peer, of entries to be merged.

use super::{Broken, Invariant};
use crate::store::FEED_LEN;
use crate::world::World;
use mars_gossip_proto::limits::{
    BATCH_ENTRIES_MAX, CONTROL_MAX, PENDING_MERGE_MAX, QUARANTINE_MAX,
};

/// Packets that wait in a socket: a node reads them as soon as they arrive.
const SOCKET_LEN_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct BoundedQueues;

impl Invariant for BoundedQueues {
    fn name(&self) -> &'static str {
        "bounded_queues"
    }

    fn always(&mut self, world: &World) -> Result<(), Broken> {
        let keys = world.ledger.keys();
        for node in &world.nodes {
            let (Some(store), Some(status)) = (node.store(), node.status()) else {
                continue;
            };
            let load = status.load();
            let rows = [
                ("changes for gossip", store.longest_feed(), FEED_LEN),
                // A key waits once, however often it was changed: as a change, as a repair, or as an observation.
                ("keys for a peer", load.queued, 3 * keys + CONTROL_MAX),
                (
                    "entries to merge",
                    load.merging,
                    PENDING_MERGE_MAX + BATCH_ENTRIES_MAX,
                ),
                ("refused entries", load.refused, QUARANTINE_MAX),
            ];
            for (what, len, limit) in rows {
                if len > limit {
                    return Err(format!("{}: {len} {what}, at most {limit}", node.host));
                }
            }
        }
        let waiting = world.net.longest_queue();
        if waiting > SOCKET_LEN_MAX {
            return Err(format!("{waiting} packets wait in one socket"));
        }
        Ok(())
    }
}
