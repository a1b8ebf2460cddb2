//! From a write on one node until others have applied it.

use super::percentile::percentile;
use super::{NETWORK, agree, float, neighbours};
use crate::journal::Event;
use crate::store::COMMIT;
use crate::world::{World, change, in_virtual_time};
use mars_meta_model::{Key, Scope, scope_includes, scope_of};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Converge {
    /// Number of nodes.
    pub nodes: u16,
    /// Number of updates, one after the other.
    pub updates: u32,
    /// Members of a resource to which the updates belong; `None`: they concern all nodes.
    pub members: Option<u16>,
    /// Part of the packets that are lost.
    pub loss: f64,
    /// Decides who writes, and what is lost.
    pub seed: u64,
}

/// Time given to an update; what arrives later counts as not delivered.
const WINDOW: Duration = Duration::from_secs(5);
/// Bytes of a value.
const VALUE_LEN: usize = 200;

/// Measures; returns lines to print.
///
/// # Errors
/// If the nodes do not agree before it begins.
pub fn converge(what: Converge) -> Result<Vec<String>, String> {
    in_virtual_time(run(what))
}

/// The nodes that are to have a key, without the one that writes.
fn concerned(world: &World, key: &Key, writer: usize) -> BTreeSet<usize> {
    let scope: Scope = scope_of(key);
    let all = world.nodes.iter().enumerate();
    let in_scope = all.filter(|(index, node)| {
        *index != writer && scope_includes(&world.promised, &scope, &node.host)
    });
    in_scope.map(|(index, _)| index).collect()
}

async fn run(what: Converge) -> Result<Vec<String>, String> {
    let mut quality = NETWORK;
    quality.loss = what.loss;
    let mut world = World::new(what.seed, what.nodes, quality, 0);
    let mut rng = ChaCha8Rng::seed_from_u64(what.seed);
    let writers = what.members.unwrap_or(what.nodes);
    world.start_all();
    for member in 0..usize::from(what.members.unwrap_or(0)) {
        let line = format!("directory/r/member-{}", world.nodes[member].host);
        world.write(member, vec![change(&line, Some("storage"))]);
    }
    let ready = agree(&world).await?;
    world.pass(Duration::from_secs(60)).await;
    let idle = world.net.stats().bytes;
    world.pass(Duration::from_secs(100)).await;
    let idle = (world.net.stats().bytes - idle) / 100;
    world.journal.switch_on();
    let value = "x".repeat(VALUE_LEN);
    let (mut each, mut last) = (Vec::new(), Vec::new());
    let (mut expected, bytes, began) = (0, world.net.stats().bytes, Instant::now());
    for number in 0..what.updates {
        let writer = usize::from(rng.random_range(0..writers));
        let key = match what.members {
            None => format!("userspace/update-{number}"),
            Some(_) => format!("resource-r/userspace/update-{number}"),
        };
        let key = Key::parse(&key).map_err(|error| error.to_string())?;
        let mut missing = concerned(&world, &key, writer);
        expected += missing.len();
        let written = Instant::now();
        world.write(writer, vec![change(key.as_str(), Some(&value))]);
        world.pass(WINDOW).await;
        let mut slowest = Duration::ZERO;
        for event in world.journal.take() {
            let Event::Merged {
                node, at, applied, ..
            } = event
            else {
                continue;
            };
            if applied.iter().any(|entry| entry.key == key) && missing.remove(&node) {
                each.push(at - written);
                slowest = slowest.max(at - written);
            }
        }
        last.push(slowest);
        // Updates do not keep step with the digests.
        world
            .pass(Duration::from_millis(rng.random_range(0..1000)))
            .await;
    }
    let spent = world.net.stats().bytes - bytes;
    let spent = spent.saturating_sub(idle * began.elapsed().as_secs());
    each.sort();
    last.sort();
    Ok(lines(what, &world, ready, expected, (&each, &last), spent))
}

fn lines(
    what: Converge,
    world: &World,
    ready: Duration,
    expected: usize,
    (each, last): (&[Duration], &[Duration]),
    spent: u64,
) -> Vec<String> {
    let of = match what.members {
        None => format!("{} nodes", what.nodes),
        Some(members) => format!("{members} members of a resource among {} nodes", what.nodes),
    };
    let row = |name: &str, sorted: &[Duration]| {
        format!(
            "  {name}: p50 {} ms, p99 {} ms, longest {} ms",
            percentile(sorted, 50).as_millis(),
            percentile(sorted, 99).as_millis(),
            percentile(sorted, 100).as_millis()
        )
    };
    let delivered = 100.0 * float(each.len()) / float(expected);
    let per_node = spent / u64::from(what.updates.max(1)) / u64::from(what.nodes);
    vec![
        format!(
            "{of}, {} updates of {VALUE_LEN} bytes, one way {} ms, loss {} %, a commit takes {} ms, \
             seed {}; {:.1} neighbours; all agreed {} s after the start",
            what.updates,
            NETWORK.one_way.as_millis(),
            what.loss * 100.0,
            COMMIT.as_millis(),
            what.seed,
            neighbours(world),
            ready.as_secs()
        ),
        row("until a node has it", each),
        row("until the last node has it", last),
        format!(
            "  delivered within {} s: {delivered:.4} % ({} of {expected}); {per_node} bytes sent per update and node",
            WINDOW.as_secs(),
            each.len()
        ),
    ]
}
