//! Nobody holds anything of a resource that it was never a member of, except what it wrote itself.

use super::{Broken, Invariant};
use crate::journal::Event;
use crate::world::World;
use mars_meta_model::{Entry, Scope, member_key, scope_of};
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Scopes {
    /// Resource and host, for all who were ever made members.
    members: BTreeSet<(String, String)>,
}

impl Scopes {
    fn learn(&mut self, entries: &[Entry]) {
        for entry in entries {
            let parts: Vec<&str> = entry.key.as_str().split('/').collect();
            if let ["directory", res, member] = parts[..]
                && let Some(host) = member.strip_prefix("member-")
                && member_key(res, host).is_some()
            {
                self.members.insert((res.to_owned(), host.to_owned()));
            }
        }
    }
}

impl Invariant for Scopes {
    fn name(&self) -> &'static str {
        "scopes"
    }

    fn event(&mut self, world: &World, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Wrote { entries, .. } => self.learn(entries),
            // Unanswered writes are found on their author's disk.
            Event::Started(node) => self.learn(&world.nodes[*node].stored()),
            Event::Merged { node, applied, .. } => {
                let node = &world.nodes[*node];
                for entry in applied.iter().filter(|entry| entry.origin != node.id()) {
                    if let Scope::Resource(res) = scope_of(&entry.key) {
                        let member = (res.to_string(), node.host.clone());
                        if !self.members.contains(&member) {
                            return Err(format!("{} took {}", node.host, entry.key));
                        }
                    }
                }
            }
            Event::Crashed(_) | Event::Restored(_) | Event::Reasserted { .. } => {}
        }
        Ok(())
    }
}
