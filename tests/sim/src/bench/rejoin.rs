//! What it costs a node to come back after a day: bytes on the wire, and how long until it has what changed.

use super::{NETWORK, agree};
use crate::journal::Event;
use crate::node::SimNode;
use crate::world::{World, change, in_virtual_time};
use mars_meta_model::Entry;
use mars_meta_model::testing::entry;
use std::time::Duration;
use tokio::time::Instant;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rejoin {
    /// Keys in the store, with values of 100 bytes.
    pub keys: u32,
    /// How many of them change while the node is away.
    pub changed: u32,
    /// Part of the packets that are lost.
    pub loss: f64,
    /// Decides what is lost.
    pub seed: u64,
}

const VALUE_LEN: usize = 100;
/// Before and between the measurements.
const REST: Duration = Duration::from_secs(60);
const AWAY: Duration = Duration::from_secs(86_400);
const STEP: Duration = Duration::from_millis(1);
/// Longest wait for what changed.
const PATIENCE: Duration = Duration::from_secs(300);
/// The node that stays.
const STAYS: usize = 0;
/// The node that goes and comes back.
const RETURNS: usize = 1;

/// What a return took.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// Bytes of UDP payload, both ways, from the start of the process until it had everything.
    pub bytes: u64,
    /// Those of them that were sent before both ends were connected.
    pub handshake: u64,
    /// Time from then on.
    pub took: Duration,
}

/// Both ways to come back, and what the original would do.
#[derive(Clone, Copy, Debug)]
pub struct Returns {
    /// The other one knows what this one had.
    pub with_cursor: Return,
    /// Both were restarted.
    pub without_cursor: Return,
    /// Bytes of a full listing of names, values and stamps.
    pub listing: usize,
}

/// Measures two nodes; returns lines to print.
///
/// # Errors
/// As [`returns`].
pub fn rejoin(what: Rejoin) -> Result<Vec<String>, String> {
    let costs = returns(what)?;
    Ok(vec![
        format!(
            "{} keys with values of {VALUE_LEN} bytes, {} of them changed while a node was away for a day, one way {} ms, \
             loss {} %, seed {}",
            what.keys,
            what.changed,
            NETWORK.one_way.as_millis(),
            what.loss * 100.0,
            what.seed
        ),
        line(
            "with a cursor (only the one that was away restarted)",
            costs.with_cursor,
        ),
        line("without (both restarted)", costs.without_cursor),
        format!(
            "  reckoned: a full listing, as the original asks for: {} bytes",
            costs.listing
        ),
    ])
}

fn line(name: &str, cost: Return) -> String {
    format!(
        "  {name}: {} bytes of UDP payload both ways ({} of them until both were connected), {} ms from then on until it has \
         everything ({:.1} round trips)",
        cost.bytes,
        cost.handshake,
        cost.took.as_millis(),
        cost.took.as_secs_f64() / (2.0 * NETWORK.one_way.as_secs_f64())
    )
}

/// Measures two nodes, with and without a number of the last change that the other one had.
///
/// # Errors
/// If the nodes do not agree before it begins, or the one that comes back does not get everything.
pub fn returns(what: Rejoin) -> Result<Returns, String> {
    in_virtual_time(run(what))
}

fn key(number: u32) -> String {
    format!("userspace/group-{}/key-{number}", number % 1000)
}

/// What a listing of names, values and stamps has in bytes, as the original asks for it.
fn listing(entries: &[Entry]) -> usize {
    let value = |entry: &Entry| entry.value().map_or(0, |value| value.as_bytes().len());
    let each = entries.iter();
    each.map(|entry| entry.key.as_str().len() + value(entry) + 8)
        .sum()
}

async fn run(what: Rejoin) -> Result<Returns, String> {
    let mut quality = NETWORK;
    quality.loss = what.loss;
    let mut world = World::new(what.seed, 2, quality, 0);
    let text = "x".repeat(VALUE_LEN);
    let entries: Vec<Entry> = (0..what.keys)
        .map(|number| entry(&key(number), Some(&text), u64::from(number) + 1, 1))
        .collect();
    let listed = listing(&entries);
    for node in &mut world.nodes {
        node.prepare(&entries);
    }
    drop(entries);
    world.start_all();
    agree(&world).await?;
    world.pass(REST).await;
    world.journal.switch_on();
    let with_cursor = again(&mut world, what, (1, false)).await?;
    let without_cursor = again(&mut world, what, (2, true)).await?;
    Ok(Returns {
        with_cursor,
        without_cursor,
        listing: listed,
    })
}

async fn again(
    world: &mut World,
    what: Rejoin,
    (version, restarts): (u32, bool),
) -> Result<Return, String> {
    leave_and_change(world, what, version).await;
    if restarts {
        let net = world.net.clone();
        world.nodes[STAYS].crash(&net);
    }
    let cost = come_back(world, what).await?;
    agree(world).await?;
    world.pass(REST).await;
    Ok(cost)
}

async fn leave_and_change(world: &mut World, what: Rejoin, version: u32) {
    let net = world.net.clone();
    world.nodes[RETURNS].crash(&net);
    world.pass(AWAY).await;
    let value = format!("{version}{}", "y".repeat(VALUE_LEN - 1));
    let step = (what.keys / what.changed.max(1)).max(1);
    for number in 0..what.changed.min(what.keys) {
        world.write(STAYS, vec![change(&key(number * step), Some(&value))]);
        // Slower than the queue of changes overflows, of which nothing could be remembered.
        world.pass(STEP).await;
    }
    world.pass(REST).await;
}

/// Starts who does not run, and waits until all that changed is at the one that was away.
async fn come_back(world: &mut World, what: Rejoin) -> Result<Return, String> {
    let _ = world.journal.take();
    let before = world.net.stats().bytes;
    world.start_all();
    let started = Instant::now();
    let (mut up, mut arrived) = (None, 0);
    while arrived < what.changed.min(what.keys) {
        if started.elapsed() > PATIENCE {
            return Err(format!("{arrived} of {} changes arrived", what.changed));
        }
        world.pass(STEP).await;
        let connected = |node: &SimNode| node.connections() > Some(0);
        if up.is_none() && world.nodes.iter().all(connected) {
            up = Some((Instant::now(), world.net.stats().bytes - before));
        }
        for event in world.journal.take() {
            if let Event::Merged {
                node: RETURNS,
                applied,
                ..
            } = event
            {
                arrived += u32::try_from(applied.len()).unwrap_or(u32::MAX);
            }
        }
    }
    let (up, handshake) = up.ok_or("the nodes never saw each other")?;
    Ok(Return {
        bytes: world.net.stats().bytes - before,
        handshake,
        took: up.elapsed(),
    })
}
