//! The clock and its drift bound.

use crate::Timestamp;
use std::fmt;

/// Default bound on how far a received stamp may lie ahead of the own system clock: 60 s.
pub const DEFAULT_MAX_AHEAD: u64 = 60_000_000_000;

/// A received stamp lies further ahead of the own system clock than the bound allows.
/// The clock was not changed; the message that carried the stamp must not be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarAhead {
    /// The refused stamp.
    pub stamp: Timestamp,
    /// The own system clock at that moment, in nanoseconds since the epoch.
    pub wall_ns: u64,
    /// The bound, in nanoseconds.
    pub max_ahead_ns: u64,
}

impl fmt::Display for TooFarAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stamp {} is {} ms ahead of this node's system clock {} (at most {} ms are taken): \
             compare the system clocks of both nodes",
            self.stamp,
            self.stamp.as_nanos().saturating_sub(self.wall_ns) / 1_000_000,
            Timestamp::from_nanos(self.wall_ns),
            self.max_ahead_ns / 1_000_000,
        )
    }
}

impl std::error::Error for TooFarAhead {}

/// A physical Lamport clock.
///
/// Over restarts, its owner keeps a stamp on stable storage that no issued or observed one exceeds, and starts the
/// next life there (`docs/spec/store.md`).
///
/// # Invariants
/// * I-1: every stamp issued is strictly greater than all issued before and all observed before in the same epoch.
/// * I-2: no stamp issued is behind the system clock given with the call.
/// * I-3: a stamp further ahead of the system clock than the bound changes nothing.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Timestamp,
    max_ahead_ns: u64,
}

impl Clock {
    /// A clock that will issue nothing at or below `last`: the greatest stamp that an earlier life of this
    /// node may have issued ([`Timestamp::ZERO`] for a new node). `max_ahead_ns` is the drift bound in ns.
    #[must_use]
    pub const fn new(last: Timestamp, max_ahead_ns: u64) -> Self {
        Self { last, max_ahead_ns }
    }

    /// Issues the next stamp.
    pub fn tick(&mut self, wall_ns: u64) -> Timestamp {
        self.tick_batch(wall_ns, 1)
    }

    /// Issues `count` consecutive stamps (1 ns apart) and returns the first. A count of 0 counts as 1.
    pub fn tick_batch(&mut self, wall_ns: u64, count: u64) -> Timestamp {
        let first = Timestamp::from_nanos(wall_ns.max(self.last.as_nanos().saturating_add(1)));
        self.last = first.plus_nanos(count.max(1) - 1);
        first
    }

    /// Takes notice of a received stamp: all later ones are greater.
    ///
    /// # Errors
    /// [`TooFarAhead`] if the stamp lies beyond the drift bound; the clock is unchanged.
    pub fn observe(&mut self, wall_ns: u64, remote: Timestamp) -> Result<(), TooFarAhead> {
        self.check(wall_ns, remote)?;
        self.last = self.last.max(remote);
        Ok(())
    }

    /// Whether [`Clock::observe`] would take the stamp; changes nothing.
    ///
    /// # Errors
    /// [`TooFarAhead`] as there.
    pub fn check(&self, wall_ns: u64, remote: Timestamp) -> Result<(), TooFarAhead> {
        if remote.as_nanos() > wall_ns.saturating_add(self.max_ahead_ns) {
            return Err(TooFarAhead {
                stamp: remote,
                wall_ns,
                max_ahead_ns: self.max_ahead_ns,
            });
        }
        Ok(())
    }

    /// Forgets all stamps issued and observed, since a new epoch begins, whose stamps are above all of them: the clock
    /// follows the system clock again.
    pub const fn begin_epoch(&mut self) {
        self.last = Timestamp::ZERO;
    }

    /// The clock's reading without an event: what [`Clock::tick`] would not go below.
    #[must_use]
    pub fn now(&self, wall_ns: u64) -> Timestamp {
        self.last.max(Timestamp::from_nanos(wall_ns))
    }

    /// The greatest stamp issued or observed.
    #[must_use]
    pub const fn last(&self) -> Timestamp {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_nanos(ns)
    }

    #[test]
    fn follows_the_system_clock_and_never_stands_still() {
        let mut clock = Clock::new(Timestamp::ZERO, 100);
        assert_eq!(clock.tick(10), at(10));
        assert_eq!(clock.tick(10), at(11));
        assert_eq!(
            clock.tick(5),
            at(12),
            "a system clock set back does not set the stamps back"
        );
        assert_eq!(clock.tick(50), at(50));
    }

    #[test]
    fn a_received_stamp_pushes_forward_by_events_only_until_real_time_caught_up() {
        let mut clock = Clock::new(Timestamp::ZERO, 100);
        clock.observe(10, at(90)).unwrap();
        assert_eq!(clock.tick(11), at(91));
        assert_eq!(clock.tick(60), at(92));
        assert_eq!(clock.tick(93), at(93));
        assert_eq!(clock.tick(200), at(200));
    }

    #[test]
    fn a_stamp_far_in_the_future_changes_nothing() {
        let mut clock = Clock::new(at(5), 100);
        let error = clock.observe(10, at(111)).unwrap_err();
        assert_eq!(
            error,
            TooFarAhead {
                stamp: at(111),
                wall_ns: 10,
                max_ahead_ns: 100
            }
        );
        assert_eq!(clock.last(), at(5));
        clock.observe(10, at(110)).unwrap();
    }

    #[test]
    fn the_bound_is_measured_against_the_system_clock_and_does_not_creep() {
        let mut clock = Clock::new(Timestamp::ZERO, 100);
        clock.observe(10, at(110)).unwrap();
        assert!(
            clock.observe(10, at(111)).is_err(),
            "110 seen before must not widen the bound"
        );
    }

    #[test]
    fn a_new_epoch_follows_the_system_clock_again() {
        let mut clock = Clock::new(at(5_000), 100);
        assert_eq!(clock.tick(10), at(5_001));
        clock.begin_epoch();
        assert_eq!(clock.tick(10), at(10));
    }

    #[test]
    fn a_batch_is_consecutive() {
        let mut clock = Clock::new(Timestamp::ZERO, 100);
        assert_eq!(clock.tick_batch(10, 3), at(10));
        assert_eq!(clock.tick(10), at(13));
    }

    proptest! {
        #[test]
        fn stamps_strictly_increase_whatever_happens(
            steps in proptest::collection::vec((any::<bool>(), 0u64..1_000_000, 0u64..1_000_000), 1..200)
        ) {
            let mut clock = Clock::new(Timestamp::ZERO, 1_000);
            let mut floor = Timestamp::ZERO;
            for (tick, wall, remote) in steps {
                if tick {
                    let stamp = clock.tick(wall);
                    prop_assert!(stamp > floor && stamp.as_nanos() >= wall);
                    floor = stamp;
                } else if clock.observe(wall, at(remote)).is_ok() {
                    prop_assert!(remote <= wall + 1_000);
                    floor = floor.max(at(remote));
                } else {
                    prop_assert!(remote > wall + 1_000);
                }
            }
        }
    }
}
