//! Memory of a loaded store, and the time until it is open.

use crate::load::{key, rng, value};
use crate::report::memory;
use mars_gossip_proto::ScopeIndex;
use mars_meta::{Meta, MetaConfig};
use mars_meta_model::{Scope, scope_of};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Fills a store of `n` keys, then opens it in a fresh process.
pub fn run(dir: &Path, n: u64) {
    let meta = Meta::open(&MetaConfig::new(dir.join("db"))).unwrap();
    let mut random = rng(5);
    for first in (0..n).step_by(4000) {
        let changes = (first..n.min(first + 4000)).map(|i| (key(i), Some(value(&mut random, 100))));
        meta.blocking_apply(changes.collect(), false).unwrap();
    }
    meta.blocking_close();
    drop(meta);
    let program = std::env::current_exe().unwrap();
    for _ in 0..5 {
        let status = std::process::Command::new(&program).arg("open-one").arg(dir).status().unwrap();
        assert!(status.success());
    }
}

/// Opens the store of [`run`] and prints what it took.
pub fn one(dir: &Path) {
    let before = memory().0;
    let start = Instant::now();
    let meta = Meta::open(&MetaConfig::new(dir.join("db"))).unwrap();
    let opened = start.elapsed().as_secs_f64();
    let (with_store, peak) = memory();
    let start = Instant::now();
    let mut indexes: BTreeMap<Scope, ScopeIndex> = BTreeMap::new();
    let keys = meta.with_table(|table| {
        for entry in table.iter() {
            indexes.entry(scope_of(&entry.key)).or_default().put(entry);
        }
        table.len()
    });
    let indexed = start.elapsed().as_secs_f64();
    println!(
        "{keys} keys of 100-byte values: open in {opened:.2} s, {} MiB (peak {peak} MiB); index of the gossip in {indexed:.2} s, together {} MiB",
        with_store - before,
        memory().0 - before
    );
    meta.blocking_close();
}
