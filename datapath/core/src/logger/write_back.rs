//! Write-back in rounds: the newest content of some whole durable batches, in order of the device.

use super::append::content_of;
use super::{Effect, Logger, Mode, Round, WriteBackToken};
use crate::limits::{CHECKPOINT_INTERVAL, MAX_WRITE_BACKS_IN_FLIGHT, WRITE_BACK_ROUND};
use crate::overlay::Overlay;

impl Logger {
    /// The write-back `token` reached the disk (perhaps only its cache).
    pub fn handle_written_back(&mut self, token: WriteBackToken) {
        if self.round.in_flight.remove(&token).is_none() {
            return;
        }
        if !self.round.in_flight.is_empty() || !self.round.todo.is_empty() {
            return;
        }
        self.finish_round();
    }

    fn finish_round(&mut self) {
        let round = std::mem::take(&mut self.round);
        let Some(end) = round.end else { return };
        self.written_back = self.written_back.max(end);
        let done = self.logged.partition_point(|batch| batch.end <= end);
        for batch in self.logged.drain(..done) {
            for record in &batch.records {
                self.overlay
                    .remove(record.offset, record.length(), round.last_sequence);
            }
        }
        if self.logged.is_empty() && self.appended.position == 0 && self.appended > end {
            // Nothing is in the fresh segment yet: its start is as good a place as the old one's end.
            self.written_back = self.appended;
        }
    }

    /// The flush of the disk that [`Effect::FlushDisk`] asked for is done.
    pub fn handle_disk_flushed(&mut self) {
        if matches!(self.mode, Mode::Failed(_)) {
            return;
        }
        let Some(covered) = self.flushing.take() else {
            return;
        };
        if covered > self.published {
            self.published = covered;
            self.outbox.push_back(Effect::Publish {
                written_back: covered,
            });
        }
        for id in std::mem::take(&mut self.flush_riders) {
            self.outbox.push_back(Effect::Complete { id });
        }
    }

    /// Asks for a flush of the disk and a published position (from a timer, or before handing over).
    pub fn request_checkpoint(&mut self) {
        self.checkpoint_wanted |= self.needs_checkpoint();
    }

    pub(super) fn poll_write_back(&mut self) -> Option<Effect> {
        while self.round.end.is_none() {
            self.begin_round()?;
            if self.round.todo.is_empty() {
                self.finish_round();
            }
        }
        if self.round.in_flight.len() >= MAX_WRITE_BACKS_IN_FLIGHT {
            return None;
        }
        let (offset, content) = self.round.todo.pop_front()?;
        let token = WriteBackToken(self.next_token);
        self.next_token = self.next_token.wrapping_add(1);
        let length = content.len();
        self.round.in_flight.insert(token, (offset, length));
        self.written_since_flush = self.written_since_flush.saturating_add(length);
        Some(Effect::WriteBack {
            token,
            offset,
            content,
        })
    }

    /// Starts a round over the first durable batches; `None` if there are none.
    fn begin_round(&mut self) -> Option<()> {
        let mut newest = Overlay::default();
        let mut round = Round::default();
        for batch in self
            .logged
            .iter()
            .take_while(|batch| batch.end <= self.durable)
        {
            if round.end.is_some() && newest.dirty_bytes() >= WRITE_BACK_ROUND {
                break;
            }
            for (sequence, record) in (batch.base_sequence..).zip(&batch.records) {
                if let Some(content) = content_of(record) {
                    newest.insert(record.offset, content, sequence);
                }
            }
            round.end = Some(batch.end);
            round.last_sequence = batch
                .base_sequence
                .saturating_add(batch.records.len() as u64)
                .saturating_sub(1);
        }
        round.end?;
        round.todo = newest
            .iter()
            .map(|(offset, content)| (offset, content.clone()))
            .collect();
        self.round = round;
        Some(())
    }

    pub(super) fn poll_flush_disk(&mut self) -> Option<Effect> {
        let draining = matches!(self.mode, Mode::Draining);
        let due =
            self.checkpoint_wanted || draining || self.written_since_flush >= CHECKPOINT_INTERVAL;
        let publish = due && self.needs_checkpoint();
        if self.flushing.is_some() || (!publish && self.flush_waiters.is_empty()) {
            return None;
        }
        self.checkpoint_wanted = false;
        self.disk_dirty = false;
        self.written_since_flush = 0;
        self.flushing = Some(self.written_back);
        self.flush_riders.append(&mut self.flush_waiters);
        Some(Effect::FlushDisk)
    }
}
