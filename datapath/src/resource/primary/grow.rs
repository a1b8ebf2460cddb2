//! A device that gets larger while it is exported.
//!
//! The new part is discarded step by step through the log, so every replica learns size and content at the same
//! place of the history: none of them is ever inconsistent, and nothing has to be synced. New connections see the
//! new size when all steps are durable; those that are open keep the old one.

use super::super::shared::DeviceView;
use super::Primary;
use crate::limits::GROW_STEP;
use mars_datapath_core::LogPos;
use mars_datapath_core::logger::RequestId;
use std::sync::Arc;

/// A step that is under way.
#[derive(Debug)]
pub(super) enum Growth {
    /// The log is being written.
    Logging(RequestId, u64),
    /// It is durable; the next step waits until the disk has it.
    WritingBack(LogPos),
}

impl Primary {
    /// Begins the next step towards the wanted size, if there is one to take.
    pub(super) fn grow(&mut self) {
        if let Some(Growth::WritingBack(place)) = &self.growth
            && self.logger.written_back() >= *place
        {
            self.growth = None;
        }
        let Some(wanted) = self.asked.size.filter(|size| *size > self.replica.size) else {
            return;
        };
        let logs = !self.logger.is_emergency() && self.logger.failure().is_none();
        if self.growth.is_some() || self.leaving || !logs {
            return;
        }
        let disk = &self.replica.disk;
        let too_small = disk.size() < wanted && disk.refresh_size() < wanted;
        let text = format!(
            "the disk has {} bytes, the resource shall have {wanted}: enlarge the disk",
            disk.size()
        );
        let shared = &self.replica.context.shared;
        shared.message("wrn-size", too_small.then_some(&text));
        if too_small {
            return;
        }
        let size = wanted.min(self.replica.size.saturating_add(GROW_STEP));
        self.next_id += 1;
        let id = RequestId(self.next_id);
        if self.logger.handle_grow(id, size).is_ok() {
            self.growth = Some(Growth::Logging(id, size));
        }
    }

    /// Whether `id` was a step of growing; then it is durable in the log now.
    pub(super) fn grown(&mut self, id: RequestId) -> bool {
        let size = match &self.growth {
            Some(Growth::Logging(step, size)) if *step == id => *size,
            _ => return false,
        };
        self.growth = Some(Growth::WritingBack(self.logger.appended()));
        if let Err(error) = self.replica.record_size(size) {
            self.fail("cannot write the superblock", &error);
            return true;
        }
        if self.asked.size.is_some_and(|wanted| wanted <= size) {
            let shared = Arc::clone(&self.replica.context.shared);
            tracing::info!(resource = %shared.name, size, "the device has grown");
            self.view = Arc::new(DeviceView {
                export: self.view.export.clone(),
                size,
                requests: self.view.requests.clone(),
                closer: Arc::clone(&self.view.closer),
            });
            if shared.device().is_some() {
                shared.set_device(Some(Arc::clone(&self.view)));
            }
            shared.update(|status| status.device_size = Some(size));
        }
        self.show();
        true
    }
}
