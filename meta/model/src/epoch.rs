//! Epochs of the cluster's clock: how a store that was poisoned with stamps of the future is repaired.
//!
//! The epoch leads the order of entries, so what is written under a new one is newer than anything under the old one,
//! whatever their stamps are. Each epoch is announced by an entry of its own (`clock-epoch/NNNNN`), which carries that
//! epoch; no other entry is the first of its epoch. Nodes take one step at a time, so nobody can exhaust the epochs at
//! once, and a node that was away walks through the announcements in order.

use crate::collect::Position;
use crate::{Entry, Key, View};
use mars_lamport::Timestamp;

/// Beginning of all announcements.
pub const EPOCH_PREFIX: &str = "clock-epoch/";
/// Least time between the announcements of two epochs in ns: 10 minutes.
pub const EPOCH_GAP_NS: u64 = 600_000_000_000;

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
