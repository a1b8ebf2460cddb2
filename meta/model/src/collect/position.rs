//! Where a write stands in the order of all writes: epoch and stamp.

use crate::Entry;
use mars_lamport::Timestamp;
use std::fmt;

/// Epoch of the cluster's clock and stamp, in the order in which the merge rule compares them: all that was written under
/// an earlier epoch lies below everything of a later one, however far in the future its stamps are.
///
/// The positions at which a node writes only rise: within an epoch its clock does, and an epoch is never left for an
/// earlier one. (A store that was restored from a backup may be in an earlier epoch than before.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Epoch of the cluster's clock.
    pub epoch: u16,
    /// Stamp within the epoch.
    pub stamp: Timestamp,
}

impl Position {
    /// Below all writes; as a floor: nothing was ever collected.
    pub const ZERO: Self = Self::new(0, Timestamp::ZERO);
    /// Above all writes.
    pub const MAX: Self = Self::new(u16::MAX, Timestamp::from_nanos(u64::MAX));

    /// The position of a stamp of an epoch.
    #[must_use]
    pub const fn new(epoch: u16, stamp: Timestamp) -> Self {
        Self { epoch, stamp }
    }

    /// Where an entry stands.
    #[must_use]
    pub const fn of(entry: &Entry) -> Self {
        Self::new(entry.epoch, entry.stamp)
    }

    /// The next one within the epoch.
    pub(crate) const fn next(self) -> Self {
        Self::new(self.epoch, self.stamp.plus_nanos(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            0 => write!(f, "{}", self.stamp),
            epoch => write!(f, "epoch {epoch}, {}", self.stamp),
        }
    }
}
