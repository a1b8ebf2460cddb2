//! What lets the peers of a restarted node notice at once that their connections are gone.
//!
//! A packet for a connection that this endpoint does not know is answered with a stateless reset (RFC 9000, section
//! 10.3). Peers believe it only if its token is the one that the earlier process announced; hence both the tokens
//! and the connection ids are derived from the node's key, the same in every life of the node.

use crate::alpn::Alpn;
use crate::key::NodeKey;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use std::sync::Arc;

/// Endpoint settings of the node with `key`, for an endpoint of these protocols.
///
/// The two daemons of a node share its key, but not their tokens: else a packet with the connection id of one, sent
/// to the other, would bring out the token that ends the connection (RFC 9000, section 21.11).
pub(crate) fn endpoint_config(key: &NodeKey, alpns: &[Alpn]) -> quinn::EndpointConfig {
    let mut purpose = b"mars quic reset 1".to_vec();
    for alpn in alpns {
        purpose.push(b' ');
        purpose.extend_from_slice(alpn.as_bytes());
    }
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &key.derive(&purpose)[..]);
    let mut config = quinn::EndpointConfig::new(Arc::new(reset));
    let mut cid_key = [0; 8];
    cid_key.copy_from_slice(&key.derive(b"mars quic connection ids 1")[..8]);
    let cid_key = u64::from_le_bytes(cid_key);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    config
}
