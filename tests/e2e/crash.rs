//! Any process dies at any time (kill -9), under load. What was acknowledged stays, and all replicas meet again.
//!
//! Settings: `MARS_E2E_SEED` (printed by each run) and `MARS_E2E_KILLS` (for long campaigns). The seed fixes what is
//! killed, when, counted in requests, and what is written; the scheduling of the processes stays their own.

use crate::nbd::Client;
use crate::oracle::{BLOCK, BLOCKS, WriteLog};
use crate::replicas::{NODES, RES};
use crate::world::{LIMIT, World};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Kills without the setting: about a minute.
const KILLS: u64 = 12;
/// Most writes under way at a time.
const BURST: u64 = 24;

/// A stream of numbers from a seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

struct Campaign {
    w: World,
    dice: Dice,
    log: WriteLog,
    device: Client,
    /// Metadata that was acknowledged.
    keys: BTreeMap<String, String>,
    started: Instant,
}

/// What dies.
struct Victim {
    node: &'static str,
    /// One program, or both.
    program: Option<&'static str>,
}

impl Victim {
    fn takes_device(&self) -> bool {
        self.node == "hosta" && self.program != Some("marsd")
    }

    fn takes_store(&self) -> bool {
        self.program != Some("mars-datapath")
    }
}

impl Campaign {
    /// Sends a burst, no block twice. The numbers of the writes by cookie.
    fn send(&mut self) -> std::io::Result<BTreeMap<u64, u64>> {
        let mut under_way = BTreeMap::new();
        let mut taken = BTreeMap::new();
        for _ in 0..1 + self.dice.below(BURST) {
            // A quarter of the device gets half of the writes.
            let end = if self.dice.below(2) == 0 {
                BLOCKS / 4
            } else {
                BLOCKS
            };
            let block = self.dice.below(end);
            if taken.insert(block, ()).is_some() {
                continue;
            }
            let number = self.log.issue(block);
            let data = WriteLog::data(block, number);
            let cookie = self.device.send_write(block * BLOCK as u64, &data)?;
            under_way.insert(cookie, number);
        }
        Ok(under_way)
    }

    /// Takes up to `count` replies.
    fn replies(&mut self, under_way: &mut BTreeMap<u64, u64>, count: usize) -> std::io::Result<()> {
        for _ in 0..count.min(under_way.len()) {
            let number = under_way.remove(&self.device.reply()?).unwrap();
            self.log.acknowledge(number);
        }
        Ok(())
    }

    /// Some bursts, each answered, with a flush now and then.
    fn write(&mut self, bursts: u64) {
        for _ in 0..bursts {
            let mut under_way = self.send().unwrap();
            self.replies(&mut under_way, usize::MAX).unwrap();
            if self.dice.below(4) == 0 {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        self.device.flush().unwrap();
        self.log.flushed();
    }

    /// Reads the whole device.
    fn check_device(&mut self) {
        let mut image = Vec::new();
        for chunk in 0..BLOCKS / 256 {
            let offset = chunk * 256 * BLOCK as u64;
            image.extend(self.device.read(offset, 256 * BLOCK).unwrap());
        }
        self.log.check_device(&image);
    }

    fn kill(&self, victim: &Victim) {
        match victim.program {
            Some(program) => self.w.kill_program(victim.node, program),
            None => self.w.must(&["kill", victim.node]),
        }
    }

    fn victim(&mut self) -> Victim {
        let node = self.dice.pick(&NODES);
        let program = match self.dice.below(3) {
            0 => None,
            1 => Some("marsd"),
            _ => Some("mars-datapath"),
        };
        Victim { node, program }
    }

    /// A replica whose data plane is dead stands still: it must be a state that a power cut could have left.
    fn check_replica(&self, node: &str) {
        let image = std::fs::read(self.w.disk_of(node)).unwrap();
        self.log.check_replica(node, &image);
    }

    /// Writes a key on a node; what is acknowledged must last. The node has seen the value before: a write that has
    /// not may rightly lose against one of a node whose clock is ahead.
    fn set_key(&mut self, round: u64, node: &str, key: &str) {
        let key = format!("userspace/crash-{key}-{}", self.dice.below(4));
        if let Some(before) = self.keys.get(&key) {
            self.w.reads(node, &key, before);
        }
        let value = format!("round-{round}");
        self.w.ok(node, &format!("set-link {value} {key}"));
        self.keys.insert(key, value);
    }

    fn round(&mut self, round: u64) {
        let bursts = 1 + self.dice.below(40);
        let victim = self.victim();
        let answered = usize::try_from(self.dice.below(BURST)).unwrap();
        println!(
            "{:3} s, kill {round}: {} of {} after {bursts} bursts and {answered} replies",
            self.started.elapsed().as_secs(),
            victim.program.unwrap_or("both programs"),
            victim.node
        );
        self.write(bursts);
        let alive = if victim.node == "hosta" {
            "hostb"
        } else {
            "hosta"
        };
        self.set_key(round, victim.node, "all");
        let mut under_way = self.send().unwrap();
        self.replies(&mut under_way, answered).unwrap();
        self.kill(&victim);
        if victim.takes_device() {
            // Replies that were sent before the end count.
            while !under_way.is_empty() && self.replies(&mut under_way, 1).is_ok() {}
            if self.dice.below(3) == 0 {
                // Nor does it help if a follower dies at the same time.
                self.w.must(&["kill", "hostc"]);
                self.check_replica("hostc");
                self.w.must(&["start", "hostc"]);
            }
        } else {
            // The application on the primary notices nothing.
            self.replies(&mut under_way, usize::MAX).unwrap();
            if victim.node != "hosta" && victim.program != Some("marsd") {
                self.check_replica(victim.node);
            }
            let bursts = self.dice.below(30);
            self.write(bursts);
        }
        if victim.takes_store() {
            assert_eq!(self.w.exec(victim.node, "clock").code, Some(7));
        }
        // Others may be down, so this one's own keys only.
        self.set_key(round, alive, alive);
        self.w.must(&["start", victim.node]);
        if victim.takes_device() {
            self.device = self.w.open("hosta");
            self.check_device();
        }
    }

    /// No faults any more: everything meets.
    fn converge(&mut self) {
        println!("{:3} s, all shall meet", self.started.elapsed().as_secs());
        self.flush();
        self.check_device();
        let image = self.w.all_alike("hosta", &NODES);
        self.log.check_device(&image);
        for node in NODES {
            let role = if node == "hosta" { "1" } else { "0" };
            self.w.has(node, &format!("actual-{node}/is-primary"), role);
            for (key, value) in &self.keys {
                self.w.reads(node, key, value);
            }
        }
        let started = Instant::now();
        while let Some(difference) = self.difference() {
            assert!(
                started.elapsed() < LIMIT,
                "the metadata do not meet: {difference}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A line of the global keys that not all nodes have.
    fn difference(&self) -> Option<String> {
        let list = |node| -> BTreeSet<String> {
            let all = self.w.ok(node, "list-links --deleted");
            // Who is alive is each node's own view; a resource's keys are for its members.
            let global =
                |line: &&str| !line.starts_with("resource-") && !line.starts_with("actual-");
            all.lines().filter(global).map(str::to_owned).collect()
        };
        let first = list("hosta");
        assert!(first.len() > self.keys.len());
        NODES[1..].iter().find_map(|node| {
            let other = list(node);
            let line = first.symmetric_difference(&other).next()?;
            let only = if first.contains(line) { "hosta" } else { node };
            Some(format!("of hosta and {node}, only {only} has {line}"))
        })
    }
}

#[test]
fn any_process_may_die_at_any_time() {
    let seed = setting("MARS_E2E_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = setting("MARS_E2E_KILLS").unwrap_or(KILLS);
    println!("run again with MARS_E2E_SEED={seed} MARS_E2E_KILLS={kills}");
    let w = World::replicated(3, &format!("{}", BLOCKS * BLOCK as u64));
    let device = w.open("hosta");
    let mut campaign = Campaign {
        w,
        dice: Dice(seed),
        log: WriteLog::default(),
        device,
        keys: BTreeMap::new(),
        started: Instant::now(),
    };
    for round in 1..=kills {
        campaign.round(round);
        if round % 50 == 0 {
            campaign.converge();
        }
    }
    campaign.converge();
    let (writes, lost) = campaign.log.counts();
    println!("{writes} writes; {lost} that were never acknowledged are not there");
    let view = campaign.w.ok("hosta", &format!("view {RES}"));
    assert!(
        !view.contains("Error") && !view.contains("Inconsistent"),
        "{view}"
    );
}
