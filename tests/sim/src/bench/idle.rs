//! What an idle cluster sends.

use super::{NETWORK, agree, float, neighbours};
use crate::world::{World, in_virtual_time};
use mars_meta_model::{View as _, encode_entry};
use std::time::Duration;

const REST: Duration = Duration::from_secs(120);
const QUIET: Duration = Duration::from_secs(600);
/// How often the original asks each peer for all it has, in seconds, when nothing happens.
const LISTING_SECS: u64 = 5;

/// Measures `nodes` nodes for ten minutes; returns lines to print.
///
/// # Errors
/// If the nodes do not agree before it begins.
pub fn idle(nodes: u16, seed: u64) -> Result<Vec<String>, String> {
    in_virtual_time(async {
        let mut world = World::new(seed, nodes, NETWORK, 0);
        world.start_all();
        agree(&world).await?;
        world.pass(REST).await;
        let sent = |world: &World| -> Vec<u64> {
            let nodes = world.nodes.iter();
            nodes.map(|node| world.net.sent_from(node.addr)).collect()
        };
        let before = sent(&world);
        world.pass(QUIET).await;
        let after = sent(&world);
        let secs = QUIET.as_secs_f64();
        let mut rates = Vec::new();
        for (before, after) in before.iter().zip(&after) {
            let bytes = usize::try_from(after - before).unwrap_or(usize::MAX);
            rates.push(float(bytes) / secs);
        }
        rates.sort_by(f64::total_cmp);
        let mean = rates.iter().sum::<f64>() / float(rates.len());
        let most = rates.last().copied().unwrap_or_default();
        let peers = neighbours(&world);
        let listing = listing_bytes(&world);
        let listed = listing * (u64::from(nodes) - 1) / LISTING_SECS;
        Ok(vec![
            format!(
                "{nodes} nodes, idle for {} s, one way {} ms, loss {} %, seed {seed}; {peers:.1} neighbours",
                QUIET.as_secs(),
                NETWORK.one_way.as_millis(),
                NETWORK.loss * 100.0
            ),
            format!(
                "  a node sends {mean:.1} B/s of UDP payload (the busiest one {most:.1}), {:.1} B/s per neighbour",
                mean / peers
            ),
            format!(
                "  reckoned: full listings of {listing} bytes from every other node, as the original asks for, every \
                 {LISTING_SECS} s: {listed} B/s"
            ),
        ])
    })
}

/// Length of a listing of all entries of one node, made in our encoding (the original's is longer).
fn listing_bytes(world: &World) -> u64 {
    let store = world.nodes.first().and_then(crate::SimNode::store);
    let bytes = store.map_or(0, |store| {
        store.with_table(|table| {
            let mut listing = Vec::new();
            table
                .scan("")
                .for_each(|entry| encode_entry(entry, &mut listing));
            listing.len()
        })
    });
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
