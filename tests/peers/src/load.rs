//! The load: keys and values as a fleet of resources has them.

use mars_meta_model::{Key, Value};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Families of keys of one resource on one host; all durable.
const NAMES: [&str; 20] = [
    "data", "device", "replay", "syncstatus", "syncpos", "verifystatus", "syncfrom", "skip-check",
    "connect", "version-000000001", "version-000000002", "version-000000003", "version-000000004",
    "version-000000005", "version-000000006", "version-000000007", "version-000000008",
    "version-000000009", "version-000000010", "version-000000011",
];

/// The key number `i`; about 45 bytes.
pub fn key(i: u64) -> Key {
    let name = NAMES[usize::try_from(i % 20).unwrap()];
    let host = i.wrapping_mul(2_654_435_761) % 4000;
    Key::parse(&format!("resource-vol{:06}/{name}-host{host:04}", i / 20)).unwrap()
}

/// A seeded stream of numbers.
pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A value of `len` printable bytes.
pub fn value(rng: &mut ChaCha8Rng, len: usize) -> Value {
    let bytes: Vec<u8> = (0..len).map(|_| rng.random_range(b'0'..=b'z')).collect();
    Value::new(bytes).unwrap()
}
