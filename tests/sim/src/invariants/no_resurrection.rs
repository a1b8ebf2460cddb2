//! What was deleted stays deleted: no node goes back to an older version of a key than it had, not even over a
//! restart (unless its disk was replaced by an older one), and in the end no node holds a value that is older than the
//! deletion.

use super::{Broken, Invariant, concerns, show};
use crate::journal::Event;
use crate::world::World;
use mars_meta_model::{Entry, Table, View as _, is_volatile};
use std::cmp::Ordering;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct NoResurrection {
    seen: BTreeMap<usize, Table>,
}

impl NoResurrection {
    fn see(&mut self, world: &World, node: usize, entries: &[Entry]) -> Result<(), Broken> {
        let seen = self.seen.entry(node).or_default();
        for entry in entries.iter().filter(|entry| !is_volatile(entry)) {
            if let Some(before) = seen.entry(&entry.key)
                && before.is_tombstone()
                && entry.cmp_version(before) == Ordering::Less
            {
                return Err(format!(
                    "{} brought {} back: {} after {}",
                    world.nodes[node].host,
                    entry.key,
                    show(Some(entry)),
                    show(Some(before))
                ));
            }
            seen.remove(&entry.key);
            seen.merge(entry.clone());
        }
        Ok(())
    }
}

impl Invariant for NoResurrection {
    fn name(&self) -> &'static str {
        "no_resurrection"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Restored(node) => {
                self.seen.remove(node);
                Ok(())
            }
            Event::Wrote { node, entries } | Event::Reasserted { node, entries } => {
                self.see(world, *node, entries)
            }
            Event::Merged { node, applied, .. } => self.see(world, *node, applied),
            Event::Started(_) | Event::Crashed(_) => Ok(()),
        }
    }

    fn settled(&mut self, world: &World) -> Result<(), Broken> {
        let dead = world.promised.iter().filter(|entry| entry.is_tombstone());
        for promised in dead {
            for node in world.nodes.iter().filter(|node| !node.gone) {
                let Some(store) = node.store() else { continue };
                let risen = store.with_table(|table| {
                    let held = table.entry(&promised.key);
                    let older = held.filter(|held| held.cmp_version(promised) == Ordering::Less);
                    older.filter(|held| !held.is_tombstone()).cloned()
                });
                if risen.is_some() && concerns(world, promised, &node.host) {
                    return Err(format!(
                        "{} holds {} as {}, deleted by {}",
                        node.host,
                        promised.key,
                        show(risen.as_ref()),
                        show(Some(promised))
                    ));
                }
            }
        }
        Ok(())
    }
}
