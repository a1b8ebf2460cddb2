//! What a cluster at rest sends: `idle [NODES [SECONDS]]`, by default 10 nodes for 300 s of virtual time.
//!
//! UDP payload of real QUIC connections with mutual TLS, acknowledgements included. Reserve some 2 MB of memory per node.

use mars_sim::{LinkQuality, World, in_virtual_time};
use std::io::{self, Write as _};
use std::time::Duration;

/// Until all are connected and all substitutes and doubles are gone.
const WARM_UP: Duration = Duration::from_secs(150);

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (nodes, seconds) = match (numbers.next(), numbers.next()) {
        (None, _) => (10, 300),
        (Some(Ok(nodes)), None) => (nodes, 300),
        (Some(Ok(nodes)), Some(Ok(seconds))) => (nodes, seconds),
        _ => return writeln!(io::stderr(), "usage: idle [NODES [SECONDS]]"),
    };
    let Ok(count) = u16::try_from(nodes) else {
        return writeln!(io::stderr(), "that is too many nodes");
    };
    let quality = LinkQuality {
        one_way: Duration::from_millis(25),
        jitter: Duration::ZERO,
        loss: 0.0,
        dup: 0.0,
    };
    let (bytes, packets, links) = in_virtual_time(async {
        let mut world = World::new(1, count, quality, 0);
        world.start_all();
        world.pass(WARM_UP).await;
        let before = world.net.stats();
        world.pass(Duration::from_secs(seconds)).await;
        let after = world.net.stats();
        let connected = |node: &mars_sim::SimNode| {
            let peers = node.status().map(mars_gossip::Status::peers);
            let peers = peers.unwrap_or_default();
            peers.values().filter(|peer| peer.connected).count()
        };
        let links: usize = world.nodes.iter().map(connected).sum();
        (after.bytes - before.bytes, after.sent - before.sent, links)
    });
    let links = links as u64;
    let per_node = bytes * 100 / nodes / seconds;
    let per_link = bytes * 100 / links.max(1) / seconds;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{nodes} nodes, {}.{:02} connections per node, {seconds} s: sent per node {}.{:02} B/s, per connection {}.{:02} B/s \
         (and as much received), {} bytes per packet",
        links / nodes,
        links * 100 / nodes % 100,
        per_node / 100,
        per_node % 100,
        per_link / 100,
        per_link % 100,
        bytes / packets.max(1)
    )
}
