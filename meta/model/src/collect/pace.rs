//! How fast tombstones go.

use crate::Scope;
use mars_lamport::Timestamp;

const HOUR: u64 = 3600 * 1_000_000_000;

/// Quantum and retention of a kind of scopes, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Levels are multiples of it.
    pub quantum: u64,
    /// How long a tombstone lasts at least.
    pub retention: u64,
}

impl Pace {
    /// The level to claim at this reading of the system clock.
    #[must_use]
    pub const fn level(&self, wall: u64) -> Timestamp {
        let quantum = if self.quantum == 0 { 1 } else { self.quantum };
        Timestamp::from_nanos(wall.saturating_sub(self.retention) / quantum * quantum)
    }
}

/// The paces of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paces {
    /// Of the global scope.
    pub global: Pace,
    /// Of resources.
    pub resource: Pace,
    /// Silence after which a node is parked, in ns.
    pub park_after: u64,
}

impl Paces {
    /// The pace of a scope.
    #[must_use]
    pub const fn of(&self, scope: &Scope) -> Pace {
        match scope {
            Scope::Global => self.global,
            Scope::Resource(_) => self.resource,
        }
    }

    /// A claim in the global scope younger than this shows that its node takes part.
    #[must_use]
    pub const fn fresh(&self) -> u64 {
        let quanta = self.global.quantum.saturating_mul(2);
        if quanta > 72 * HOUR {
            quanta
        } else {
            72 * HOUR
        }
    }
}

impl Default for Paces {
    fn default() -> Self {
        Self {
            global: Pace {
                quantum: 24 * HOUR,
                retention: 7 * 24 * HOUR,
            },
            resource: Pace {
                quantum: HOUR,
                retention: 24 * HOUR,
            },
            park_after: 14 * 24 * HOUR,
        }
    }
}
