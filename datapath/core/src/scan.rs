//! Incremental scanner: bytes of a segment in, validated batches out, and in the end a verdict on the rest.

use bytes::{Bytes, BytesMut};

use crate::format::{
    BATCH_HEADER, Batch, BatchError, Expect, SegmentHeader, Sequence, Trust, decode_batch,
    decode_header,
};
use crate::limits::MAX_BATCH;

/// Why the valid prefix of a segment ends where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All bytes belong to valid batches; more may follow.
    Clean {
        /// End of the valid prefix.
        position: u64,
    },
    /// A close mark ends the segment for good.
    Closed {
        /// Position behind the close mark's batch: the final length of the segment.
        position: u64,
    },
    /// The rest is no batch of this segment and nothing valid was found behind: an unfinished append.
    Torn {
        /// End of the valid prefix.
        position: u64,
        /// What is wrong there.
        why: TornReason,
    },
    /// The rest begins with no valid batch, but the log is known to have gone on behind it.
    Damaged {
        /// End of the valid prefix.
        position: u64,
        /// What is wrong there.
        why: TornReason,
    },
    /// The next batch is intact but must not be applied by this program, or at this place.
    Refused {
        /// End of the valid prefix.
        position: u64,
        /// Why; the text is meant for the administrator.
        why: BatchError,
    },
}

/// What stands where the next batch should begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TornReason {
    /// Only zeroes.
    #[error("only zero bytes follow")]
    Zeroes,
    /// Bytes that do not make a valid batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl ScanEnd {
    /// End of the valid prefix: the log is usable up to here.
    #[must_use]
    pub const fn position(&self) -> u64 {
        match self {
            Self::Clean { position }
            | Self::Closed { position }
            | Self::Torn { position, .. }
            | Self::Damaged { position, .. }
            | Self::Refused { position, .. } => *position,
        }
    }

    /// The verdict of a reader who knows that the origin made everything below `durable_end` durable:
    /// an unfinished append below that is damage.
    #[must_use]
    pub fn knowing_durable(self, durable_end: u64) -> Self {
        match self {
            Self::Torn { position, why } if position < durable_end => {
                Self::Damaged { position, why }
            }
            other => other,
        }
    }
}

enum State {
    Reading,
    Closed,
    Refused(BatchError),
    /// Invalid bytes at the current position; looking for proof that the log went on behind.
    Probing {
        why: BatchError,
        zeroes: bool,
        probe_at: u64,
        proof: bool,
    },
}

/// Reads one segment from some batch boundary on.
///
/// [`feed`](Self::feed) takes bytes in file order, [`next_batch`](Self::next_batch) gives what is
/// complete; memory is bounded by one batch. Costs one copy of the bytes.
pub struct Scanner {
    expect: Expect,
    buffer: BytesMut,
    state: State,
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let buffered = self.buffer.len();
        f.debug_struct("Scanner")
            .field("expect", &self.expect)
            .field("buffered", &buffered)
            .finish_non_exhaustive()
    }
}

impl Scanner {
    /// A scanner of the segment with `header` that starts at `position`, a batch boundary.
    ///
    /// Away from the start of the segment the first sequence number is only checked to be no smaller
    /// than the segment's.
    #[must_use]
    pub fn new(header: &SegmentHeader, position: u64, device_size: u64) -> Self {
        let sequence = if position == 0 {
            Sequence::Exactly(header.base_sequence)
        } else {
            Sequence::AtLeast(header.base_sequence)
        };
        Self::with_expect(Expect {
            generation: header.generation,
            alignment: header.alignment,
            position,
            sequence,
            device_size,
        })
    }

    /// A scanner that goes on from what is known otherwise.
    #[must_use]
    pub fn with_expect(expect: Expect) -> Self {
        Self {
            expect,
            buffer: BytesMut::new(),
            state: State::Reading,
        }
    }

    /// End of the batches given out so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.expect.position
    }

    /// Position of the next byte that [`feed`](Self::feed) wants.
    #[must_use]
    pub fn fed(&self) -> u64 {
        let base = match &self.state {
            State::Probing { probe_at, .. } => *probe_at,
            _ => self.expect.position,
        };
        base.saturating_add(self.buffer.len() as u64)
    }

    /// What the next batch must be like; the next sequence number after a complete scan.
    #[must_use]
    pub const fn expect(&self) -> Expect {
        self.expect
    }

    /// Takes bytes that follow those fed before, as many as fit (less than given only while complete
    /// batches wait in [`next_batch`](Self::next_batch)); returns how many.
    ///
    /// After the end of the valid prefix all bytes are taken, and only looked at for the verdict.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        match &mut self.state {
            State::Closed | State::Refused(_) => return bytes.len(),
            State::Probing {
                proof: true,
                zeroes,
                ..
            } => {
                *zeroes = false;
                return bytes.len();
            }
            State::Probing { zeroes, .. } => *zeroes &= bytes.iter().all(|b| *b == 0),
            State::Reading => {}
        }
        let room = MAX_BATCH.saturating_sub(self.buffer.len()).min(bytes.len());
        let taken = bytes.get(..room).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        if matches!(self.state, State::Probing { .. }) {
            self.probe();
        }
        taken.len()
    }

    /// The next complete batch, if any.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if !matches!(self.state, State::Reading) {
            return None;
        }
        let error = match decode_header(&self.buffer, &self.expect) {
            Ok(header) if header.length > self.buffer.len() => return None,
            Ok(header) => {
                let whole: Bytes = self.buffer.split_to(header.length).freeze();
                match decode_batch(&whole, &self.expect) {
                    Ok(batch) => {
                        self.expect.position = batch.end;
                        self.expect.sequence = Sequence::Exactly(batch.next_sequence());
                        if batch.closes() {
                            self.buffer = BytesMut::new();
                            self.state = State::Closed;
                        }
                        return Some(batch);
                    }
                    Err(error) => {
                        let rest = std::mem::replace(&mut self.buffer, BytesMut::from(&whole[..]));
                        self.buffer.unsplit(rest);
                        error
                    }
                }
            }
            Err(error) => error,
        };
        match error.trust() {
            Trust::Incomplete => {}
            Trust::Refused => {
                self.buffer = BytesMut::new();
                self.state = State::Refused(error);
            }
            Trust::NotABatch => {
                let zeroes = self.buffer.iter().all(|b| *b == 0);
                let probe_at = self.expect.position;
                self.state = State::Probing {
                    why: error,
                    zeroes,
                    probe_at,
                    proof: false,
                };
                self.probe();
            }
        }
        None
    }

    /// Looks for the header of a later batch of this segment: proof that the log went on.
    fn probe(&mut self) {
        let State::Probing {
            probe_at,
            proof,
            zeroes,
            ..
        } = &mut self.state
        else {
            return;
        };
        let Ok(step) = usize::try_from(self.expect.alignment.max(1)) else {
            return;
        };
        while !*proof && self.buffer.len() >= BATCH_HEADER.max(step) {
            let expect = Expect {
                position: *probe_at,
                ..self.expect
            };
            *proof =
                *probe_at != self.expect.position && decode_header(&self.buffer, &expect).is_ok();
            *zeroes &= !*proof;
            *probe_at = probe_at.saturating_add(step as u64);
            drop(self.buffer.split_to(step));
        }
        if *proof {
            self.buffer = BytesMut::new();
        }
    }

    /// The verdict if all that was fed is all there is. Ask after [`next_batch`](Self::next_batch) gave `None`.
    #[must_use]
    pub fn end(&self) -> ScanEnd {
        let position = self.expect.position;
        match &self.state {
            State::Closed => ScanEnd::Closed { position },
            State::Refused(why) => ScanEnd::Refused {
                position,
                why: why.clone(),
            },
            State::Probing {
                why, proof: true, ..
            } => ScanEnd::Damaged {
                position,
                why: TornReason::Batch(why.clone()),
            },
            State::Probing { zeroes: true, .. } => ScanEnd::Torn {
                position,
                why: TornReason::Zeroes,
            },
            State::Probing { why, .. } => ScanEnd::Torn {
                position,
                why: TornReason::Batch(why.clone()),
            },
            State::Reading if self.buffer.is_empty() => ScanEnd::Clean { position },
            State::Reading => self.cut_off(position),
        }
    }

    fn cut_off(&self, position: u64) -> ScanEnd {
        let have = self.buffer.len();
        let why = match decode_header(&self.buffer, &self.expect) {
            Ok(header) => BatchError::Short {
                have,
                need: header.length,
            },
            Err(error) => error,
        };
        if self.buffer.iter().all(|b| *b == 0) {
            ScanEnd::Torn {
                position,
                why: TornReason::Zeroes,
            }
        } else {
            ScanEnd::Torn {
                position,
                why: TornReason::Batch(why),
            }
        }
    }
}
