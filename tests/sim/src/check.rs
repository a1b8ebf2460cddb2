//! What must hold.
//!
//! * *Convergence*: when all is mended and quiet, every member of a scope holds, for every durable key of it, the
//!   greatest entry that was ever acknowledged to a client anywhere, tombstones included: nothing lost, nothing
//!   resurrected.
//! * *Scope*: a node holds nothing of a resource that it is no member of, except what it wrote itself.
//! * *Volatile*: the members of a scope hold the newest observations of the nodes' present lives.

use crate::World;
use mars_meta_model::{Entry, Scope, Table, View as _, is_volatile, scope_includes, scope_of};
use std::cmp::Ordering;

/// A rule that is broken, in words.
pub type Broken = String;

/// The first difference between what is promised and what the nodes hold.
///
/// # Errors
/// The first rule found broken.
pub fn converged(world: &World) -> Result<(), Broken> {
    for node in &world.nodes {
        if node.gone {
            continue;
        }
        let Some(store) = node.store() else {
            return Err(format!("{} does not run", node.host));
        };
        store.with_table(|table| {
            for entry in world.promised.iter().filter(|entry| !is_volatile(entry)) {
                if concerns(&world.promised, entry, &node.host) {
                    same(&node.host, entry, table.entry(&entry.key))?;
                }
            }
            table
                .iter()
                .filter(|entry| !is_volatile(entry) && world.promised.entry(&entry.key).is_none())
                .try_for_each(|entry| {
                    Err(format!(
                        "{} holds {} that nobody wrote",
                        node.host, entry.key
                    ))
                })
        })?;
    }
    Ok(())
}

/// Whether every node's own observations are at all members of their scopes.
///
/// # Errors
/// The first rule found broken.
pub fn observations_spread(world: &World) -> Result<(), Broken> {
    for origin in &world.nodes {
        let Some(store) = origin.store() else {
            continue;
        };
        let own = |entry: &Entry| is_volatile(entry) && entry.origin == origin.id();
        for entry in store.entries().iter().filter(|entry| own(entry)) {
            for node in &world.nodes {
                if let Some(store) = node.store()
                    && concerns(&world.promised, entry, &node.host)
                {
                    store.with_table(|t| same(&node.host, entry, t.entry(&entry.key)))?;
                }
            }
        }
    }
    Ok(())
}

/// Whether nobody holds what does not concern it. `members` says who was ever a member of which resource.
///
/// # Errors
/// The first rule found broken.
pub fn nothing_leaked(
    world: &World,
    was_member: impl Fn(&str, &str) -> bool,
) -> Result<(), Broken> {
    for node in &world.nodes {
        let Some(store) = node.store() else {
            continue;
        };
        for entry in store.entries() {
            if let Scope::Resource(res) = scope_of(&entry.key)
                && entry.origin != node.id()
                && !was_member(&res, &node.host)
            {
                return Err(format!(
                    "{} holds {} of a resource not its own",
                    node.host, entry.key
                ));
            }
        }
    }
    Ok(())
}

/// Whether all running nodes know all others, and say that they agree with all their neighbours.
///
/// # Errors
/// The first pair that does not.
pub fn all_synced(world: &World) -> Result<(), Broken> {
    for node in &world.nodes {
        let known = node.status().map_or(0, mars_gossip::Status::known);
        if known + 1 != world.nodes.len() {
            return Err(format!("{} knows {known} peers", node.host));
        }
        if let Some(peer) = node.status().and_then(|status| status.open(|_| false)) {
            return Err(format!("{} is not in agreement with {peer}", node.host));
        }
    }
    Ok(())
}

fn concerns(directory: &Table, entry: &Entry, host: &str) -> bool {
    scope_includes(directory, &scope_of(&entry.key), host)
}

fn same(host: &str, want: &Entry, found: Option<&Entry>) -> Result<(), Broken> {
    match found {
        Some(found) if found.cmp_version(want) == Ordering::Equal => Ok(()),
        found => Err(format!(
            "{host}: {} should be {:?} of {} by {}, but is {:?}",
            want.key,
            want.cell,
            want.stamp,
            want.origin.0,
            found.map(|found| (&found.cell, found.stamp))
        )),
    }
}
