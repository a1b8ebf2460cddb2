//! Who may talk to us.

use std::fmt;

use crate::cert::PeerIdentity;

/// Decides whether a peer with a valid certificate of our cluster may talk to us: the roster.
///
/// Asked right after each handshake, on both sides, for the protocols that need a certificate,
/// and again for each live connection by [`Endpoint::enforce_policy`](crate::Endpoint). It must
/// answer from memory: it is called on the network's tasks.
pub trait PeerPolicy: Send + Sync + 'static {
    /// Whether this peer is welcome now. `peer.key` is what to look up; name and node are what
    /// the certificate says and must match the entry found.
    fn allows(&self, peer: &PeerIdentity) -> bool;
}

/// Allows every holder of a certificate of the cluster; for tests and for tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowMembers;

impl PeerPolicy for AllowMembers {
    fn allows(&self, _peer: &PeerIdentity) -> bool {
        true
    }
}

impl fmt::Debug for dyn PeerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerPolicy")
    }
}
