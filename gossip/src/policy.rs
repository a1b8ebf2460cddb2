//! Who may talk to this node: whom the roster names.

use crate::Backend;
use mars_gossip_net::{PeerIdentity, PeerPolicy};
use mars_meta_model::{NodeId, NodeRecord, NodeState, roster_key};

/// Lets in exactly the active nodes of the roster, by name, number and key.
#[derive(Clone, Debug)]
pub struct RosterPolicy<B>(pub B);

impl<B: Backend> PeerPolicy for RosterPolicy<B> {
    fn allows(&self, peer: &PeerIdentity) -> bool {
        let record = self.0.with_view(|view| {
            let key = roster_key(&peer.name)?;
            view.entry(&key)?.text()?.parse::<NodeRecord>().ok()
        });
        record.is_some_and(|record| {
            record.state == NodeState::Active
                && record.id == NodeId(peer.node.as_u128())
                && record.key_hash == *peer.key.as_bytes()
        })
    }
}
