//! Physical Lamport clock in nanoseconds: stamps that order all events of a cluster.
//!
//! The clock is never behind the system clock, strictly increasing per node, and pushed forward by every
//! stamp that is received. While it is ahead of the system clock it advances by events only (+1 ns), until
//! real time has caught up. It is a value: time comes in as an argument, nothing is read from the system.
//!
//! Source of the rule: L. Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System" (1978),
//! with the physical component of Kulkarni et al., "Logical Physical Clocks" (2014); the drift bound is
//! measured against the own system clock, never against the last value seen.

#![forbid(unsafe_code)]

mod clock;
mod timestamp;

pub use clock::{Clock, DEFAULT_MAX_AHEAD, TooFarAhead};
pub use timestamp::{ParseTimestampError, Timestamp};
