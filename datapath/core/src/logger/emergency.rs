//! The log is full: drain it, record that, and write past it.

use super::{Effect, Logger, Mode, PendingOp, RequestId};
use crate::limits::MAX_PASS_THROUGH_IN_FLIGHT;

impl Logger {
    /// The log's filesystem is full. Call it when every append has either been reported or failed.
    ///
    /// What is in the log is made durable and written back; then [`Effect::EnterEmergency`]; then requests,
    /// those of failed appends first, go past the log. Only a new logger on a new segment, behind a hole
    /// in the numbers, ends this.
    pub fn handle_log_full(&mut self) {
        if !matches!(self.mode, Mode::Logging) {
            return;
        }
        for batch in std::mem::take(&mut self.in_flight).into_iter().rev() {
            for pending in batch.requests.into_iter().rev() {
                self.queued_bytes = self.queued_bytes.saturating_add(pending.data_len());
                self.queue.push_front(pending);
            }
        }
        self.position = self.appended;
        self.segment = None;
        // No segment is to follow, even if the last one was closed in order just now.
        self.close_wanted = false;
        self.closed_at = None;
        self.outbox
            .retain(|effect| !matches!(effect, Effect::Closed { .. }));
        self.mode = Mode::Draining;
        // A flush behind a batch that never reached the log owes only what completed: what was appended.
        let lost = self
            .waiting
            .partition_point(|(place, _)| *place <= self.appended);
        for (_, id) in self.waiting.split_off(lost) {
            self.complete_when_durable(self.appended, id);
        }
    }

    /// The superblock says durably that the log must not be replayed beyond its end.
    pub fn handle_emergency_recorded(&mut self) {
        if matches!(self.mode, Mode::Entering) {
            self.overlay.clear();
            self.mode = Mode::PassThrough;
        }
    }

    /// The write past the log has reached the disk (perhaps only its cache).
    pub fn handle_passed_through(&mut self, id: RequestId) {
        self.disk_dirty |= self.passing.contains_key(&id);
        match self.passing.remove(&id) {
            Some((_, _, true)) => self.flush_waiters.push(id),
            Some(_) => self.outbox.push_back(Effect::Complete { id }),
            None => {}
        }
    }

    pub(super) fn poll_emergency(&mut self) -> Option<Effect> {
        match self.mode {
            Mode::Draining => self.poll_drained(),
            Mode::PassThrough => self.poll_pass_through(),
            Mode::Logging | Mode::Entering | Mode::Failed(_) => None,
        }
    }

    fn poll_drained(&mut self) -> Option<Effect> {
        let drained = self.logged.is_empty()
            && self.round.end.is_none()
            && self.published == self.appended
            && self.flushing.is_none();
        if !drained {
            return None;
        }
        self.mode = Mode::Entering;
        Some(Effect::EnterEmergency { end: self.appended })
    }

    fn poll_pass_through(&mut self) -> Option<Effect> {
        if self.passing.len() >= MAX_PASS_THROUGH_IN_FLIGHT {
            return None;
        }
        let blocked = match &self.queue.front()?.op {
            PendingOp::Flush => false,
            PendingOp::Change { offset, content } => {
                let end = offset.saturating_add(content.len());
                self.passing
                    .values()
                    .any(|(at, len, _)| *at < end && *offset < at.saturating_add(*len))
            }
        };
        if blocked {
            return None;
        }
        let pending = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(pending.data_len());
        let id = pending.id;
        match pending.op {
            PendingOp::Flush => {
                self.flush_waiters.push(id);
                self.poll_flush_disk().or_else(|| self.poll_pass_through())
            }
            PendingOp::Change { offset, content } => {
                self.passing
                    .insert(id, (offset, content.len(), pending.fua));
                Some(Effect::PassThrough {
                    id,
                    offset,
                    content,
                })
            }
        }
    }
}
