//! Figures in virtual time: how long a change takes to all nodes, what an idle cluster sends, what a cut and a crash
//! cost in time, what a return costs, what connections take in memory. Each returns lines to print; what they were measured with is in them.

mod converge;
mod crash;
mod heal;
mod idle;
mod memory;
mod percentile;
mod rejoin;

pub use converge::{Converge, converge};
pub use crash::crash;
pub use heal::heal;
pub use idle::idle;
pub use memory::memory;
pub use rejoin::{Rejoin, Return, Returns, rejoin, returns};

use crate::net::LinkQuality;
use crate::world::World;
use std::time::Duration;
use tokio::time::Instant;

/// The network of all figures: 50 ms round trip, 1 % loss.
pub const NETWORK: LinkQuality = LinkQuality {
    one_way: Duration::from_millis(25),
    jitter: Duration::ZERO,
    loss: 0.01,
    dup: 0.0,
};

/// Longest time until all agree after the start.
const START_MAX: Duration = Duration::from_secs(600);

/// Waits until every node is connected to and agrees with all its neighbours; returns how long that took.
///
/// # Errors
/// The first node that does not, after ten minutes.
pub async fn agree(world: &World) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        world.pass(Duration::from_secs(1)).await;
        let open = world.nodes.iter().find_map(|node| {
            let peer = node.status()?.open(|_| false)?;
            Some(format!("{} does not agree with {peer}", node.host))
        });
        match open {
            None => return Ok(began.elapsed()),
            Some(open) if began.elapsed() > START_MAX => return Err(open),
            Some(_) => {}
        }
    }
}

/// Connections of all nodes, divided by the number of nodes.
fn neighbours(world: &World) -> f64 {
    let links = world.nodes.iter().filter_map(crate::SimNode::connections);
    float(links.sum()) / float(world.nodes.len())
}

fn float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}
