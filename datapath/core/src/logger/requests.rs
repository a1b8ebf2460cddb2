//! Requests of the application, and failure.

use std::sync::Arc;

use bytes::Bytes;

use super::{Effect, Logger, Mode, Pending, PendingOp, RequestId};
use crate::limits::{MAX_QUEUED_BYTES, MAX_QUEUED_REQUESTS, MAX_REASON, MAX_WRITE};
use crate::overlay::Content;

/// How a range without data is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarding {
    /// Write zeroes: the space stays allocated.
    Zeroes,
    /// Discard: the space may be given back; reads as zero afterwards.
    Discard,
}

/// Why a request was not accepted. The logger is unchanged; the front end answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Beyond the end of the device.
    #[error("request at {offset} of {length} bytes exceeds the device of {device} bytes")]
    Range {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Size of the device, bytes.
        device: u64,
    },
    /// More than fits one batch: the front end must announce a smaller maximum.
    #[error("write of {0} bytes is longer than 32 MiB")]
    TooLong(usize),
    /// Too much is waiting: submit again after the next completion.
    #[error("too many requests are waiting")]
    Busy,
}

impl Logger {
    /// Takes a write of the application. An empty one completes at once.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was taken.
    pub fn handle_write(
        &mut self,
        id: RequestId,
        offset: u64,
        data: Bytes,
        fua: bool,
    ) -> Result<(), SubmitError> {
        if data.len() > MAX_WRITE {
            return Err(SubmitError::TooLong(data.len()));
        }
        self.submit(id, offset, Content::Data(data), fua)
    }

    /// Takes a request to zero or discard `length` bytes.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was taken.
    pub fn handle_discard(
        &mut self,
        id: RequestId,
        offset: u64,
        length: u64,
        how: Discarding,
        fua: bool,
    ) -> Result<(), SubmitError> {
        let content = match how {
            Discarding::Zeroes => Content::Zeroes(length),
            Discarding::Discard => Content::Discard(length),
        };
        self.submit(id, offset, content, fua)
    }

    /// Takes a flush: completes when everything accepted before it is stable.
    ///
    /// # Errors
    /// [`SubmitError::Busy`]; nothing was taken.
    pub fn handle_flush(&mut self, id: RequestId) -> Result<(), SubmitError> {
        if self.refuse_failed(id) {
            return Ok(());
        }
        if matches!(self.mode, Mode::PassThrough) && self.queue.is_empty() {
            self.flush_waiters.push(id);
            return Ok(());
        }
        if !self.unmarked && matches!(self.mode, Mode::Logging) {
            // Nothing was accepted since the last mark: that mark's place is what has to be durable.
            let place = self
                .in_flight
                .back()
                .map_or(self.appended, |batch| batch.end);
            let marked_in_queue = self.queue.iter().any(|p| matches!(p.op, PendingOp::Flush));
            if !marked_in_queue {
                self.complete_when_durable(place, id);
                return Ok(());
            }
        }
        self.enqueue(Pending {
            id,
            fua: false,
            op: PendingOp::Flush,
        })?;
        self.unmarked = false;
        Ok(())
    }

    /// Enlarges the device to `size` bytes. What is new is discarded as the first change of it, durably in the log: so
    /// every replica learns the size and the content of the new part at the same place of the history.
    ///
    /// # Errors
    /// See [`SubmitError`]; [`SubmitError::Busy`] also while requests go past the log. The device is as before.
    pub fn handle_grow(&mut self, id: RequestId, size: u64) -> Result<(), SubmitError> {
        let old = self.device_size;
        if !matches!(self.mode, Mode::Logging | Mode::Failed(_)) {
            return Err(SubmitError::Busy);
        }
        self.device_size = size.max(old);
        let taken = self.submit(id, old, Content::Discard(size.saturating_sub(old)), true);
        if taken.is_err() {
            self.device_size = old;
        }
        taken
    }

    fn submit(
        &mut self,
        id: RequestId,
        offset: u64,
        content: Content,
        fua: bool,
    ) -> Result<(), SubmitError> {
        let length = content.len();
        let device = self.device_size;
        if offset.checked_add(length).is_none_or(|end| end > device) {
            return Err(SubmitError::Range {
                offset,
                length,
                device,
            });
        }
        if self.refuse_failed(id) {
            return Ok(());
        }
        if content.is_empty() && !fua {
            self.outbox.push_back(Effect::Complete { id });
            return Ok(());
        }
        if content.is_empty() {
            return self.handle_flush(id);
        }
        self.enqueue(Pending {
            id,
            fua,
            op: PendingOp::Change { offset, content },
        })?;
        self.unmarked = true;
        Ok(())
    }

    fn refuse_failed(&mut self, id: RequestId) -> bool {
        if let Mode::Failed(reason) = &self.mode {
            self.outbox.push_back(Effect::Fail {
                id,
                reason: Arc::clone(reason),
            });
            return true;
        }
        false
    }

    fn enqueue(&mut self, pending: Pending) -> Result<(), SubmitError> {
        let bytes = pending.data_len();
        let full = self.queue.len() >= MAX_QUEUED_REQUESTS
            || self.queued_bytes.saturating_add(bytes) > MAX_QUEUED_BYTES;
        if full {
            return Err(SubmitError::Busy);
        }
        self.queued_bytes += bytes;
        self.queue.push_back(pending);
        Ok(())
    }

    /// The log, the disk, or a sync failed: nothing is acknowledged from now on, every request that is
    /// pending or comes later fails with `reason`. Only a new logger after recovery leaves this state.
    pub fn handle_failed(&mut self, reason: &str) {
        if matches!(self.mode, Mode::Failed(_)) {
            return;
        }
        let reason: Arc<str> = reason.chars().take(MAX_REASON).collect::<String>().into();
        let mut ids: Vec<RequestId> = Vec::new();
        for effect in std::mem::take(&mut self.outbox) {
            match effect {
                Effect::Complete { id } | Effect::PassThrough { id, .. } => ids.push(id),
                Effect::Fail { .. } => self.outbox.push_back(effect),
                _ => {}
            }
        }
        ids.extend(self.waiting.drain(..).map(|(_, id)| id));
        for batch in self.in_flight.drain(..) {
            ids.extend(batch.requests.iter().map(|pending| pending.id));
        }
        ids.extend(std::mem::take(&mut self.passing).into_keys());
        ids.append(&mut self.flush_waiters);
        ids.append(&mut self.flush_riders);
        ids.extend(self.queue.drain(..).map(|pending| pending.id));
        self.queued_bytes = 0;
        for id in ids {
            self.outbox.push_back(Effect::Fail {
                id,
                reason: Arc::clone(&reason),
            });
        }
        self.mode = Mode::Failed(reason);
    }
}

impl Pending {
    /// Bytes of memory that the request's data needs.
    pub(super) const fn data_len(&self) -> usize {
        match &self.op {
            PendingOp::Change {
                content: Content::Data(data),
                ..
            } => data.len(),
            PendingOp::Change { .. } | PendingOp::Flush => 0,
        }
    }
}
