//! The stamps that a node issues strictly increase, also over restarts. (A disk that was restored may hold an older
//! bound of the clock: the count begins anew with it.)

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_lamport::Timestamp;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Stamps {
    issued: BTreeMap<usize, Timestamp>,
}

impl Invariant for Stamps {
    fn name(&self) -> &'static str {
        "stamps"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Restored(node) => {
                self.issued.remove(node);
            }
            Event::Wrote { node, entries } => {
                for entry in entries {
                    let last = self.issued.insert(*node, entry.stamp);
                    if let Some(last) = last.filter(|last| *last >= entry.stamp) {
                        let host = &world.nodes[*node].host;
                        return Err(format!("{host} issued {} after {last}", entry.stamp));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
