//! Replay planner: scanned batches in, disk writes and published positions out, in the order of the log.

use std::collections::{BTreeMap, VecDeque};

use crate::LogPos;
use crate::format::{Batch, Record, RecordBody};
use crate::limits::{
    CHECKPOINT_INTERVAL, MAX_APPLIES_IN_FLIGHT, MAX_REASON, MAX_REPLAY_BATCHES, MAX_REPLAY_BYTES,
};
use crate::overlay::Content;

/// Name of one write to the disk that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplyToken(pub u64);

/// How closely the disk follows the log while replay runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// One write at a time: the disk is always an exact prefix of the primary's writes.
    Strict,
    /// Writes between two flush marks may overtake each other unless they overlap, as on the primary's
    /// own device before a power cut; at flush marks and at rest the disk is an exact prefix.
    Epochs,
}

/// What the shell has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayEffect {
    /// Write to the disk; then [`Replay::handle_applied`].
    Apply {
        /// Name in the answer.
        token: ApplyToken,
        /// First byte on the device.
        offset: u64,
        /// What to write.
        content: Content,
    },
    /// Flush the disk; then [`Replay::handle_disk_flushed`]. One at a time.
    FlushDisk,
    /// Record durably that the disk contains everything up to here.
    Publish {
        /// The replay position, a batch boundary.
        replayed: LogPos,
    },
}

/// Why a batch was not taken. Replay is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Enough is waiting: offer it again after some effects.
    #[error("replay has enough batches waiting")]
    Busy,
    /// Not the successor of the last batch.
    #[error("batch at {found} does not follow the replayed log, which stands at {expected}")]
    Gap {
        /// Where the batch stands.
        found: LogPos,
        /// Where the next one must stand.
        expected: LogPos,
    },
    /// Replay stopped for good.
    #[error("replay has failed: {0}")]
    Failed(String),
}

#[derive(Debug)]
struct Waiting {
    end: LogPos,
    records: VecDeque<Record>,
    bytes: usize,
    begun: bool,
}

#[derive(Debug)]
struct InFlight {
    offset: u64,
    length: u64,
    batch: u64,
}

/// Counts the writes under way, plus one while records of the batch are still to be handed out.
#[derive(Debug)]
struct Open {
    id: u64,
    end: LogPos,
    outstanding: usize,
}

/// The planner for one resource. Applied positions are batch boundaries.
#[derive(Debug)]
pub struct Replay {
    strictness: Strictness,
    limit: LogPos,
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    /// End of what was taken.
    taken: LogPos,
    in_flight: BTreeMap<ApplyToken, InFlight>,
    /// Batches that are begun and not complete, in order.
    open: VecDeque<Open>,
    last_batch: u64,
    next_token: u64,
    applied: LogPos,
    published: LogPos,
    written_since_flush: u64,
    flushing: Option<LogPos>,
    publish_wanted: bool,
    failed: Option<String>,
    outbox: VecDeque<ReplayEffect>,
}

impl Replay {
    /// A planner that goes on at `start`, up to which the disk is complete and flushed, and never applies
    /// a batch that ends beyond `limit`.
    #[must_use]
    pub const fn new(start: LogPos, limit: LogPos, strictness: Strictness) -> Self {
        Self {
            strictness,
            limit,
            queue: VecDeque::new(),
            queued_bytes: 0,
            taken: start,
            in_flight: BTreeMap::new(),
            open: VecDeque::new(),
            last_batch: 0,
            next_token: 0,
            applied: start,
            published: start,
            written_since_flush: 0,
            flushing: None,
            publish_wanted: false,
            failed: None,
            outbox: VecDeque::new(),
        }
    }

    /// Where the next batch must stand.
    #[must_use]
    pub const fn taken(&self) -> LogPos {
        self.taken
    }

    /// The disk contains everything up to here, though perhaps not flushed.
    #[must_use]
    pub const fn applied(&self) -> LogPos {
        self.applied
    }

    /// The last position that was published.
    #[must_use]
    pub const fn published(&self) -> LogPos {
        self.published
    }

    /// Whether another batch would be taken now.
    #[must_use]
    pub fn wants_batch(&self) -> bool {
        self.failed.is_none()
            && self.queue.len() < MAX_REPLAY_BATCHES
            && self.queued_bytes < MAX_REPLAY_BYTES
    }

    /// Whether nothing is under way. After all effects were polled, the disk is then the exact prefix up to
    /// [`applied`](Self::applied).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.flushing.is_none() && self.outbox.is_empty()
    }

    /// Moves the limit, up or down; a batch that was begun is finished all the same.
    pub const fn set_limit(&mut self, limit: LogPos) {
        self.limit = limit;
    }

    /// Takes the next batch of segment `segment`, read from bytes that are durable here.
    ///
    /// # Errors
    /// See [`ReplayError`]; nothing was taken.
    pub fn handle_batch(&mut self, segment: u64, batch: Batch) -> Result<(), ReplayError> {
        if let Some(reason) = &self.failed {
            return Err(ReplayError::Failed(reason.clone()));
        }
        if !self.wants_batch() {
            return Err(ReplayError::Busy);
        }
        let found = LogPos::new(segment, batch.position);
        if found != self.taken {
            return Err(ReplayError::Gap {
                found,
                expected: self.taken,
            });
        }
        self.taken = LogPos::new(segment, batch.end);
        let bytes = batch.payload_len();
        self.queued_bytes += bytes;
        self.queue.push_back(Waiting {
            end: self.taken,
            records: batch.records.into(),
            bytes,
            begun: false,
        });
        Ok(())
    }

    /// Goes on in segment `number`, after the one before was taken to its very end.
    ///
    /// # Errors
    /// [`ReplayError::Gap`] if the number is not larger; nothing changed.
    pub fn handle_next_segment(&mut self, number: u64) -> Result<(), ReplayError> {
        let found = LogPos::new(number, 0);
        if number <= self.taken.segment {
            return Err(ReplayError::Gap {
                found,
                expected: self.taken,
            });
        }
        self.taken = found;
        self.queue.push_back(Waiting {
            end: found,
            records: VecDeque::new(),
            bytes: 0,
            begun: false,
        });
        Ok(())
    }

    /// The write `token` reached the disk (perhaps only its cache).
    pub fn handle_applied(&mut self, token: ApplyToken) {
        if let Some(done) = self.in_flight.remove(&token) {
            self.settle(done.batch);
        }
    }

    /// The flush of the disk is done.
    pub fn handle_disk_flushed(&mut self) {
        let Some(covered) = self.flushing.take() else {
            return;
        };
        if self.failed.is_none() && covered > self.published {
            self.published = covered;
            self.outbox
                .push_back(ReplayEffect::Publish { replayed: covered });
        }
    }

    /// A write or flush of the disk failed: no effect comes any more, nothing further is published.
    pub fn handle_failed(&mut self, reason: &str) {
        self.outbox.clear();
        self.failed
            .get_or_insert_with(|| reason.chars().take(MAX_REASON).collect());
    }

    /// Asks for a flush and a published position soon (timer, pause, role change).
    pub const fn request_publish(&mut self) {
        self.publish_wanted = true;
    }

    /// What to do next; `None` until the next input.
    pub fn poll(&mut self) -> Option<ReplayEffect> {
        if self.failed.is_some() {
            return None;
        }
        if let Some(effect) = self.outbox.pop_front() {
            return Some(effect);
        }
        self.poll_apply().or_else(|| self.poll_flush())
    }

    fn poll_apply(&mut self) -> Option<ReplayEffect> {
        loop {
            let batch = self.queue.front_mut()?;
            if !batch.begun && batch.end > self.limit {
                return None;
            }
            if !batch.begun {
                batch.begun = true;
                self.last_batch = self.last_batch.wrapping_add(1);
                self.open.push_back(Open {
                    id: self.last_batch,
                    end: batch.end,
                    outstanding: 1,
                });
            }
            let Some(record) = batch.records.front() else {
                self.queued_bytes = self.queued_bytes.saturating_sub(batch.bytes);
                self.queue.pop_front();
                self.settle(self.last_batch);
                continue;
            };
            let (offset, length) = (record.offset, record.length());
            let content = match &record.body {
                RecordBody::Write(data) => Content::Data(data.clone()),
                RecordBody::Zeroes(len) => Content::Zeroes(*len),
                RecordBody::Discard(len) => Content::Discard(*len),
                RecordBody::FlushMark if !self.in_flight.is_empty() => return None,
                RecordBody::FlushMark
                | RecordBody::Successor(_)
                | RecordBody::CloseMark
                | RecordBody::Ignored { .. } => {
                    batch.records.pop_front();
                    continue;
                }
            };
            let end = offset.saturating_add(length);
            let overlaps = |other: &InFlight| {
                other.offset < end && offset < other.offset.saturating_add(other.length)
            };
            let at_once = match self.strictness {
                Strictness::Strict => 1,
                Strictness::Epochs => MAX_APPLIES_IN_FLIGHT,
            };
            if self.in_flight.len() >= at_once || self.in_flight.values().any(overlaps) {
                return None;
            }
            batch.records.pop_front();
            let token = ApplyToken(self.next_token);
            self.next_token = self.next_token.wrapping_add(1);
            let batch = self.last_batch;
            self.in_flight.insert(
                token,
                InFlight {
                    offset,
                    length,
                    batch,
                },
            );
            if let Some(open) = self.open.back_mut() {
                open.outstanding += 1;
            }
            self.written_since_flush = self.written_since_flush.saturating_add(length);
            return Some(ReplayEffect::Apply {
                token,
                offset,
                content,
            });
        }
    }

    /// One thing that batch `id` waited for is done; moves the applied position over complete batches.
    fn settle(&mut self, id: u64) {
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.outstanding = open.outstanding.saturating_sub(1);
        }
        while self.open.front().is_some_and(|open| open.outstanding == 0) {
            if let Some(open) = self.open.pop_front() {
                self.applied = open.end;
            }
        }
    }

    fn poll_flush(&mut self) -> Option<ReplayEffect> {
        let caught_up = self.in_flight.is_empty()
            && self
                .queue
                .front()
                .is_none_or(|batch| !batch.begun && batch.end > self.limit);
        let due =
            caught_up || self.publish_wanted || self.written_since_flush >= CHECKPOINT_INTERVAL;
        if !due || self.flushing.is_some() || self.applied <= self.published {
            return None;
        }
        self.publish_wanted = false;
        self.written_since_flush = 0;
        self.flushing = Some(self.applied);
        Some(ReplayEffect::FlushDisk)
    }
}
