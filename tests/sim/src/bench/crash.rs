//! How long until all say that a node is down.

use super::percentile::percentile;
use super::{NETWORK, agree};
use crate::world::{World, in_virtual_time};
use mars_gossip_proto::NodeLife;
use std::time::Duration;
use tokio::time::Instant;

const REST: Duration = Duration::from_secs(120);
/// Number of clusters; in each one node crashes.
const RUNS: u64 = 5;
const STEP: Duration = Duration::from_millis(100);
/// Longest wait.
const PATIENCE: Duration = Duration::from_secs(600);

/// Crashes one node of `nodes`; returns lines to print.
///
/// # Errors
/// If the nodes do not agree before it begins, or do not notice.
pub fn crash(nodes: u16, seed: u64) -> Result<Vec<String>, String> {
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let (first, last) = in_virtual_time(once(nodes, seed + run))?;
        firsts.push(first);
        lasts.push(last);
    }
    let span = |mut times: Vec<Duration>| {
        times.sort();
        let at = |percent| percentile(&times, percent).as_secs_f64();
        format!("median {:.1} s ({:.1} to {:.1} s)", at(50), at(1), at(100))
    };
    Ok(vec![
        format!(
            "{nodes} nodes, one crashes, one way {} ms, loss {} %, {RUNS} clusters, seeds from {seed}",
            NETWORK.one_way.as_millis(),
            NETWORK.loss * 100.0
        ),
        format!(
            "  the first other node says that it is down after {}, all of them after {}",
            span(firsts),
            span(lasts)
        ),
    ])
}

async fn once(nodes: u16, seed: u64) -> Result<(Duration, Duration), String> {
    let mut world = World::new(seed, nodes, NETWORK, 0);
    world.start_all();
    agree(&world).await?;
    world.pass(REST).await;
    let which = world.nodes.len() / 2;
    let host = world.nodes[which].host.clone();
    world.nodes[which].crash(&world.net);
    let began = Instant::now();
    let mut first = None;
    while began.elapsed() < PATIENCE {
        world.pass(STEP).await;
        let others = world.nodes.iter().filter_map(|node| node.status());
        let told = others.filter(|status| {
            let peers = status.peers();
            let life = peers.get(&host).and_then(|peer| peer.life);
            life == Some(NodeLife::Down)
        });
        let told = told.count();
        if told > 0 {
            first = first.or(Some(began.elapsed()));
        }
        if told + 1 == world.nodes.len() {
            return Ok((first.unwrap_or_default(), began.elapsed()));
        }
    }
    Err(format!("{host} is not down for all after {PATIENCE:?}"))
}
