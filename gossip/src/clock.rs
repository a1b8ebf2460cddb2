//! The check of this node's system clock against its neighbours'.

/// How this node's system clock stands to those of its neighbours. Nothing of it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockVerdict {
    /// No neighbour was heard yet.
    #[default]
    Unknown,
    /// It agrees with them.
    Good {
        /// Median of how far they are ahead, in ns.
        offset_ns: i64,
        /// How many were compared.
        peers: usize,
    },
    /// They are more than half of the drift bound ahead or behind.
    Warn {
        /// As in `Good`.
        offset_ns: i64,
        /// As in `Good`.
        peers: usize,
    },
    /// They are more than the drift bound ahead or behind: this node writes no shared keys.
    Insane {
        /// As in `Good`.
        offset_ns: i64,
        /// As in `Good`.
        peers: usize,
    },
    /// This node's system clock was wrong: its Lamport clock is further ahead of it than the drift bound, so that the others
    /// refuse all that it writes until time has caught up.
    Ahead {
        /// How far, in ns.
        lead_ns: u64,
    },
    /// None of the connected nodes is in this node's epoch of the cluster's clock, and has not been for a while: what one
    /// side writes is refused by the other, or loses there.
    Apart {
        /// This node's epoch.
        own: u16,
        /// The greatest one of the others.
        theirs: u16,
    },
}

impl ClockVerdict {
    /// The verdict with regard to the node's own two clocks, in ns.
    #[must_use]
    pub fn beside(self, (wall, lamport): (u64, u64), max_ahead_ns: u64) -> Self {
        let lead_ns = lamport.saturating_sub(wall);
        // As long as the system clock itself is wrong, that is what has to be mended.
        let insane = matches!(self, Self::Insane { .. });
        if lead_ns > max_ahead_ns && !insane {
            Self::Ahead { lead_ns }
        } else {
            self
        }
    }

    /// The verdict with regard to the epochs of the others, if this node is alone in its own: (own, theirs).
    #[must_use]
    pub const fn among(self, apart: Option<(u16, u16)>) -> Self {
        match (self, apart) {
            // A wrong clock is what has to be mended first.
            (Self::Insane { .. } | Self::Ahead { .. }, _) | (_, None) => self,
            (_, Some((own, theirs))) => Self::Apart { own, theirs },
        }
    }

    /// The verdict over the offsets of the neighbours (positive: they are ahead): their median. Of the two in the middle
    /// of an even number the smaller one counts, so that one neighbour out of two with a wrong clock accuses nobody else.
    #[must_use]
    pub fn of(mut offsets: Vec<i64>, max_ahead_ns: u64) -> Self {
        offsets.sort_unstable();
        let peers = offsets.len();
        let upper = offsets.get(peers / 2).copied();
        let lower = peers
            .checked_sub(1)
            .and_then(|last| offsets.get(last / 2).copied());
        let Some(offset_ns) = upper
            .into_iter()
            .chain(lower)
            .min_by_key(|offset| offset.unsigned_abs())
        else {
            return Self::Unknown;
        };
        if offset_ns.unsigned_abs() > max_ahead_ns {
            Self::Insane { offset_ns, peers }
        } else if offset_ns.unsigned_abs() > max_ahead_ns / 2 {
            Self::Warn { offset_ns, peers }
        } else {
            Self::Good { offset_ns, peers }
        }
    }

    /// Its name, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good { .. } => "good",
            Self::Warn { .. } => "warn",
            Self::Insane { .. } => "insane",
            Self::Ahead { .. } => "ahead",
            Self::Apart { .. } => "apart",
        }
    }

    /// Median of how far the neighbours are ahead, in ns.
    #[must_use]
    pub const fn offset_ns(&self) -> Option<i64> {
        match self {
            Self::Unknown | Self::Ahead { .. } | Self::Apart { .. } => None,
            Self::Good { offset_ns, .. }
            | Self::Warn { offset_ns, .. }
            | Self::Insane { offset_ns, .. } => Some(*offset_ns),
        }
    }
}

/// How far a peer's clock, which read `theirs` when it sent, is ahead of ours, which reads `ours` now; half of the round
/// trip is taken for the way.
#[must_use]
pub(crate) fn offset(theirs: u64, ours: u64, rtt_ns: u64) -> i64 {
    let theirs = i128::from(theirs) + i128::from(rtt_ns / 2);
    let offset = theirs - i128::from(ours);
    i64::try_from(offset).unwrap_or(if offset > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: u64 = 60;

    fn name(offsets: &[i64]) -> &'static str {
        ClockVerdict::of(offsets.to_vec(), DELTA).name()
    }

    #[test]
    fn the_median_decides() {
        assert_eq!(name(&[]), "unknown");
        assert_eq!(name(&[10, -10, 3]), "good");
        assert_eq!(name(&[100, 0, 0]), "good");
        assert_eq!(name(&[31, 40, 0]), "warn");
        assert_eq!(name(&[-31]), "warn");
        assert_eq!(name(&[100, 90, 0]), "insane");
        assert_eq!(name(&[-100, -61, -70, 0]), "insane");
        assert_eq!(name(&[i64::MIN, i64::MIN]), "insane");
    }

    #[test]
    fn one_wrong_neighbour_of_two_accuses_nobody() {
        assert_eq!(name(&[600, 1]), "good");
        assert_eq!(name(&[-600, 1]), "good");
        assert_eq!(name(&[-600, 600, 0, 1]), "good");
        assert_eq!(name(&[600]), "insane");
    }

    #[test]
    fn a_store_that_is_ahead_of_its_clock_is_told_whatever_the_neighbours_say() {
        let good = ClockVerdict::of(vec![0], DELTA);
        assert_eq!(good.beside((1000, 1060), DELTA), good);
        assert_eq!(good.beside((1000, 900), DELTA), good);
        let ahead = ClockVerdict::Ahead { lead_ns: 61 };
        assert_eq!(good.beside((1000, 1061), DELTA), ahead);
        assert_eq!((ahead.name(), ahead.offset_ns()), ("ahead", None));
        let insane = ClockVerdict::of(vec![100], DELTA);
        assert_eq!(insane.beside((1000, 1061), DELTA), insane);
    }

    #[test]
    fn who_is_alone_in_its_epoch_is_apart_unless_its_clock_is_wrong() {
        let (good, insane) = (
            ClockVerdict::of(vec![0], DELTA),
            ClockVerdict::of(vec![100], DELTA),
        );
        let apart = ClockVerdict::Apart { own: 2, theirs: 1 };
        assert_eq!(good.among(None), good);
        assert_eq!(good.among(Some((2, 1))), apart);
        assert_eq!(insane.among(Some((2, 1))), insane);
        assert_eq!((apart.name(), apart.offset_ns()), ("apart", None));
    }

    #[test]
    fn the_way_is_half_of_the_round_trip() {
        assert_eq!(offset(1000, 1050, 100), 0);
        assert_eq!(offset(1000, 2000, 100), -950);
        assert_eq!(offset(u64::MAX, 0, u64::MAX), i64::MAX);
        assert_eq!(offset(0, u64::MAX, 0), i64::MIN);
    }
}
