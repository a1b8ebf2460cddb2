//! `set`, durable: many writers sharing commits, and one alone.

use crate::engine::{ENGINES, Engine, open};
use crate::load::{key, rng, value};
use crate::report::{Rounds, rate};
use mars_meta::{Job, Meta, MetaConfig, Source};
use rand::Rng as _;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

const VALUE: usize = 88;
const KEYS: u64 = 100_000;
/// Writers that each wait for their own write before the next.
const WRITERS: u64 = 64;

/// The other engines, each in a folder of its own below `dir`.
fn all(dir: &Path) -> Vec<(&'static str, Box<dyn Engine>)> {
    ENGINES
        .iter()
        .map(|name| {
            let folder = dir.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            (*name, open(name, &folder))
        })
        .collect()
}

/// 64 writers of single keys against batches of 100 of the other engines.
pub fn group(dir: &Path, sets: u64, rounds: usize) {
    let meta = Meta::open(&MetaConfig::new(dir.join("ours"))).unwrap();
    let mut engines = all(dir);
    let mut out = Rounds::new("set, durable, per second (other engines: batches of 100)", "plain sled");
    for round in 0..rounds {
        for ahead in [1, 4] {
            let name = format!("the store, 64 writers, {ahead} on their way each");
            out.add(&name, writers(&meta, sets, round as u64, ahead));
        }
        for (name, engine) in &mut engines {
            let mut random = rng(round as u64);
            let start = Instant::now();
            for _ in 0..sets / 100 {
                let pairs = (0..100).map(|_| {
                    let text = key(random.random_range(0..KEYS)).as_str().as_bytes().to_vec();
                    (text, value(&mut random, VALUE).as_bytes().to_vec())
                });
                engine.put_durable(&pairs.collect());
            }
            out.add(name, rate(usize::try_from(sets / 100 * 100).unwrap(), start));
        }
    }
    out.print();
    meta.blocking_close();
}

/// Writers that wait for a write only when `ahead` of their own are on their way.
fn writers(meta: &Meta, sets: u64, round: u64, ahead: usize) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let meta = meta.clone();
            tasks.spawn(async move {
                let mut random = rng(round * WRITERS + writer);
                let mut tickets = VecDeque::new();
                for _ in 0..sets / WRITERS {
                    let changes = vec![(key(random.random_range(0..KEYS)), Some(value(&mut random, VALUE)))];
                    let job = Job::Apply { changes, forced: false };
                    tickets.push_back(meta.submit(job, Source::Local).await.unwrap());
                    if tickets.len() >= ahead {
                        tickets.pop_front().unwrap().done().await.unwrap();
                    }
                }
                for ticket in tickets {
                    ticket.done().await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    rate(usize::try_from(sets / WRITERS * WRITERS).unwrap(), start)
}

/// One writer alone: latency in ms, beside an append of the same size with fdatasync.
pub fn single(dir: &Path, sets: usize, rounds: usize) {
    let meta = Meta::open(&MetaConfig::new(dir.join("ours"))).unwrap();
    let mut engines = all(dir);
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("plain")).unwrap();
    let mut p50 = Rounds::new("set, durable, one writer: median latency in ms", "append and fdatasync");
    let mut p99 = Rounds::new("set, durable, one writer: 99th percentile in ms", "append and fdatasync");
    let mut random = rng(3);
    for _ in 0..rounds {
        let mut measure = |name: &str, work: &mut dyn FnMut(mars_meta_model::Key, mars_meta_model::Value)| {
            let mut times: Vec<f64> = (0..sets)
                .map(|_| {
                    let (key, value) = (key(random.random_range(0..KEYS)), value(&mut random, VALUE));
                    let start = Instant::now();
                    work(key, value);
                    start.elapsed().as_secs_f64() * 1000.0
                })
                .collect();
            times.sort_by(f64::total_cmp);
            p50.add(name, times[times.len() / 2]);
            p99.add(name, times[times.len() * 99 / 100]);
        };
        measure("append and fdatasync", &mut |key, value| {
            file.write_all(key.as_str().as_bytes()).unwrap();
            file.write_all(value.as_bytes()).unwrap();
            file.sync_data().unwrap();
        });
        measure("the store", &mut |key, value| {
            meta.blocking_apply(vec![(key, Some(value))], false).unwrap();
        });
        for (name, engine) in &mut engines {
            measure(name, &mut |key, value| {
                engine.put_durable(&vec![(key.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())]);
            });
        }
    }
    p50.print();
    p99.print();
    meta.blocking_close();
}
