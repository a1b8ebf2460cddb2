//! Who was removed stays out: no node that knows of it lets it in, and in the end none has a line of the roster that says
//! something else, and whoever bears the name now is known everywhere.

use super::{Broken, Invariant};
use crate::node::SimNode;
use crate::world::World;
use mars_gossip::RosterPolicy;
use mars_gossip_net::{PeerIdentity, PeerPolicy as _};
use mars_meta_model::{NodeRecord, NodeState, View as _, is_removed, roster_key};

#[derive(Debug, Default)]
pub(super) struct RemovedStaysOut;

impl Invariant for RemovedStaysOut {
    fn name(&self) -> &'static str {
        "removed_stays_out"
    }

    fn always(&mut self, world: &World) -> Result<(), Broken> {
        for removed in world.nodes.iter().filter(|node| node.gone) {
            let identity = removed.identity();
            let peer = PeerIdentity {
                node: identity.node_uuid(),
                name: removed.host.clone(),
                key: identity.key_hash(),
                cluster: identity.cluster(),
            };
            for node in &world.nodes {
                let Some(store) = node.store() else { continue };
                let knows = store.with_table(|table| is_removed(table, peer.key.as_bytes()));
                if knows && RosterPolicy(store.clone()).allows(&peer) {
                    return Err(format!(
                        "{} knows that {} was removed, and lets it in",
                        node.host, peer
                    ));
                }
            }
        }
        Ok(())
    }

    fn settled(&mut self, world: &World) -> Result<(), Broken> {
        for node in world.nodes.iter().filter(|node| !node.gone) {
            let Some(store) = node.store() else { continue };
            for (index, other) in world.nodes.iter().enumerate() {
                if other.gone && world.is_succeeded(index) {
                    continue;
                }
                let line: Option<NodeRecord> = store.with_table(|table| {
                    let line = table.entry(&roster_key(&other.host)?)?;
                    line.text()?.parse().ok()
                });
                let own = line
                    .as_ref()
                    .is_some_and(|line| line.key_hash == *other.identity().key_hash().as_bytes());
                let active = line.is_some_and(|line| line.state == NodeState::Active);
                if other.gone && own && active {
                    return Err(format!("{} has {} as active", node.host, other.host));
                }
                let known = own && active;
                if !other.gone && !known {
                    return Err(format!("{} does not know {}", node.host, other.host));
                }
            }
        }
        for node in world.nodes.iter().filter(|node| node.gone) {
            // Two that were removed behind each other's back may talk, also under names that others bear now: nobody tells
            // them. So it is the nodes that count, and not their names.
            let id = |node: &SimNode| node.id().to_string();
            let (own, connected) = (id(node), node.connected_with());
            let members = world.nodes.iter().filter(|member| !member.gone);
            let talks = members.filter(|member| {
                connected.contains(&id(member)) && member.connected_with().contains(&own)
            });
            let peers: Vec<&str> = talks.map(|member| member.host.as_str()).collect();
            if !peers.is_empty() {
                return Err(format!(
                    "{} was removed and has the peers {peers:?}",
                    node.host
                ));
            }
        }
        Ok(())
    }
}
