//! What a node acknowledged is not lost: after a restart it still has it, and in the end all members of the scope have
//! it or something newer. Not promised is what only a disk held that was replaced by an older one, or whose node left
//! for good.

use super::{Broken, Invariant, concerns, show};
use crate::journal::Event;
use crate::world::World;
use mars_meta_model::{Entry, Table, View as _, is_volatile};
use std::cmp::Ordering;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct NoLoss {
    own: BTreeMap<usize, Table>,
}

/// Whether what is held fulfils a promise. A deletion may have been forgotten since.
fn fulfils(held: Option<&Entry>, promised: &Entry) -> bool {
    match held {
        None => promised.is_tombstone(),
        // A value that is older than a deletion is another rule's matter.
        Some(held) => promised.is_tombstone() || held.cmp_version(promised) != Ordering::Less,
    }
}

impl Invariant for NoLoss {
    fn name(&self) -> &'static str {
        "no_loss"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Wrote { node, entries } => {
                let own = self.own.entry(*node).or_default();
                for entry in entries.iter().filter(|entry| !is_volatile(entry)) {
                    own.merge(entry.clone());
                }
            }
            Event::Restored(node) => {
                self.own.remove(node);
            }
            Event::Started(index) => {
                let (node, own) = (&world.nodes[*index], self.own.get(index));
                for promised in own.into_iter().flat_map(Table::iter) {
                    let held = node
                        .store()
                        .map(|store| store.with_table(|table| table.entry(&promised.key).cloned()));
                    // A node that is down again was looked at when it started.
                    if let Some(held) = held.filter(|held| !fulfils(held.as_ref(), promised)) {
                        return Err(format!(
                            "{} started with {} for {}, and had acknowledged {}",
                            node.host,
                            show(held.as_ref()),
                            promised.key,
                            show(Some(promised))
                        ));
                    }
                }
            }
            Event::Crashed(_) | Event::Merged { .. } | Event::Reasserted { .. } => {}
        }
        Ok(())
    }

    fn settled(&mut self, world: &World) -> Result<(), Broken> {
        for node in world.nodes.iter().filter(|node| !node.gone) {
            let Some(store) = node.store() else {
                return Err(format!("{} does not run", node.host));
            };
            let mut lost = None;
            store.with_table(|table| {
                let mut durable = world.promised.iter().filter(|entry| !is_volatile(entry));
                lost = durable
                    .find(|promised| {
                        let held = table.entry(&promised.key);
                        let collected = held.is_none() && world.ledger.deleted_after(promised);
                        concerns(world, promised, &node.host)
                            && !fulfils(held, promised)
                            && !collected
                    })
                    .map(|promised| (promised.clone(), table.entry(&promised.key).cloned()));
            });
            if let Some((promised, held)) = lost {
                return Err(format!(
                    "{} holds {} for {}, promised is {}",
                    node.host,
                    show(held.as_ref()),
                    promised.key,
                    show(Some(&promised))
                ));
            }
        }
        Ok(())
    }
}
