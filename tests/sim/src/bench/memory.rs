//! What endpoints and connections take in memory.

use super::{NETWORK, agree, neighbours};
use crate::world::{World, in_virtual_time};
use std::time::Duration;

/// Measures `nodes` nodes in this process, which should have done nothing else before; returns lines to print.
///
/// # Errors
/// If the nodes do not agree, or the system does not tell.
pub fn memory(nodes: u16, seed: u64) -> Result<Vec<String>, String> {
    in_virtual_time(async {
        let mut world = World::new(seed, nodes, NETWORK, 0);
        // Every node has read its store and made its fingerprints; none has a connection.
        world.start_all();
        let stores = resident_kib()?;
        agree(&world).await?;
        world.pass(Duration::from_secs(300)).await;
        let connected = resident_kib()?;
        let per_node = connected.saturating_sub(stores) / u64::from(nodes);
        let whole = connected / u64::from(nodes);
        Ok(vec![
            format!(
                "{nodes} nodes in one process, seed {seed}; {:.1} neighbours",
                neighbours(&world)
            ),
            format!(
                "  resident: {stores} KiB when all stores were open, {connected} KiB with all connections after 5 \
                 minutes: {per_node} KiB per node for connections; {whole} KiB per node for everything"
            ),
        ])
    })
}

fn resident_kib() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| "/proc/self/status names no VmRSS".to_owned())
}
