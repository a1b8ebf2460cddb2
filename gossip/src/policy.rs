//! Who may talk to this node: whom the roster names.

use crate::Backend;
use mars_gossip_net::{PeerIdentity, PeerPolicy};
use mars_meta_model::{NodeId, NodeState, node_record};

/// Lets in exactly the active nodes of the roster, by name, number and key. A key that was removed is never active.
#[derive(Clone, Debug)]
pub struct RosterPolicy<B>(pub B);

impl<B: Backend> PeerPolicy for RosterPolicy<B> {
    fn allows(&self, peer: &PeerIdentity) -> bool {
        let record = self.0.with_view(|view| node_record(view, &peer.name));
        record.is_some_and(|record| {
            record.state == NodeState::Active
                && record.id == NodeId(peer.node.as_u128())
                && record.key_hash == *peer.key.as_bytes()
        })
    }
}
