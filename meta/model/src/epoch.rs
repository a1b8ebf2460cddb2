//! Epochs of the cluster's clock: how a store that was poisoned with stamps of the future is repaired.
//!
//! The epoch leads the order of entries, so what is written under a new one is newer than anything under the old one,
//! whatever their stamps are. Each epoch is announced by an entry of its own (`clock-epoch/NNNNN`), which carries that
//! epoch; no other entry is the first of its epoch. A node enters a later epoch by its announcement alone and may skip
//! some: those may have been announced at a wrong time. It skips few, so that nobody can exhaust the epochs at once.

use crate::collect::Position;
use crate::{Entry, Key, View};
use mars_lamport::Timestamp;

/// Beginning of all announcements.
pub const EPOCH_PREFIX: &str = "clock-epoch/";
/// Least time between the announcements of two epochs in ns: 10 minutes.
pub const EPOCH_GAP_NS: u64 = 600_000_000_000;

/// How many epochs a node enters with one announcement, at most: those between were announced at a wrong time, or come
/// later. Also how many there may be in [`EPOCH_GAP_NS`] before a node asks for a distance, since several sides of a
/// partition may begin some at the same time.
pub const EPOCH_SKIP_MAX: u16 = 16;

/// The key that announces `epoch`.
#[must_use]
pub fn epoch_key(epoch: u16) -> Option<Key> {
    Key::parse(&format!("{EPOCH_PREFIX}{epoch:05}")).ok()
}

/// The epoch that an entry announces, if it is an announcement. Its cell does not matter.
#[must_use]
pub fn announced_epoch(entry: &Entry) -> Option<u16> {
    let digits = entry.key.as_str().strip_prefix(EPOCH_PREFIX)?;
    let epoch: u16 = digits.parse().ok()?;
    let sound = epoch == entry.epoch && epoch > 0;
    (sound && Some(&entry.key) == epoch_key(epoch).as_ref()).then_some(epoch)
}

/// The greatest epoch announced; 0 if none is.
#[must_use]
pub fn current_epoch(view: &(impl View + ?Sized)) -> u16 {
    view.scan(EPOCH_PREFIX)
        .filter_map(announced_epoch)
        .max()
        .unwrap_or(0)
}

/// Whether enough time lies between the announcement of an epoch and that of the one before. One before that lies beyond
/// `newest` (the newest stamp that is taken) was poisoned itself and does not count.
#[must_use]
pub fn epoch_may_follow(previous: Option<Timestamp>, next: Timestamp, newest: Timestamp) -> bool {
    previous.is_none_or(|previous| {
        previous > newest || next.as_nanos() >= previous.as_nanos().saturating_add(EPOCH_GAP_NS)
    })
}

/// Whether a node in epoch `own` enters the epoch `next`, announced with `stamp`, as far as numbers and their pace go.
/// `held` tells the stamps of the announcements that it holds; those beyond `newest` were poisoned and do not count.
///
/// The stamp need not lie behind that of the own epoch: two sides of a partition may have begun epochs of the same number,
/// and the greatest number that any side has come to is in force for all.
#[must_use]
pub fn epoch_may_be_entered(
    held: impl Fn(u16) -> Option<Timestamp>,
    (own, next): (u16, u16),
    stamp: Timestamp,
    newest: Timestamp,
) -> bool {
    let near = next > own && next - own <= EPOCH_SKIP_MAX;
    let earlier = (1..=next.saturating_sub(EPOCH_SKIP_MAX)).rev();
    // Who came here by such steps holds one of so many.
    let mut earlier = earlier.take(usize::from(EPOCH_SKIP_MAX)).filter_map(held);
    let paced = earlier.find(|began| *began <= newest);
    near && epoch_may_follow(paced, stamp, newest)
}

/// When the epochs that a node knows of began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<(u16, Timestamp)>);

impl Epochs {
    /// Reads the announcements.
    #[must_use]
    pub fn read(view: &(impl View + ?Sized)) -> Self {
        let all = view.scan(EPOCH_PREFIX);
        // Their keys are in the order of their numbers.
        Self(
            all.filter_map(|entry| Some((announced_epoch(entry)?, entry.stamp)))
                .collect(),
        )
    }

    /// The position of a reading of the system clock: in the latest epoch that had begun by then.
    #[must_use]
    pub fn position(&self, stamp: Timestamp) -> Position {
        let begun = self.0.iter().rev().find(|(_, began)| *began <= stamp);
        Position::new(begun.map_or(0, |(epoch, _)| *epoch), stamp)
    }

    /// When (system clock, ns) something was written, as far as that can be said: stamps of earlier epochs may lie in the
    /// future, but what bears them was there when the present epoch began.
    #[must_use]
    pub fn time(&self, at: Position) -> u64 {
        let stamp = match self.0.last() {
            Some((epoch, began)) if at.epoch < *epoch => at.stamp.min(*began),
            _ => at.stamp,
        };
        stamp.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    #[test]
    fn an_announcement_carries_its_own_epoch() {
        let mut good = entry("clock-epoch/00007", Some("hosta"), 5, 1);
        assert_eq!(announced_epoch(&good), None);
        good.epoch = 7;
        assert_eq!(announced_epoch(&good), Some(7));
        for text in ["clock-epoch/7", "clock-epoch/x", "clock-epoch/00000"] {
            let mut bad = entry(text, Some("x"), 5, 1);
            bad.epoch = 7;
            assert_eq!(announced_epoch(&bad), None, "{text}");
        }
        let mut gone = entry("clock-epoch/00007", None, 5, 1);
        gone.epoch = 7;
        assert_eq!(announced_epoch(&gone), Some(7));
    }

    #[test]
    fn epochs_keep_their_distance() {
        let at = Timestamp::from_nanos;
        let newest = at(10 * EPOCH_GAP_NS);
        assert!(epoch_may_follow(None, at(0), newest));
        assert!(epoch_may_follow(Some(at(5)), at(5 + EPOCH_GAP_NS), newest));
        assert!(!epoch_may_follow(Some(at(5)), at(4 + EPOCH_GAP_NS), newest));
        assert!(epoch_may_follow(Some(at(11 * EPOCH_GAP_NS)), at(0), newest));
    }

    #[test]
    fn a_later_epoch_is_entered_over_others_but_not_over_many() {
        let at = |gaps: u64| Timestamp::from_nanos(gaps * EPOCH_GAP_NS);
        let (now, none) = (at(100), |_: u16| None);
        for (own, next, may) in [(0, 1, true), (0, 16, true), (3, 19, true)] {
            assert_eq!(epoch_may_be_entered(none, (own, next), now, now), may);
        }
        for (own, next) in [(0, 17), (3, 20), (3, 3), (3, 2), (0, u16::MAX)] {
            assert!(
                !epoch_may_be_entered(none, (own, next), now, now),
                "{own} {next}"
            );
        }
        // As far as one gets at one moment; then it takes time.
        let (mut held, mut time) = (std::collections::BTreeMap::new(), at(100));
        let mut run = |time: Timestamp| {
            let mut own = held.keys().last().copied().unwrap_or(0);
            while let Some(next) = (own + 1..=own + EPOCH_SKIP_MAX).rev().find(|next| {
                epoch_may_be_entered(|e| held.get(&e).copied(), (own, *next), time, time)
            }) {
                held.insert(next, time);
                own = next;
            }
            own
        };
        assert_eq!(run(time), 31);
        let mut before = 31;
        for _ in 0..100 {
            time = time.plus_nanos(EPOCH_GAP_NS);
            let reached = run(time);
            assert!(
                (1..=2 * EPOCH_SKIP_MAX).contains(&(reached - before)),
                "{reached}"
            );
            before = reached;
        }
        // An announcement of the future keeps nobody out.
        let poisoned = |epoch: u16| (epoch == 1).then_some(at(900));
        assert!(epoch_may_be_entered(poisoned, (16, 17), now, now));
        assert!(!epoch_may_be_entered(|_| Some(now), (16, 17), now, now));
    }

    #[test]
    fn a_reading_of_the_clock_belongs_to_the_latest_epoch_that_had_begun() {
        let at = Timestamp::from_nanos;
        let mut table = crate::Table::new();
        assert_eq!(
            Epochs::read(&table).position(at(9)),
            Position::new(0, at(9))
        );
        assert_eq!(Epochs::read(&table).time(Position::new(0, at(9))), 9);
        // The first one was announced with a stamp of the future.
        for (epoch, began) in [(1, 5_000), (2, 100)] {
            let key = format!("clock-epoch/{epoch:05}");
            let mut announced = entry(&key, Some("hosta"), began, 1);
            announced.epoch = epoch;
            table.merge(announced);
        }
        let epochs = Epochs::read(&table);
        for (stamp, epoch) in [(99, 0), (100, 2), (4_999, 2), (6_000, 2)] {
            assert_eq!(epochs.position(at(stamp)), Position::new(epoch, at(stamp)));
        }
        for (epoch, stamp, time) in [(0, 50, 50), (0, 9_000, 100), (1, 9_000, 100), (2, 300, 300)] {
            assert_eq!(epochs.time(Position::new(epoch, at(stamp))), time);
        }
    }
}
