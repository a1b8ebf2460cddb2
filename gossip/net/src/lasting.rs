//! What an endpoint must still know after a restart: how to tell peers of its former life that it is gone.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use ring::hmac;
use uuid::Uuid;

use crate::config::EndpointConfig;

const CID_LEN: usize = 8;

/// Settings by which a restarted endpoint answers packets of connections that it does not know with a stateless
/// reset (RFC 9000, 10.3), so that peers dial again at once instead of waiting for their idle timeout. `None`
/// without an identity.
///
/// The two daemons of a node share its key, but neither must give away the other's resets: the protocols served are
/// part of the derivation.
pub(crate) fn endpoint_config(config: &EndpointConfig) -> Option<quinn::EndpointConfig> {
    let identity = config.identity.as_ref()?;
    let mut purpose = b"stateless reset".to_vec();
    for alpn in &config.alpns {
        purpose.push(b' ');
        purpose.extend_from_slice(alpn.as_bytes());
    }
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &identity.key().derive(&purpose));
    let mut settings = quinn::EndpointConfig::new(Arc::new(reset));
    settings.cid_generator(|| Box::new(RandomCids));
    Some(settings)
}

/// Connection ids without a mark of the process: the default ones are dropped in silence by the next process.
struct RandomCids;

impl ConnectionIdGenerator for RandomCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let random = Uuid::new_v4();
        // Bytes 6 and 8 hold the version of the identifier.
        let [a, b, c, d, e, f, _, g, _, h, ..] = random.into_bytes();
        ConnectionId::new(&[a, b, c, d, e, f, g, h])
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
