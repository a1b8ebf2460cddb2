//! A key that belongs to a host was written by that host, or openly in its name.

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_meta_model::{Entry, NodeId, Owner, classify};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Who ever bore a name.
    ids: BTreeMap<String, BTreeSet<NodeId>>,
    nodes: usize,
}

impl Owners {
    fn check(&mut self, world: &World, node: usize, entries: &[Entry]) -> Result<(), Broken> {
        for node in &world.nodes[self.nodes..] {
            let ids = self.ids.entry(node.host.clone()).or_default();
            ids.insert(node.id());
        }
        self.nodes = world.nodes.len();
        for entry in entries.iter().filter(|entry| !entry.forced) {
            let (family, host, _) = classify(&entry.key);
            let owner = host.and_then(|host| self.ids.get(host));
            if family.owner == Owner::Host && owner.is_some_and(|ids| !ids.contains(&entry.origin))
            {
                return Err(format!(
                    "{} took {}, written by node {}",
                    world.nodes[node].host, entry.key, entry.origin.0
                ));
            }
        }
        Ok(())
    }
}

impl Invariant for Owners {
    fn name(&self) -> &'static str {
        "owners"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Merged { node, applied, .. } => self.check(world, *node, applied),
            _ => Ok(()),
        }
    }
}
