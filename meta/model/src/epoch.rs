//! Epochs of the cluster's clock: how a store that was poisoned with stamps of the future is repaired.
//!
//! The epoch leads the order of entries, so what is written under a new one is newer than anything under the old one,
//! whatever their stamps are. Each epoch is announced by an entry of its own (`clock-epoch/NNNNN`), which carries that
//! epoch; no other entry is the first of its epoch. Nodes take one step at a time, so nobody can exhaust the epochs at
//! once, and a node that was away walks through the announcements in order.

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
}
