//! Group commit: queue to batch, batch to log, log to acknowledgement.

use mars_lamport::Timestamp;

use super::{Effect, InFlight, Logged, Logger, Mode, Pending, PendingOp, RequestId, piece};
use crate::LogPos;
use crate::format::{BatchStart, Record, RecordBody, encode_batch};
use crate::limits::{
    MAX_APPENDS_IN_FLIGHT, MAX_BATCH_PAYLOAD, MAX_BATCH_RECORDS, MAX_NAME, MAX_RECORD_PAYLOAD,
};
use crate::overlay::Content;

impl Logger {
    /// The batch that ends at `end` has reached its file completely.
    ///
    /// Batches may be reported in any order; the log counts as appended up to the first that is missing.
    pub fn handle_appended(&mut self, end: LogPos) {
        if let Some(batch) = self.in_flight.iter_mut().find(|batch| batch.end == end) {
            batch.appended = true;
        }
        while self.in_flight.front().is_some_and(|batch| batch.appended) {
            let Some(batch) = self.in_flight.pop_front() else {
                return;
            };
            self.appended = batch.end;
            for pending in batch.requests {
                let waits = pending.fua || matches!(pending.op, PendingOp::Flush);
                if waits {
                    self.complete_when_durable(batch.end, pending.id);
                } else {
                    self.outbox.push_back(Effect::Complete { id: pending.id });
                }
            }
            if batch.closes {
                self.closed_at = Some(batch.end);
            }
            self.logged.push_back(batch.logged);
        }
    }

    /// The log is on stable storage up to `upto`, the place that [`Effect::Sync`] named.
    ///
    /// Bytes that were not reported as appended before the sync began are never counted.
    pub fn handle_durable(&mut self, upto: LogPos) {
        if matches!(self.mode, Mode::Failed(_)) {
            return;
        }
        let Some(target) = self.syncing.take() else {
            return;
        };
        self.durable = self.durable.max(upto.min(target));
        while self
            .waiting
            .front()
            .is_some_and(|(place, _)| *place <= self.durable)
        {
            if let Some((_, id)) = self.waiting.pop_front() {
                self.outbox.push_back(Effect::Complete { id });
            }
        }
        if self.closed_at.is_some_and(|end| end <= self.durable)
            && let Some(end) = self.closed_at.take()
        {
            self.outbox.push_back(Effect::Closed { end });
        }
    }

    /// Asks for a sync of what is appended (from a timer, or before handing over).
    pub fn request_sync(&mut self) {
        self.sync_wanted |= self.needs_sync();
    }

    /// Completes `id` once the log is durable up to `place`.
    pub(super) fn complete_when_durable(&mut self, place: LogPos, id: RequestId) {
        if place <= self.durable {
            self.outbox.push_back(Effect::Complete { id });
        } else {
            // Places come in growing order except for flushes without a mark of their own.
            let at = self.waiting.partition_point(|(other, _)| *other <= place);
            self.waiting.insert(at, (place, id));
        }
    }

    pub(super) fn poll_sync(&mut self) -> Option<Effect> {
        let needed = self
            .waiting
            .front()
            .is_some_and(|(place, _)| *place <= self.appended);
        let wanted = needed
            || self.sync_wanted
            || self.closed_at.is_some()
            || matches!(self.mode, Mode::Draining);
        if self.syncing.is_some() || !wanted || !self.needs_sync() {
            return None;
        }
        self.sync_wanted = false;
        self.syncing = Some(self.appended);
        Some(Effect::Sync {
            upto: self.appended,
        })
    }

    pub(super) fn poll_append(&mut self, now: Timestamp) -> Option<Effect> {
        let ready = matches!(self.mode, Mode::Logging)
            && self.in_flight.len() < MAX_APPENDS_IN_FLIGHT
            && (self.close_wanted || !self.queue.is_empty());
        let segment = self.segment.filter(|_| ready)?;
        let (requests, mut records) = self.gather();
        if self.close_wanted {
            let successor = self.successor.clone().map(RecordBody::Successor);
            records.extend(successor.map(Record::mark));
            records.push(Record::mark(RecordBody::CloseMark));
        }
        let start = BatchStart {
            generation: segment.generation,
            position: self.position.position,
            base_sequence: self.next_sequence,
            stamp: now,
            alignment: segment.alignment,
        };
        let encoded = encode_batch(&start, &records);
        let end = encoded
            .as_ref()
            .ok()
            .and_then(|batch| self.position.position.checked_add(batch.length as u64))
            .map(|end| LogPos::new(segment.number, end));
        let (Ok(batch), Some(end)) = (encoded, end) else {
            self.queue.extend(requests);
            self.handle_failed("a batch could not be encoded");
            return self.outbox.pop_front();
        };
        let start = self.position;
        let base_sequence = self.next_sequence;
        for (sequence, record) in (base_sequence..).zip(&records) {
            if let Some(content) = content_of(record) {
                self.overlay.insert(record.offset, content, sequence);
            }
        }
        self.next_sequence = base_sequence.saturating_add(records.len() as u64);
        self.position = end;
        let closes = std::mem::take(&mut self.close_wanted);
        if closes {
            self.segment = None;
        }
        let logged = Logged {
            end,
            base_sequence,
            records,
        };
        self.in_flight.push_back(InFlight {
            end,
            appended: false,
            requests,
            logged,
            closes,
        });
        Some(Effect::Append { start, end, batch })
    }

    /// Takes from the queue what fits one batch, leaving room for a close mark and its successor.
    fn gather(&mut self) -> (Vec<Pending>, Vec<Record>) {
        let mut requests = Vec::new();
        let mut records = Vec::new();
        let mut payload = 0_usize;
        let name = if self.close_wanted { MAX_NAME } else { 0 };
        while let Some(next) = self.queue.front() {
            let bytes = next.data_len();
            let count = bytes.div_ceil(MAX_RECORD_PAYLOAD).max(1);
            let fits = records.len() + count + 2 <= MAX_BATCH_RECORDS
                && payload.saturating_add(bytes) <= MAX_BATCH_PAYLOAD - name;
            if !fits {
                break;
            }
            let Some(pending) = self.queue.pop_front() else {
                break;
            };
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
            payload += bytes;
            push_records(&pending, &mut records);
            requests.push(pending);
        }
        (requests, records)
    }
}

fn push_records(pending: &Pending, records: &mut Vec<Record>) {
    let PendingOp::Change { offset, content } = &pending.op else {
        records.push(Record::mark(RecordBody::FlushMark));
        return;
    };
    let (offset, fua) = (*offset, pending.fua);
    match content {
        Content::Data(data) => {
            for from in (0..data.len()).step_by(MAX_RECORD_PAYLOAD) {
                let body = RecordBody::Write(piece(data, from, from + MAX_RECORD_PAYLOAD));
                records.push(Record {
                    offset: offset.saturating_add(from as u64),
                    fua,
                    body,
                });
            }
        }
        Content::Zeroes(len) => records.push(Record {
            offset,
            fua,
            body: RecordBody::Zeroes(*len),
        }),
        Content::Discard(len) => {
            records.push(Record {
                offset,
                fua,
                body: RecordBody::Discard(*len),
            });
        }
    }
}

/// What a record leaves on the device; `None` for marks.
pub(super) fn content_of(record: &Record) -> Option<Content> {
    match &record.body {
        RecordBody::Write(data) => Some(Content::Data(data.clone())),
        RecordBody::Zeroes(len) => Some(Content::Zeroes(*len)),
        RecordBody::Discard(len) => Some(Content::Discard(*len)),
        RecordBody::FlushMark
        | RecordBody::Successor(_)
        | RecordBody::CloseMark
        | RecordBody::Ignored { .. } => None,
    }
}
