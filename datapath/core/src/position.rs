//! A place in a resource's history.

use std::fmt;

/// Segment number and byte position in it: a place in the log of one resource.
///
/// Positions are logical bytes behind the segment's header (file offset = position + 4096), so a fresh
/// segment stands at position 0. Ordered by segment, then position: segment numbers only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPos {
    /// Number of the segment.
    pub segment: u64,
    /// Bytes behind the segment's header.
    pub position: u64,
}

impl LogPos {
    /// The place `position` bytes into segment `segment`.
    #[must_use]
    pub const fn new(segment: u64, position: u64) -> Self {
        Self { segment, position }
    }
}

impl fmt::Display for LogPos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.position)
    }
}
