//! Rotation: closing a segment and going on in the next one.

use super::{Logger, Mode};
use crate::LogPos;
use crate::format::Successor;

/// The segment that batches go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSegment {
    /// Its number.
    pub number: u64,
    /// Its generation.
    pub generation: u64,
    /// Its alignment.
    pub alignment: u32,
}

/// Why a segment was not taken. The logger is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenSegmentError {
    /// The one before is still in use: ask for its end and wait for it.
    #[error("segment {0} is still open")]
    StillOpen(u64),
    /// Numbers only grow.
    #[error("segment {number} does not come behind segment {last}")]
    Number {
        /// The number given.
        number: u64,
        /// The last one used.
        last: u64,
    },
    /// The logger failed or left the log: only a new one can go on.
    #[error("the log is not in use any more")]
    NotLogging,
}

impl Logger {
    /// Ends the segment with a close mark, behind what fits the next batch. Requests that come later wait
    /// for [`handle_segment_open`](Self::handle_segment_open); reads, write-back and syncs go on.
    pub fn request_close(&mut self) {
        self.close_wanted |= self.segment.is_some() && matches!(self.mode, Mode::Logging);
    }

    /// Who may go on behind this segment once it is closed; counts until its close mark is appended, and for those that
    /// follow.
    pub fn set_successor(&mut self, successor: Successor) {
        self.successor = Some(successor);
    }

    /// Whether a segment is open for appending.
    #[must_use]
    pub const fn segment(&self) -> Option<OpenSegment> {
        self.segment
    }

    /// Goes on in a fresh segment whose header is durable, after [`Effect::Closed`](super::Effect::Closed).
    ///
    /// # Errors
    /// See [`OpenSegmentError`].
    pub fn handle_segment_open(&mut self, segment: OpenSegment) -> Result<(), OpenSegmentError> {
        if !matches!(self.mode, Mode::Logging) {
            return Err(OpenSegmentError::NotLogging);
        }
        if let Some(open) = self.segment {
            return Err(OpenSegmentError::StillOpen(open.number));
        }
        if self.durable < self.position || self.closed_at.is_some() {
            return Err(OpenSegmentError::StillOpen(self.position.segment));
        }
        let (number, last) = (segment.number, self.position.segment);
        if number <= last {
            return Err(OpenSegmentError::Number { number, last });
        }
        // The closed segment is durable to its end, so the places at its end equal the start of the new one.
        let start = LogPos::new(number, 0);
        self.position = start;
        self.appended = start;
        self.durable = start;
        if self.logged.is_empty() && self.round.end.is_none() {
            self.written_back = start;
        }
        self.segment = Some(segment);
        Ok(())
    }
}
