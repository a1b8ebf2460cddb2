//! The four measurements, the same for all subjects. A subject is new for each of them and has rested before.

use crate::subject::{Sent, Subject};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An update that is not everywhere by then counts as not delivered in the share.
const WINDOW: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_secs(60);
/// Updates on each side of the cut, one every half second.
const CUT_UPDATES: u32 = 100;
const CUT_PACE: Duration = Duration::from_millis(500);
/// The number of an update after the cut.
const LATE: u32 = 1_000_000;
const STEP: Duration = Duration::from_millis(100);

/// How long is waited.
#[derive(Clone, Copy)]
pub struct Lengths {
    /// Time of rest that is measured.
    pub quiet: Duration,
    /// The least of the longest wait for what may never come.
    pub patience: Duration,
}

impl Lengths {
    /// Ten minutes each.
    pub const FULL: Self = Self {
        quiet: Duration::from_secs(600),
        patience: Duration::from_secs(600),
    };
    /// For what takes too long otherwise.
    pub const SHORT: Self = Self {
        quiet: Duration::from_secs(60),
        patience: Duration::from_secs(60),
    };

    fn patience(self, subject: &dyn Subject) -> Duration {
        self.patience.max(20 * subject.round())
    }

    /// How long the rest before updates is measured, to tell what updates add.
    fn sample(self, subject: &dyn Subject) -> Duration {
        (self.quiet / 6).max(10 * subject.round())
    }
}

fn total(sent: &[Sent]) -> Sent {
    sent.iter().fold(Sent::default(), |sum, node| Sent {
        bytes: sum.bytes + node.bytes,
        packets: sum.packets + node.packets,
    })
}

/// The value that so many percent of the sorted values do not exceed; `None`: it never came.
fn percentile(sorted: &[Option<Duration>], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().flatten()
}

fn shown(time: Option<Duration>) -> String {
    match time {
        Some(time) if time >= Duration::from_secs(10) => format!("{:.1} s", time.as_secs_f64()),
        Some(time) => format!("{} ms", time.as_millis()),
        None => "never".to_owned(),
    }
}

fn sorted(mut times: Vec<Option<Duration>>) -> Vec<Option<Duration>> {
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    times
}

fn row(times: Vec<Option<Duration>>) -> String {
    let times = sorted(times);
    let at = |percent| shown(percentile(&times, percent));
    format!("p50 {}, p99 {}, longest {}", at(50), at(99), at(100))
}

/// One update after the other from random nodes to all.
pub fn spread(subject: &mut dyn Subject, updates: u32, lengths: Lengths, seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let before = total(&subject.sent());
    subject.pass(lengths.sample(subject));
    let idle = total(&subject.sent()).bytes - before.bytes;
    subject.arrivals();
    let nodes = subject.nodes();
    let patience = Duration::from_secs(60).max(20 * subject.round());
    let (mut each, mut last, mut in_time) = (Vec::new(), Vec::new(), 0);
    let (before, began) = (total(&subject.sent()), subject.now());
    for update in 0..updates {
        let written = subject.now();
        subject.write(rng.random_range(0..nodes), update);
        let mut came: BTreeSet<usize> = BTreeSet::new();
        let mut slowest = Duration::ZERO;
        let mut end = WINDOW;
        loop {
            subject.pass(written + end - subject.now());
            for arrival in subject.arrivals() {
                if arrival.update == update && came.insert(arrival.node) {
                    let time = arrival.at - written;
                    in_time += usize::from(time <= WINDOW);
                    each.push(Some(time));
                    slowest = slowest.max(time);
                }
            }
            if came.len() + 1 >= nodes || end >= patience {
                break;
            }
            end = (end + Duration::from_secs(5)).min(patience);
        }
        let missing = nodes - 1 - came.len();
        each.extend(std::iter::repeat_n(None, missing));
        last.push((missing == 0).then_some(slowest));
        subject.pass(Duration::from_millis(rng.random_range(0..1000)));
    }
    let spent = total(&subject.sent());
    let secs = (subject.now() - began).as_secs_f64();
    let idle = idle as f64 / lengths.sample(subject).as_secs_f64();
    let at_rest = idle / nodes as f64;
    let idle = idle * secs;
    let per_node = ((spent.bytes - before.bytes) as f64 - idle) / f64::from(updates) / nodes as f64;
    let expected = updates as usize * (nodes - 1);
    let never = each.iter().filter(|time| time.is_none()).count();
    vec![
        format!("  until a node has it: {}", row(each)),
        format!("  until the last node has it: {}", row(last)),
        format!(
            "  within {} s: {:.4} % ({in_time} of {expected}); {never} not within {} s; {per_node:.0} bytes per update and node \
             beyond {at_rest:.0} B/s",
            WINDOW.as_secs(),
            100.0 * in_time as f64 / expected as f64,
            patience.as_secs(),
        ),
    ]
}

/// What nodes send when nothing happens, and whether a living one is called dead.
pub fn idle(subject: &mut dyn Subject, lengths: Lengths) -> Vec<String> {
    let before = subject.sent();
    let nodes = subject.nodes();
    let mut wrong = 0;
    for _ in 0..lengths.quiet.as_secs() / 10 {
        subject.pass(Duration::from_secs(10));
        wrong += (1..nodes)
            .filter(|node| subject.watchers(*node).contains(&0) && subject.sees_dead(0, *node))
            .count();
    }
    let after = subject.sent();
    let secs = lengths.quiet.as_secs_f64();
    let rates: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(old, new)| (new.bytes - old.bytes) as f64 / secs)
        .collect();
    let mean = rates.iter().sum::<f64>() / nodes as f64;
    let most = rates.iter().copied().fold(0.0, f64::max);
    let packets = (total(&after).packets - total(&before).packets) as f64 / secs / nodes as f64;
    let peers = subject.neighbours();
    vec![format!(
        "  idle for {} s: {mean:.1} B/s per node (busiest {most:.1}) in {packets:.2} packets/s; {peers:.1} neighbours, \
         {:.1} B/s for each; {wrong} times of {} samples node 0 took a living one for dead",
        lengths.quiet.as_secs(),
        mean / peers,
        (lengths.quiet.as_secs() / 10) * (nodes as u64 - 1),
    )]
}

/// Both halves write while they are apart; then the network heals.
pub fn heal(subject: &mut dyn Subject, lengths: Lengths, seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let nodes = subject.nodes();
    let half = nodes / 2;
    let patience = lengths.patience(subject);
    subject.arrivals();
    subject.cut(true);
    let began = subject.now();
    let mut writers = BTreeMap::new();
    for update in 0..CUT_UPDATES {
        for (number, side) in [(2 * update, 0..half), (2 * update + 1, half..nodes)] {
            let writer = rng.random_range(side);
            writers.insert(number, writer);
            subject.write(writer, number);
        }
        subject.pass(CUT_PACE);
    }
    subject.pass(began + CUT - subject.now());
    let mut came: BTreeMap<(usize, u32), Duration> = BTreeMap::new();
    let across = |node: usize, update: u32| (node < half) != (writers[&update] < half);
    let expected_across = CUT_UPDATES as usize * nodes;
    let expected_within = CUT_UPDATES as usize * (nodes - 2);
    subject.cut(false);
    let healed = subject.now();
    loop {
        for arrival in subject.arrivals() {
            came.entry((arrival.node, arrival.update))
                .or_insert(arrival.at);
        }
        let done = came.len() == expected_across + expected_within;
        if done || subject.now() > healed + patience {
            break;
        }
        subject.pass(STEP);
    }
    let mut times: Vec<Option<Duration>> = Vec::new();
    let mut within = 0;
    for ((node, update), at) in &came {
        if across(*node, *update) {
            times.push(Some(at.saturating_sub(healed)));
        } else {
            within += 1;
        }
    }
    let crossed = times.len();
    times.extend(std::iter::repeat_n(None, expected_across - crossed));
    vec![
        format!(
            "  after a cut of {} s, {CUT_UPDATES} updates on each side: {crossed} of {expected_across} arrived on the other \
             side within {} s: {}",
            CUT.as_secs(),
            patience.as_secs(),
            row(times)
        ),
        format!("  on their own side: {within} of {expected_within}"),
        late(subject, lengths, healed),
    ]
}

/// Whether the halves have found each other again.
fn late(subject: &mut dyn Subject, lengths: Lengths, healed: Duration) -> String {
    let apart = |subject: &mut dyn Subject| {
        let all = 0..subject.nodes();
        all.clone()
            .filter(|node| {
                all.clone()
                    .any(|other| other != *node && subject.sees_dead(*node, other))
            })
            .count()
    };
    let patience = lengths.patience(subject);
    subject.pass((healed + patience).saturating_sub(subject.now()));
    let takes_for_dead = if subject.watchers(0).len() + 1 == subject.nodes() {
        apart(subject)
    } else {
        0
    };
    subject.arrivals();
    subject.write(0, LATE);
    subject.pass(patience / 10);
    let reached: BTreeSet<usize> = subject
        .arrivals()
        .into_iter()
        .filter(|arrival| arrival.update == LATE)
        .map(|arrival| arrival.node)
        .collect();
    format!(
        "  {} s after it was mended: {takes_for_dead} nodes take a living one for dead; a new update reaches {} of {} within \
         {} s",
        patience.as_secs(),
        reached.len(),
        subject.nodes() - 1,
        (patience / 10).as_secs()
    )
}

/// One node ends without a word. Returns the time until the first and until the last one knows.
fn crash(
    subject: &mut dyn Subject,
    lengths: Lengths,
    node: usize,
) -> (Option<Duration>, Option<Duration>, usize) {
    let watchers = subject.watchers(node);
    let mut open: BTreeSet<usize> = watchers.iter().copied().collect();
    subject.crash(node);
    let (began, patience) = (subject.now(), lengths.patience(subject));
    let (mut first, mut last) = (None, None);
    while !open.is_empty() && subject.now() < began + patience {
        subject.pass(STEP);
        let told: Vec<usize> = open
            .iter()
            .copied()
            .filter(|other| subject.sees_dead(*other, node))
            .collect();
        for other in told {
            open.remove(&other);
            first = first.or(Some(subject.now() - began));
        }
    }
    if open.is_empty() {
        last = Some(subject.now() - began);
    }
    (first, last, watchers.len())
}

/// Several crashes, each of another cluster.
pub fn crashes(
    make: &mut dyn FnMut(u64) -> Box<dyn Subject>,
    runs: u64,
    lengths: Lengths,
    seed: u64,
) -> Vec<String> {
    let (mut firsts, mut lasts, mut told) = (Vec::new(), Vec::new(), 0);
    for run in 0..runs {
        let mut subject = make(seed + run);
        subject.pass(subject.rest());
        let node = subject.nodes() / 2;
        let (first, last, watchers) = crash(&mut *subject, lengths, node);
        firsts.push(first);
        lasts.push(last);
        told += watchers;
    }
    let span = |times: Vec<Option<Duration>>| {
        let times = sorted(times);
        let at = |percent| shown(percentile(&times, percent));
        format!("median {} ({} to {})", at(50), shown(times[0]), at(100))
    };
    vec![format!(
        "  a crash ({runs} runs): the first knows after {}, all of {:.1} that are told after {}",
        span(firsts),
        told as f64 / runs as f64,
        span(lasts)
    )]
}
