//! The primary's state machine: requests in, appends, syncs, acknowledgements and write-back out.
//!
//! The rules, each held in one place:
//! * a WRITE completes when its batch was appended (it survives the death of the process);
//! * a FLUSH or FUA write completes when the log is durable up to everything accepted before it;
//! * a record is written back only when it is durable in the log;
//! * the written-back position moves over whole batches in order, and is published only after a flush of
//!   the disk that began when all of it had been written;
//! * after a failure nothing is acknowledged any more.

mod append;
mod emergency;
mod requests;
mod segment;
mod write_back;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::LogPos;
use crate::format::{EncodedBatch, Record, Successor};
use crate::overlay::{Content, Overlay, Piece};
pub use requests::{Discarding, SubmitError};
pub use segment::{OpenSegment, OpenSegmentError};

/// Name of a request, chosen by the front end, unique among those that are not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Name of one write-back that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteBackToken(pub u64);

/// What the shell has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the parts one behind the other at `start` of the log; then [`Logger::handle_appended`] with
    /// `end`. Several may be under way, in any order of completion.
    Append {
        /// Where the batch begins.
        start: LogPos,
        /// Where it ends: its name in the answer.
        end: LogPos,
        /// The bytes.
        batch: EncodedBatch,
    },
    /// Make every log byte below `upto` stable (in an older segment too, older first); then
    /// [`Logger::handle_durable`] with `upto`. One at a time.
    Sync {
        /// Everything below is appended already.
        upto: LogPos,
    },
    /// Tell the application that the request succeeded.
    Complete {
        /// The request.
        id: RequestId,
    },
    /// Tell the application that the request failed.
    Fail {
        /// The request.
        id: RequestId,
        /// Why, for the log of the system.
        reason: Arc<str>,
    },
    /// Write to the disk, in any order; then [`Logger::handle_written_back`]. Those under way never overlap.
    WriteBack {
        /// Name in the answer.
        token: WriteBackToken,
        /// First byte on the device.
        offset: u64,
        /// What to write.
        content: Content,
    },
    /// Flush the disk; then [`Logger::handle_disk_flushed`]. One at a time.
    FlushDisk,
    /// Record durably (superblock, then keys) that the disk contains everything up to here.
    Publish {
        /// The written-back position, a batch boundary.
        written_back: LogPos,
    },
    /// The segment ends at `end`, durably; the next one may be created behind it.
    Closed {
        /// Final length of the segment.
        end: LogPos,
    },
    /// Record durably that the log ends at `end` and must never be replayed beyond it, because writes go
    /// past it from now on; then [`Logger::handle_emergency_recorded`].
    EnterEmergency {
        /// Everything up to here is on the disk, flushed.
        end: LogPos,
    },
    /// Write straight to the disk, without log; then [`Logger::handle_passed_through`]. Those under way never overlap.
    PassThrough {
        /// The request; completed by a later [`Effect::Complete`].
        id: RequestId,
        /// First byte on the device.
        offset: u64,
        /// What to write.
        content: Content,
    },
}

/// A request that waits for a batch.
#[derive(Clone, Debug)]
struct Pending {
    id: RequestId,
    fua: bool,
    op: PendingOp,
}

#[derive(Clone, Debug)]
enum PendingOp {
    Flush,
    Change { offset: u64, content: Content },
}

/// A batch whose append is under way, or complete behind an incomplete one.
#[derive(Debug)]
struct InFlight {
    end: LogPos,
    appended: bool,
    requests: Vec<Pending>,
    logged: Logged,
    closes: bool,
}

/// A batch in the log that is not written back.
#[derive(Debug)]
struct Logged {
    end: LogPos,
    base_sequence: u64,
    records: Vec<Record>,
}

#[derive(Debug)]
enum Mode {
    Logging,
    /// The log is full: what is in it is being written back.
    Draining,
    /// Drained; the shell records it.
    Entering,
    /// Writes go past the log.
    PassThrough,
    Failed(Arc<str>),
}

/// The write-back round that is under way: newest content of all ranges of some whole batches.
#[derive(Debug, Default)]
struct Round {
    end: Option<LogPos>,
    last_sequence: u64,
    todo: VecDeque<(u64, Content)>,
    in_flight: BTreeMap<WriteBackToken, (u64, u64)>,
}

/// The state machine. One owner, one input at a time; drain [`poll`](Self::poll) after every input.
#[derive(Debug)]
pub struct Logger {
    device_size: u64,
    mode: Mode,
    segment: Option<OpenSegment>,
    close_wanted: bool,
    /// Who may go on behind the close mark.
    successor: Option<Successor>,
    closed_at: Option<LogPos>,
    position: LogPos,
    next_sequence: u64,
    queue: VecDeque<Pending>,
    queued_bytes: usize,
    in_flight: VecDeque<InFlight>,
    appended: LogPos,
    durable: LogPos,
    syncing: Option<LogPos>,
    sync_wanted: bool,
    /// Requests that complete once the log is durable up to a place.
    waiting: VecDeque<(LogPos, RequestId)>,
    /// Whether a write was accepted since the last flush mark.
    unmarked: bool,
    logged: VecDeque<Logged>,
    overlay: Overlay,
    round: Round,
    next_token: u64,
    written_back: LogPos,
    written_since_flush: u64,
    published: LogPos,
    flushing: Option<LogPos>,
    checkpoint_wanted: bool,
    /// Whether writes past the log reached the disk since its last flush began.
    disk_dirty: bool,
    passing: BTreeMap<RequestId, (u64, u64, bool)>,
    /// Requests that complete after a flush of the disk that begins from now on.
    flush_waiters: Vec<RequestId>,
    /// Those that complete with the flush under way.
    flush_riders: Vec<RequestId>,
    outbox: VecDeque<Effect>,
}

impl Logger {
    /// A logger of a device of `device_size` bytes on a fresh, durably created segment.
    ///
    /// The disk must contain, flushed, everything that was logged before: recovery comes first.
    #[must_use]
    pub fn new(device_size: u64, segment: OpenSegment, next_sequence: u64) -> Self {
        let start = LogPos::new(segment.number, 0);
        Self {
            device_size,
            mode: Mode::Logging,
            segment: Some(segment),
            close_wanted: false,
            successor: None,
            closed_at: None,
            position: start,
            next_sequence,
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight: VecDeque::new(),
            appended: start,
            durable: start,
            syncing: None,
            sync_wanted: false,
            waiting: VecDeque::new(),
            unmarked: false,
            logged: VecDeque::new(),
            overlay: Overlay::default(),
            round: Round::default(),
            next_token: 0,
            written_back: start,
            written_since_flush: 0,
            published: start,
            flushing: None,
            checkpoint_wanted: false,
            disk_dirty: false,
            passing: BTreeMap::new(),
            flush_waiters: Vec::new(),
            flush_riders: Vec::new(),
            outbox: VecDeque::new(),
        }
    }

    /// A logger that starts without room for a segment: every request goes past the log, which ended at `end`.
    ///
    /// The superblock must already say durably that the log is not to be replayed beyond `end`, and the disk must
    /// contain, flushed, everything up to there. Only a new logger on a new segment ends this.
    #[must_use]
    pub fn past_the_log(device_size: u64, end: LogPos, next_sequence: u64) -> Self {
        let nothing = OpenSegment {
            number: end.segment,
            generation: 0,
            alignment: 0,
        };
        Self {
            mode: Mode::PassThrough,
            segment: None,
            position: end,
            appended: end,
            durable: end,
            written_back: end,
            published: end,
            ..Self::new(device_size, nothing, next_sequence)
        }
    }

    /// Answers a read: what the log knows newer than the disk, and what to read there.
    ///
    /// A miss may be read from the disk at any later time: what is written back meanwhile is concurrent to
    /// the read, or was on the disk before.
    #[must_use]
    pub fn read(&self, offset: u64, len: u64) -> Vec<Piece> {
        self.overlay.read(offset, len)
    }

    /// Bytes of memory that data needs which is not on the disk yet, queued requests included.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.overlay
            .data_bytes()
            .saturating_add(self.queued_bytes as u64)
    }

    /// End of the log as far as it was written to the file.
    #[must_use]
    pub const fn appended(&self) -> LogPos {
        self.appended
    }

    /// End of the log as far as it is on stable storage: what peers may be shown.
    #[must_use]
    pub const fn durable(&self) -> LogPos {
        self.durable
    }

    /// Everything below has been written to the disk, though perhaps not flushed there.
    #[must_use]
    pub const fn written_back(&self) -> LogPos {
        self.written_back
    }

    /// The last position that was published: recovery has to begin here.
    #[must_use]
    pub const fn published(&self) -> LogPos {
        self.published
    }

    /// Sequence number of the next record, which goes into the header of the next segment.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether the log holds appended bytes that are not durable: a reason for [`request_sync`](Self::request_sync).
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.appended > self.durable
    }

    /// Whether the disk was written to without a flush and a published position since.
    #[must_use]
    pub fn needs_checkpoint(&self) -> bool {
        self.written_back > self.published || self.disk_dirty
    }

    /// Whether the log ran full: writes go, or are about to go, past it.
    #[must_use]
    pub const fn is_emergency(&self) -> bool {
        matches!(
            self.mode,
            Mode::Draining | Mode::Entering | Mode::PassThrough
        )
    }

    /// The reason of the failure, if there was one.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match &self.mode {
            Mode::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether no request waits and everything accepted is on the disk, flushed and published.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
            && self.in_flight.is_empty()
            && self.waiting.is_empty()
            && self.passing.is_empty()
            && self.flush_waiters.is_empty()
            && self.flush_riders.is_empty()
            && self.flushing.is_none()
            && !self.disk_dirty
            && self.outbox.is_empty()
            && self.published == self.appended
    }

    /// What to do next; `None` until the next input. `now` stamps batches.
    pub fn poll(&mut self, now: mars_lamport::Timestamp) -> Option<Effect> {
        if let Some(effect) = self.outbox.pop_front() {
            return Some(effect);
        }
        if matches!(self.mode, Mode::Failed(_)) {
            return None;
        }
        self.poll_append(now)
            .or_else(|| self.poll_sync())
            .or_else(|| self.poll_write_back())
            .or_else(|| self.poll_flush_disk())
            .or_else(|| self.poll_emergency())
            // A poll above may have failed the logger, or queued an answer.
            .or_else(|| self.outbox.pop_front())
    }
}

/// The payload of a piece of a write, cheap to hold twice.
fn piece(data: &Bytes, from: usize, to: usize) -> Bytes {
    data.slice(from.min(data.len())..to.min(data.len()))
}
