//! What lets a peer notice that this process died and came back: stateless resets (RFC 9000, 10.3).
//!
//! A process that was killed says no goodbye. Its successor gets packets of connections that it does not know, and
//! answers with the reset token that belongs to them. With a key of its own for each start the token would be
//! wrong, and the peer would go on sending into the void until the idle timeout.

use std::sync::Arc;

use ring::hmac;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::alpn::Alpn;
use crate::config::Seed;
use crate::identity::Identity;
use crate::seeded;

/// Endpoint settings with a reset key that is the same after every start.
///
/// It follows from the node's private key, and from the protocols served: the two daemons of a node share the key,
/// and neither may answer for connections of the other.
pub(crate) fn endpoint_config(identity: &Identity, alpns: &[Alpn]) -> quinn::EndpointConfig {
    let mut context =
        hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, identity.key().secret()));
    context.update(b"mars stateless reset 1");
    for alpn in alpns {
        context.update(b"\0");
        context.update(alpn.as_bytes());
    }
    let mut secret = Zeroizing::new([0; 32]);
    secret.copy_from_slice(context.sign().as_ref());
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &*secret);
    let mut config = quinn::EndpointConfig::new(Arc::new(reset));
    // The library's own connection ids are only recognised by the process that drew them.
    let mut fresh: Seed = [0; 32];
    fresh[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    fresh[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    seeded::set_cids(&mut config, &fresh);
    config
}
