//! Memory with 1M keys, and the time until a store of them is open, beside the other engines.
//!
//! The store has all in memory when it is open, the others read pages when they are asked for: so all are measured when
//! they are open, and again when every key was read once.

use crate::engine::{ENGINES, open};
use crate::load::{key, rng, value};
use crate::report::{Rounds, memory};
use mars_gossip_proto::ScopeIndex;
use mars_meta::{Meta, MetaConfig};
use mars_meta_model::{Scope, scope_of};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// What is measured of each subject, in the order in which [`one`] prints it.
const WHAT: [&str; 5] = [
    "time until it is open, seconds",
    "memory when it is open, MiB",
    "time until it is open and every key was read once, seconds",
    "memory when every key was read once, MiB",
    "peak memory until then, MiB",
];
/// The index of the gossip, which only the store has.
const INDEX: [&str; 2] = ["index of the gossip, seconds", "memory with it, MiB"];

/// Fills a store of `n` keys and one of each engine, then opens them in turn, each time in a fresh process.
pub fn run(dir: &Path, n: u64, rounds: usize) {
    fill_ours(&dir.join("the store"), n);
    for engine in ENGINES {
        fill(engine, &dir.join(engine), n);
    }
    let mut tables: Vec<Rounds> = WHAT.iter().chain(&INDEX).map(|what| Rounds::new(what, "plain sled")).collect();
    let program = std::env::current_exe().unwrap();
    for _ in 0..rounds {
        for subject in ["the store"].iter().chain(&ENGINES) {
            let output = std::process::Command::new(&program)
                .args(["open-one", subject])
                .arg(dir.join(subject))
                .output()
                .unwrap();
            assert!(output.status.success(), "{subject}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(numbers[0], n as f64, "{subject}: keys that were read");
            for (table, number) in tables.iter_mut().zip(&numbers[1..]) {
                table.add(subject, *number);
            }
        }
    }
    for table in &tables {
        table.print();
    }
    println!();
    for subject in ["the store"].iter().chain(&ENGINES) {
        println!("  {subject}: {} MB on the disk", bytes(&dir.join(subject)) / 1_000_000);
    }
}

fn fill_ours(dir: &Path, n: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let meta = Meta::open(&MetaConfig::new(dir.join("db"))).unwrap();
    let mut random = rng(5);
    for first in (0..n).step_by(4000) {
        let changes = (first..n.min(first + 4000)).map(|i| (key(i), Some(value(&mut random, 100))));
        meta.blocking_apply(changes.collect(), false).unwrap();
    }
    meta.blocking_close();
}

/// The same keys and values.
fn fill(name: &str, dir: &Path, n: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let mut engine = open(name, dir);
    let mut random = rng(5);
    for first in (0..n).step_by(4000) {
        let pairs = (first..n.min(first + 4000)).map(|i| {
            let text = key(i).as_str().as_bytes().to_vec();
            (text, value(&mut random, 100).as_bytes().to_vec())
        });
        engine.put_lazy(&pairs.collect());
    }
    engine.sync();
}

fn bytes(path: &Path) -> u64 {
    let meta = std::fs::symlink_metadata(path).unwrap();
    if !meta.is_dir() {
        return meta.len();
    }
    std::fs::read_dir(path).unwrap().map(|entry| bytes(&entry.unwrap().path())).sum()
}

/// Opens what [`run`] has filled and prints what it took, for the parent: keys, then [`WHAT`] and [`INDEX`].
pub fn one(subject: &str, dir: &Path) {
    if subject == "the store" {
        return ours(dir);
    }
    let before = memory().0;
    let start = Instant::now();
    let mut engine = open(subject, dir);
    let (opened, held) = (start.elapsed().as_secs_f64(), memory().0);
    let keys = engine.read_all();
    let (read, (after, peak)) = (start.elapsed().as_secs_f64(), memory());
    println!("{keys} {opened} {} {read} {} {}", held - before, after - before, peak - before);
}

fn ours(dir: &Path) {
    let before = memory().0;
    let start = Instant::now();
    let meta = Meta::open(&MetaConfig::new(dir.join("db"))).unwrap();
    let (opened, held) = (start.elapsed().as_secs_f64(), memory().0);
    let keys = meta.with_table(|table| table.iter().filter(|entry| entry.value().is_some()).count());
    let (read, (after, peak)) = (start.elapsed().as_secs_f64(), memory());
    let start = Instant::now();
    let mut indexes: BTreeMap<Scope, ScopeIndex> = BTreeMap::new();
    meta.with_table(|table| {
        for entry in table.iter() {
            indexes.entry(scope_of(&entry.key)).or_default().put(entry);
        }
    });
    let indexed = start.elapsed().as_secs_f64();
    println!(
        "{keys} {opened} {} {read} {} {} {indexed} {}",
        held - before,
        after - before,
        peak - before,
        memory().0 - before
    );
    meta.blocking_close();
}
