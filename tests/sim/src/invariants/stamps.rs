//! The stamps that a node issues strictly increase, also over restarts. (A disk that was restored may hold an older
//! bound of the clock: the count begins anew with it.)

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_lamport::Timestamp;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// In the order of entries: a later epoch leads, and its stamps begin anew.
    issued: BTreeMap<usize, (u16, Timestamp)>,
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
                    let place = (entry.epoch, entry.stamp);
                    let last = self.issued.insert(*node, place);
                    if let Some((epoch, last)) = last.filter(|last| *last >= place) {
                        let host = &world.nodes[*node].host;
                        return Err(format!(
                            "{host} issued {} of epoch {} after {last} of {epoch}",
                            entry.stamp, entry.epoch
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
