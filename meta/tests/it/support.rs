//! What several tests share.

use mars_meta::{Change, Meta, MetaConfig};
use mars_meta_model::testing::MemStore;
use mars_meta_model::{Entry, Key, Store, Value, Write};
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub(crate) fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

pub(crate) fn set(text: &str, value: &str) -> Change {
    (key(text), Some(Value::text(value).unwrap()))
}

pub(crate) fn del(text: &str) -> Change {
    (key(text), None)
}

/// A seed for a randomised test: from `MARS_SEED`, or new; printed in any case.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = std::env::var("MARS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(mars_meta::random_boot);
    println!("{test}: run again with MARS_SEED={seed}");
    seed
}

/// SplitMix64: enough to draw numbers from a seed.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A configuration with a system clock that ticks 1 us per look.
pub(crate) fn config(path: &Path) -> MetaConfig {
    let clock = AtomicU64::new(1_000_000_000_000);
    MetaConfig {
        wall: Arc::new(move || clock.fetch_add(1000, Ordering::Relaxed)),
        ..MetaConfig::new(path)
    }
}

/// A store in memory that counts commits and can be held before the next one.
#[derive(Clone, Default)]
pub(crate) struct Gated {
    store: Arc<Mutex<MemStore>>,
    pub(crate) commits: Arc<AtomicUsize>,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Default)]
struct Gate {
    shut: bool,
    arrived: usize,
}

impl Gated {
    pub(crate) fn shut(&self) {
        self.gate.0.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.gate.0.lock().unwrap().shut = false;
        self.gate.1.notify_all();
    }

    /// Waits until the writer stands before the shut gate.
    pub(crate) fn wait_arrived(&self) {
        let mut gate = self.gate.0.lock().unwrap();
        while gate.arrived == 0 {
            gate = self.gate.1.wait(gate).unwrap();
        }
    }
}

impl Store for Gated {
    type Error = Infallible;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), Infallible> {
        self.store.lock().unwrap().load(sink)
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), Infallible> {
        let mut gate = self.gate.0.lock().unwrap();
        gate.arrived += 1;
        self.gate.1.notify_all();
        while gate.shut {
            gate = self.gate.1.wait(gate).unwrap();
        }
        gate.arrived -= 1;
        drop(gate);
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.store.lock().unwrap().commit(writes)
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, Infallible> {
        self.store.lock().unwrap().local(name)
    }
}

/// Counts the commits of another store.
pub(crate) struct Counting<S> {
    pub(crate) store: S,
    pub(crate) commits: Arc<AtomicUsize>,
}

impl<S: Store> Store for Counting<S> {
    type Error = S::Error;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), S::Error> {
        self.store.load(sink)
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), S::Error> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.store.commit(writes)
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, S::Error> {
        self.store.local(name)
    }
}

pub(crate) fn in_memory() -> Meta {
    Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap()
}
