//! What is known after two halves of a cluster were apart and wrote.

use super::percentile::percentile;
use super::{NETWORK, agree, float};
use crate::journal::Event;
use crate::world::{World, change, in_virtual_time};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

const REST: Duration = Duration::from_secs(60);
const CUT: Duration = Duration::from_secs(60);
/// Updates on each side, one every half second.
const UPDATES: u32 = 100;
const PACE: Duration = Duration::from_millis(500);
const VALUE_LEN: usize = 200;
/// Longest wait for all updates.
const PATIENCE: Duration = Duration::from_secs(600);

/// Cuts `nodes` nodes into halves for a minute; returns lines to print.
///
/// # Errors
/// If the nodes do not agree before it begins.
pub fn heal(nodes: u16, seed: u64) -> Result<Vec<String>, String> {
    in_virtual_time(run(nodes, seed))
}

async fn run(nodes: u16, seed: u64) -> Result<Vec<String>, String> {
    let mut world = World::new(seed, nodes, NETWORK, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    world.start_all();
    agree(&world).await?;
    world.pass(REST).await;
    world.journal.switch_on();
    let half = world.nodes.len() / 2;
    let addrs: Vec<_> = world.nodes.iter().map(|node| node.addr).collect();
    for one in &addrs[..half] {
        for other in &addrs[half..] {
            world.net.cut(*one, *other, true);
        }
    }
    let began = Instant::now();
    let value = "x".repeat(VALUE_LEN);
    let mut lower = BTreeMap::new();
    for number in 0..UPDATES {
        for below in [true, false] {
            let writer = rng.random_range(if below { 0..half } else { half..addrs.len() });
            let key = format!("userspace/update-{number}-{below}");
            world.write(writer, vec![change(&key, Some(&value))]);
            lower.insert(key, below);
        }
        world.pass(PACE).await;
    }
    world.pass(CUT.saturating_sub(began.elapsed())).await;
    world.net.heal();
    let healed = Instant::now();
    let expected = lower.len() * addrs.len() / 2;
    // Without the writer.
    let own = lower.len() * (addrs.len() / 2 - 1);
    let (mut seen, mut times) = (BTreeSet::new(), Vec::new());
    while seen.len() < expected + own && healed.elapsed() < PATIENCE {
        world.pass(Duration::from_millis(100)).await;
        for event in world.journal.take() {
            let Event::Merged {
                node, at, applied, ..
            } = event
            else {
                continue;
            };
            for entry in applied {
                let key = entry.key.as_str().to_owned();
                let Some(below) = lower.get(&key) else {
                    continue;
                };
                let across = *below == (node >= half);
                if seen.insert((node, key)) && across {
                    times.push(at.saturating_duration_since(healed));
                }
            }
        }
    }
    times.sort();
    Ok(vec![
        format!(
            "{nodes} nodes, halves apart for {} s, {UPDATES} updates of {VALUE_LEN} bytes on each side, one way {} ms, \
             loss {} %, seed {seed}",
            CUT.as_secs(),
            NETWORK.one_way.as_millis(),
            NETWORK.loss * 100.0
        ),
        format!(
            "  on the other side within {} s: {:.2} % ({} of {expected}); p50 {} ms, p99 {} ms, last {} ms after the cut was \
             mended",
            PATIENCE.as_secs(),
            100.0 * float(times.len()) / float(expected),
            times.len(),
            percentile(&times, 50).as_millis(),
            percentile(&times, 99).as_millis(),
            percentile(&times, 100).as_millis()
        ),
        format!("  on their own side: {} of {own}", seen.len() - times.len()),
    ])
}
