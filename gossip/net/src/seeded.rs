//! Repeatable stand-ins for what the QUIC layer draws at random.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{ConnectionId, ConnectionIdGenerator, TimeSource};
use ring::{hkdf, hmac};
use rustls::time_provider::TimeProvider;

use crate::config::Seed;

const CID_LEN: usize = 8;

/// Connection ids as a keyed counter.
struct SeededCids {
    key: hmac::Key,
    next: u64,
}

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let tag = hmac::sign(&self.key, &self.next.to_le_bytes());
        self.next += 1;
        ConnectionId::new(tag.as_ref().get(..CID_LEN).unwrap_or_default())
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn derive(seed: &Seed, purpose: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, purpose).as_ref());
    out
}

/// Endpoint settings drawn from the seed.
pub(crate) fn endpoint_config(seed: &Seed) -> quinn::EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &derive(seed, b"reset"));
    let mut config = quinn::EndpointConfig::new(Arc::new(reset));
    config.rng_seed(Some(derive(seed, b"rng")));
    set_cids(&mut config, seed);
    config
}

/// Connection ids drawn from the seed; packets with any others are answered too (with a stateless reset).
pub(crate) fn set_cids(config: &mut quinn::EndpointConfig, seed: &Seed) {
    let cids = derive(seed, b"cid");
    config.cid_generator(move || {
        Box::new(SeededCids {
            key: hmac::Key::new(hmac::HMAC_SHA256, &cids),
            next: 0,
        })
    });
}

/// The key of address validation tokens.
pub(crate) fn token_key(seed: &Seed) -> Arc<hkdf::Prk> {
    Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&derive(seed, b"token")))
}

/// Our wall clock as QUIC wants to see it.
pub(crate) struct WallClock(pub(crate) Arc<dyn TimeProvider>);

impl TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        let secs = self.0.current_time().map_or(0, |t| t.as_secs());
        UNIX_EPOCH + Duration::from_secs(secs)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
