//! Leaving the role, and the end of the process.

use super::super::driver::Event;
use super::super::replica::OpenError;
use super::super::secondary::Secondary;
use super::{LeaveState, Primary};
use crate::limits::{SHUTDOWN_TIMEOUT, SYNC_DELAY};
use mars_datapath_core::format::Successor;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

impl Primary {
    /// Goes on leaving the role: hides the device, closes the log, drains.
    ///
    /// `successor` is named in the log's close mark, if that is not written yet.
    pub(crate) fn leave(&mut self, successor: Successor) -> LeaveState {
        let shared = Arc::clone(&self.replica.context.shared);
        if !self.leaving {
            shared.set_device(None);
            if shared.open_count() > 0 {
                shared.set_device(Some(Arc::clone(&self.view)));
                return LeaveState::Open;
            }
            self.leaving = true;
            shared.update(|status| status.device = false);
        }
        if self.logger.failure().is_some() {
            return LeaveState::Failed;
        }
        if self.logger.is_emergency() {
            return if self.logger.is_drained() && self.requests.is_empty() {
                LeaveState::Drained
            } else {
                LeaveState::Draining
            };
        }
        self.logger.set_successor(successor);
        self.logger.request_close();
        self.logger.request_checkpoint();
        let done = self.closed_at.is_some() && self.requests.is_empty() && self.logger.is_drained();
        if done {
            LeaveState::Drained
        } else {
            LeaveState::Draining
        }
    }

    /// Whether the device is hidden already, and the log about to be closed.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Becomes a secondary at the end of the closed log.
    pub(crate) fn into_secondary(mut self) -> Result<Secondary, OpenError> {
        let path = self.replica.context.shared.dir.superblock();
        self.replica
            .record(|state| {
                state.flags.primary = false;
                state.flags.clean = true;
            })
            .map_err(|error| OpenError::SuperblockFile { path, error })?;
        let Self { replica, .. } = self;
        replica.context.shared.update(|status| {
            status.primary = false;
            status.device = false;
            status.emergency = false;
            status.device_size = None;
            status.logs.clear();
        });
        Secondary::after_primary(replica)
    }

    /// Ends in order at the end of the process: what was acknowledged becomes durable, the role is kept.
    pub(crate) fn shut_down(&mut self, events: &mut mpsc::Receiver<Event>) {
        self.view.closer.close();
        self.replica.context.shared.set_device(None);
        let until = Instant::now() + SHUTDOWN_TIMEOUT;
        while Instant::now() < until {
            self.logger.request_sync();
            self.logger.request_checkpoint();
            self.advance();
            let quiet = self.requests.is_empty() && self.held.is_none();
            if self.logger.failure().is_some() || (quiet && self.logger.is_drained()) {
                break;
            }
            if let Some(Event::Worker(done)) = self.wait(events, Instant::now() + SYNC_DELAY) {
                self.handle_done(done);
            }
        }
        self.show();
    }
}
