//! `get`: in process, and through the local API with many requests on their way.

use crate::engine::{ENGINES, open};
use crate::load::{key, rng, value};
use crate::report::{Rounds, rate};
use mars_meta::{ApiListener, Meta, MetaConfig, ServerConfig, allow_uids, serve};
use mars_meta_api::Client;
use mars_meta_model::Key;
use rand::Rng as _;
use crate::nobody::Nobody;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Length of the values in bytes.
const VALUE: usize = 88;

/// Fills `n` keys into every engine and into the store, then reads random ones in turn.
pub fn run(dir: &Path, n: u64, gets: u64, rounds: usize) {
    let mut random = rng(7);
    let meta = filled(&dir.join("ours"), n);
    let mut engines: Vec<_> = ENGINES
        .iter()
        .map(|name| {
            let folder = dir.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let mut engine = open(name, &folder);
            for first in (0..n).step_by(1000) {
                let pairs = (first..n.min(first + 1000)).map(|i| {
                    let text = key(i).as_str().as_bytes().to_vec();
                    (text, value(&mut random, VALUE).as_bytes().to_vec())
                });
                engine.put_lazy(&pairs.collect());
            }
            engine.sync();
            (*name, engine)
        })
        .collect();
    let mut out = Rounds::new("get of a random key, one thread, per second", "plain sled");
    for round in 0..rounds {
        let keys: Vec<Key> = (0..gets).map(|_| key(random.random_range(0..n))).collect();
        let start = Instant::now();
        let found = keys.iter().filter(|key| meta.get(key).is_some()).count();
        out.add("the store, in process", rate(found, start));
        assert_eq!(found, keys.len());
        for (name, engine) in &mut engines {
            let few = &keys[..keys.len().min(200_000)];
            let start = Instant::now();
            let hit = few.iter().filter(|key| engine.get(key.as_str().as_bytes()).is_some()).count();
            out.add(name, rate(hit, start));
            assert_eq!(hit, few.len());
        }
        out.add("the store, local API, 128 in flight", api(dir, &meta, &keys[..keys.len().min(200_000)], round));
    }
    out.print();
    meta.blocking_close();
}

fn filled(dir: &Path, n: u64) -> Meta {
    let meta = Meta::open(&MetaConfig::new(dir)).unwrap();
    let mut random = rng(7);
    for first in (0..n).step_by(4000) {
        let changes = (first..n.min(first + 4000)).map(|i| (key(i), Some(value(&mut random, VALUE))));
        meta.blocking_apply(changes.collect(), false).unwrap();
    }
    meta
}

/// Requests through the socket: client and server on one machine with two runtimes, as in life.
fn api(dir: &Path, meta: &Meta, keys: &[Key], round: usize) -> f64 {
    let socket = dir.join(format!("api-{round}.sock"));
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let own = rustix::process::geteuid().as_raw();
    let listener = server.block_on(ApiListener::bind(&socket, 0o600)).unwrap();
    let config = ServerConfig::new(allow_uids(own, &[]));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async {
        let _ = stopped.await;
    };
    let task = server.spawn(serve(listener, meta.clone(), Arc::new(Nobody), config, until));
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rate = client.block_on(async {
        let client = Arc::new(Client::connect(&socket).await.unwrap());
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for part in keys.chunks(keys.len().div_ceil(128)) {
            let (client, part) = (Arc::clone(&client), part.to_vec());
            tasks.spawn(async move {
                let mut found = 0;
                for key in &part {
                    found += usize::from(client.get(key).await.unwrap().is_some());
                }
                found
            });
        }
        let found: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(found, keys.len());
        rate(found, start)
    });
    drop(stop);
    server.block_on(task).unwrap();
    rate
}
