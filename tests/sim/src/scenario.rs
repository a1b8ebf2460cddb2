//! What a history is made of: everything is drawn from the seed, so that each seed has faults of its own.

use crate::mutation::Mutation;
use crate::net::{LinkFaults, LinkQuality};
use mars_meta_model::collect::{Pace, Paces};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Something that is done to the world at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// One node writes a batch.
    Write,
    /// One node writes several hundred batches without a pause.
    Burst,
    /// A node becomes member of a resource, or leaves it.
    Membership,
    /// All that is cut is mended.
    Heal,
    /// All nodes that are down start.
    Start,
    /// One node is cut off.
    Isolate,
    /// One node is cut off in one direction.
    CutOneWay,
    /// The nodes fall into two halves.
    Split,
    /// One process is killed.
    Crash,
    /// One process is killed while a commit is under way that reaches the disk.
    CrashInCommit,
    /// The next commit of one node fails.
    FailDisk,
    /// A copy is made of one node's disk.
    BackUp,
    /// One node is killed and gets an older disk.
    Restore,
    /// One system clock jumps.
    Jump,
    /// One system clock drifts.
    Drift,
    /// A new node joins the cluster.
    Join,
    /// A node leaves the cluster for good.
    Leave,
    /// A node is removed that goes on running, perhaps in the other half of a partition; another one may get its name.
    Expel,
    /// A removed node starts anew at another address.
    MoveRemoved,
    /// A node is stopped and comes back with the next version of the program, in histories of mixed versions.
    Upgrade,
    /// An epoch of the cluster's clock is begun on a node, whatever its system clock shows.
    BeginEpoch,
    /// A node begins to watch the resource, or ends it, in histories of mixed versions.
    Watch,
}

/// The faults; each seed has some of them.
const FAULTS: [Action; 12] = [
    Action::Isolate,
    Action::CutOneWay,
    Action::Split,
    Action::Crash,
    Action::CrashInCommit,
    Action::FailDisk,
    Action::BackUp,
    Action::Restore,
    Action::Jump,
    Action::Drift,
    Action::Join,
    Action::Leave,
];

/// Farthest jump of a system clock in half of the histories with epochs: 25 min.
const EPOCH_JUMP: Duration = Duration::from_secs(1500);

/// How fast tombstones go in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// As fast as in a real cluster: nothing is collected while a history lasts.
    Real,
    /// Within minutes, while faults happen. Only members write into a resource, and nobody comes or goes: what others
    /// wrote may be lost when it arrives later than tombstones last.
    Early(Paces),
    /// Within minutes, but hardly before all is mended; with all faults.
    Late(Paces),
}

impl Collection {
    /// The paces of the nodes.
    #[must_use]
    pub fn paces(&self) -> Paces {
        match self {
            Self::Real => Paces::default(),
            Self::Early(paces) | Self::Late(paces) => *paces,
        }
    }

    fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xc0_11ec);
        let secs = |secs: u64| secs * 1_000_000_000;
        let mut paces = |shortest: u64, longest: u64| {
            let mut pace = || Pace {
                // Longer than it takes until all have claimed and voted.
                quantum: secs(rng.random_range(150..400)),
                retention: secs(rng.random_range(shortest..longest)),
            };
            Paces {
                global: pace(),
                resource: pace(),
                // Who is parked does not vote: what it writes may be lost.
                park_after: secs(86_400),
            }
        };
        match seed % 4 {
            0 => Self::Real,
            1 => Self::Early(paces(70, 150)),
            _ => Self::Late(paces(600, 900)),
        }
    }
}

/// What a history is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides everything else.
    pub seed: u64,
    /// Number of nodes at the beginning.
    pub nodes: u16,
    /// Number of random steps.
    pub steps: u32,
    /// Longest pause between two steps.
    pub pause: Duration,
    /// How the links behave until all is mended.
    pub quality: LinkQuality,
    /// Their other faults.
    pub faults: LinkFaults,
    /// How far the system clocks are apart at the beginning.
    pub skew: Duration,
    /// Farthest jump of a system clock. Beyond the drift bound of 60 s, others refuse what the node writes.
    pub jump: Duration,
    /// Number of different keys of each kind.
    pub keys: u32,
    /// How often what is done, relative to each other.
    pub weights: Vec<(Action, u32)>,
    /// How fast tombstones go.
    pub collect: Collection,
    /// A node with a fault in its code (all nodes, if no number is given).
    pub mutation: Option<(Mutation, Option<usize>)>,
    /// The one rule that is checked; `None`: all.
    pub only: Option<&'static str>,
    /// Whether the nodes are of different versions, which are upgraded on the way and, one by one, in the end.
    pub mixed: bool,
}

impl Scenario {
    /// The history of a seed with 3 to 20 nodes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let most = if rng.random_bool(0.25) { 20 } else { 6 };
        let nodes = rng.random_range(3..=most);
        Self::with_nodes(seed, nodes)
    }

    /// The history of a seed with so many nodes.
    #[must_use]
    pub fn with_nodes(seed: u64, nodes: u16) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let bad = rng.random_bool(0.3);
        let quality = LinkQuality {
            one_way: Duration::from_millis(rng.random_range(1..80)),
            jitter: Duration::from_millis(rng.random_range(0..30)),
            loss: rng.random_range(0.0..if bad { 0.25 } else { 0.08 }),
            dup: rng.random_range(0.0..0.05),
        };
        let faults = LinkFaults {
            reorder: if rng.random_bool(0.4) { 0.1 } else { 0.0 },
            held_back: Duration::from_millis(rng.random_range(10..300)),
            uneven: rng.random_bool(0.5),
            bandwidth: rng
                .random_bool(0.2)
                .then(|| rng.random_range(30_000..500_000)),
            mtu: rng.random_bool(0.3).then_some(1200),
        };
        let mut weights = vec![
            (Action::Write, 100),
            (Action::Heal, rng.random_range(4..20)),
            (Action::Start, rng.random_range(4..20)),
            (Action::Membership, rng.random_range(0..12)),
            (Action::Burst, rng.random_range(0..3)),
        ];
        for fault in FAULTS {
            if rng.random_bool(0.5) {
                weights.push((fault, rng.random_range(1..10)));
            }
        }
        // Drawn apart, so that the other seeds go on meaning what they meant.
        if seed % 5 == 2 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xe4_9e1);
            weights.push((Action::Expel, rng.random_range(2..8)));
            weights.push((Action::MoveRemoved, rng.random_range(2..12)));
        }
        let collect = Collection::draw(seed);
        if matches!(collect, Collection::Early(_)) {
            let apart = [
                Action::Membership,
                Action::Join,
                Action::Leave,
                Action::Expel,
                Action::MoveRemoved,
            ];
            weights.retain(|(action, _)| !apart.contains(action));
        }
        let far = rng.random_bool(0.2);
        let scenario = Self {
            seed,
            nodes,
            steps: rng.random_range(60..240),
            pause: Duration::from_millis(rng.random_range(50..2500)),
            quality,
            faults,
            skew: Duration::from_millis(rng.random_range(0..if far { 50_000 } else { 5_000 })),
            jump: Duration::from_millis(rng.random_range(100..if far { 300_000 } else { 50_000 })),
            keys: rng.random_range(1..20),
            weights,
            collect,
            mutation: None,
            only: None,
            mixed: false,
        };
        if seed % 5 == 3 {
            scenario.with_epochs()
        } else {
            scenario
        }
    }

    /// The same with epochs that are begun at any time, on any node, whatever its clock shows.
    #[must_use]
    pub fn with_epochs(mut self) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0xe90c);
        self.set_weight(Action::BeginEpoch, rng.random_range(3..12));
        // Else no clock is wrong when it begins.
        self.set_weight(Action::Jump, rng.random_range(2..10));
        if rng.random_bool(0.5) {
            // Beyond the least time between two epochs.
            self.jump = EPOCH_JUMP;
        }
        self
    }

    /// The history of a seed with nodes of different versions.
    #[must_use]
    pub fn mixed(seed: u64) -> Self {
        let mut scenario = Self::new(seed);
        scenario.mixed = true;
        scenario.set_weight(Action::Upgrade, 3);
        scenario.set_weight(Action::Watch, 5);
        scenario
    }

    /// How often something is done; [`Action::Write`] has 100.
    #[must_use]
    pub fn weight(&self, action: Action) -> u32 {
        let same = self.weights.iter().filter(|(other, _)| *other == action);
        same.map(|(_, weight)| weight).sum()
    }

    /// Sets how often something is done; [`Action::Write`] has 100.
    pub fn set_weight(&mut self, action: Action, weight: u32) {
        self.weights.retain(|(other, _)| *other != action);
        self.weights.push((action, weight));
    }
}
