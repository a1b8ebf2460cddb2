//! Random histories from a seed.

use crate::check;
use crate::mutation::Mutation;
use crate::net::{LinkQuality, NetStats};
use crate::world::{World, change, in_virtual_time};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// What a history is made of; all but the seed has defaults.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Decides everything else.
    pub seed: u64,
    /// Number of random steps.
    pub steps: u32,
    /// A node that merges wrongly, if any.
    pub broken_node: Option<usize>,
}

impl Scenario {
    /// The usual history of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: 120,
            broken_node: None,
        }
    }
}

/// How a history ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over all packets delivered.
    pub trace: u64,
    /// Counters of the network.
    pub stats: NetStats,
    /// How long it took until all agreed, after everything was mended.
    pub settled_after: Duration,
    /// Writes, cuts, crashes done.
    pub done: [u32; 3],
}

/// Longest time from mending everything to agreement: a dial's longest wait, a dead connection's timeout, a digest.
const LIVENESS: Duration = Duration::from_secs(90);

/// Runs a history.
///
/// # Errors
/// The rule that was found broken, with the seed.
pub fn run(scenario: Scenario) -> Result<Outcome, String> {
    let story = play(scenario);
    in_virtual_time(story).map_err(|broken| format!("SIM_SEED={}: {broken}", scenario.seed))
}

struct Player {
    world: World,
    rng: ChaCha8Rng,
    done: [u32; 3],
    counter: u64,
}

async fn play(scenario: Scenario) -> Result<Outcome, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
    let quality = LinkQuality {
        one_way: Duration::from_millis(rng.random_range(1..60)),
        jitter: Duration::from_millis(rng.random_range(0..20)),
        loss: rng.random_range(0.0..0.12),
        dup: rng.random_range(0.0..0.05),
    };
    let count = rng.random_range(3..=4);
    // Within the drift bound of 60 s; in some histories near it.
    let most = if rng.random_bool(0.2) { 50 } else { 5 };
    let skew = rng.random_range(0..most * 1_000_000_000);
    let mut world = World::new(scenario.seed, count, quality, skew);
    if let Some(broken) = scenario.broken_node {
        world.nodes[broken].mutation = Mutation::ArrivalOrder;
    }
    world.start_all();
    let mut player = Player {
        world,
        rng,
        done: [0; 3],
        counter: 0,
    };
    player.found_resource();
    for _ in 0..scenario.steps {
        player.step();
        let pause = player.rng.random_range(5..1500);
        player.world.pass(Duration::from_millis(pause)).await;
    }
    player.finish().await
}

impl Player {
    /// Hosts a and b are members of resource r for ever; c may join and leave.
    fn found_resource(&mut self) {
        self.world
            .write(0, vec![change("directory/r/member-hosta", Some("storage"))]);
        self.world
            .write(1, vec![change("directory/r/member-hostb", Some("storage"))]);
    }

    fn some_running(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.world.nodes.len())
            .filter(|n| self.world.nodes[*n].is_up())
            .collect();
        (!up.is_empty()).then(|| up[self.rng.random_range(0..up.len())])
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..70 => self.write(),
            70..76 => {
                let node = self.rng.random_range(0..self.world.nodes.len());
                self.world.isolate(node, true);
                self.done[1] += 1;
            }
            76..84 => self.world.net.heal(),
            84..89 => {
                if let Some(node) = self.some_running() {
                    let net = self.world.net.clone();
                    self.world.nodes[node].crash(&net);
                    self.done[2] += 1;
                }
            }
            _ => self.world.start_all(),
        }
    }

    fn write(&mut self) {
        let Some(node) = self.some_running() else {
            return;
        };
        self.done[0] += 1;
        self.counter += 1;
        let value = format!("v{}", self.counter);
        let host = self.world.nodes[node].host.clone();
        let number = self.rng.random_range(0..12);
        let value = (!self.rng.random_bool(0.25)).then_some(value.as_str());
        let changes = match self.rng.random_range(0..10) {
            0..4 => vec![change(&format!("userspace/k{number}"), value)],
            4..7 => vec![change(&format!("resource-r/userspace/k{number}"), value)],
            7 => vec![
                change(&format!("userspace/k{number}"), value),
                change("resource-r/primary", Some(&host)),
            ],
            8 => {
                let key = format!("resource-r/actual-{host}/seen-{number}");
                vec![change(&key, Some("1"))]
            }
            _ => {
                let joined = self.rng.random_bool(0.6).then_some("guest");
                vec![change("directory/r/member-hostc", joined)]
            }
        };
        self.world.write(node, changes);
    }

    async fn finish(mut self) -> Result<Outcome, String> {
        self.world.net.heal();
        self.world.start_all();
        let mended = tokio::time::Instant::now();
        loop {
            self.world.pass(Duration::from_millis(500)).await;
            let agreed = check::converged(&self.world)
                .and_then(|()| check::observations_spread(&self.world))
                .and_then(|()| check::all_synced(&self.world));
            match agreed {
                Ok(()) => break,
                Err(broken) if mended.elapsed() > LIVENESS => return Err(broken),
                Err(_) => {}
            }
        }
        let settled_after = mended.elapsed();
        check::nothing_leaked(&self.world, |_, host| host != "hostd")?;
        // Agreement must last.
        self.world.pass(Duration::from_secs(25)).await;
        check::converged(&self.world)?;
        Ok(Outcome {
            trace: self.world.net.trace(),
            stats: self.world.net.stats(),
            settled_after,
            done: self.done,
        })
    }
}
