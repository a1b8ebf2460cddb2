//! Import of a legacy tree of many links, beside reading the links and a sorted bulk load of the other engines.

use crate::engine::{ENGINES, open};
use crate::load::{key, rng, value};
use crate::report::{Rounds, memory};
use mars_meta::{Meta, MetaConfig};
use mars_migrations::{ImportOptions, ObjectKind, ScanOptions, plan_import, scan_tree};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Makes a tree of `n` links; says how long that took.
pub fn make_tree(tree: &Path, n: u64) {
    let start = Instant::now();
    let mut random = rng(11);
    std::fs::create_dir_all(tree.join("ips")).unwrap();
    symlink("bench_1234567890.123456789", tree.join("uuid")).unwrap();
    symlink("192.0.2.1", tree.join("ips/ip-host0000")).unwrap();
    let mut last = String::new();
    for i in 0..n {
        let key = key(i);
        let (folder, name) = key.as_str().split_once('/').unwrap();
        if folder != last {
            std::fs::create_dir(tree.join(folder)).unwrap();
            folder.clone_into(&mut last);
        }
        let value = value(&mut random, 60);
        symlink(value.as_str().unwrap(), tree.join(folder).join(name)).unwrap();
    }
    println!("made a tree of {n} links in {:.1} s", start.elapsed().as_secs_f64());
}

/// Reads the links alone, as the others' share of the work: seconds.
fn read_links(tree: &Path) -> (f64, Vec<(Vec<u8>, Vec<u8>)>) {
    let start = Instant::now();
    let options = ScanOptions { passes_max: 1, ..ScanOptions::default() };
    let scan = scan_tree(tree, &options).unwrap();
    let pairs: Vec<_> = scan
        .objects
        .into_iter()
        .filter_map(|object| match object.kind {
            ObjectKind::Link { value } => Some((object.path, value.to_vec())),
            _ => None,
        })
        .collect();
    (start.elapsed().as_secs_f64(), pairs)
}

/// What one subject measured, as a line for the parent: seconds and peak memory in MiB.
pub fn one(subject: &str, tree: &Path, dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let seconds = if subject == "the store" { ours(tree, dir) } else { other(subject, tree, dir) };
    println!("{seconds} {}", memory().1);
}

fn ours(tree: &Path, dir: &Path) -> f64 {
    let start = Instant::now();
    let meta = Meta::open(&MetaConfig::new(dir.join("db"))).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut phases = Vec::new();
    let mut ends = |name| phases.push((name, start.elapsed(), memory().1));
    ends("open");
    let scan = scan_tree(tree, &ScanOptions::default()).unwrap();
    ends("list");
    let plan = plan_import(&scan, &ImportOptions::at(u64::try_from(now).unwrap()));
    ends("plan");
    drop(scan);
    let count = plan.entries.len();
    let results = meta.blocking_import_bulk(plan.entries, |_| {}).unwrap();
    assert_eq!(results.len(), count);
    ends("store");
    meta.blocking_close();
    ends("close");
    for (name, end, peak) in phases {
        eprintln!("until the end of {name}: {:.2} s, peak {peak} MiB", end.as_secs_f64());
    }
    start.elapsed().as_secs_f64()
}

fn other(name: &str, tree: &Path, dir: &Path) -> f64 {
    let (read, mut pairs) = read_links(tree);
    pairs.sort();
    let start = Instant::now();
    let mut engine = open(name, dir);
    for (at, part) in pairs.chunks(1000).enumerate() {
        engine.put_lazy(&part.to_vec());
        if at % 1000 == 999 {
            engine.sync();
        }
    }
    engine.sync();
    read + start.elapsed().as_secs_f64()
}

/// Runs all subjects in turn, each in a process of its own so that the memory is its own.
pub fn run(dir: &Path, n: u64, rounds: usize) {
    let tree = dir.join("tree");
    make_tree(&tree, n);
    let mut time = Rounds::new("import of the tree, seconds", "plain sled");
    let mut peak = Rounds::new("import of the tree, peak memory in MiB", "plain sled");
    let program = std::env::current_exe().unwrap();
    for round in 0..rounds {
        for subject in ["the store"].iter().chain(&ENGINES) {
            let folder = dir.join(format!("{subject}-{round}"));
            let output = std::process::Command::new(&program)
                .args(["import-one", subject])
                .args([&tree, &folder])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert!(output.status.success() && numbers.len() == 2, "{subject}: {}", String::from_utf8_lossy(&output.stderr));
            time.add(subject, numbers[0]);
            peak.add(subject, numbers[1]);
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
    time.print();
    peak.print();
}
