//! What a fetch brings: segments and bytes go to the local log, durable before they count.

use super::{SYNC_BYTES, Secondary, Segment};
use crate::limits::RETRY_DELAY;
use crate::replicate::{FetchEvent, code};
use crate::segments::{ChainLink, LogFileError};
use mars_datapath_core::LogPos;
use mars_datapath_core::format::{SegmentHeader, file_offset};
use mars_datapath_core::version::{LogEnd, LogName};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Instant;

impl Secondary {
    /// Takes what a fetch brought.
    pub(crate) fn handle_fetched(&mut self, event: FetchEvent) {
        let Some(task) = &self.fetch else { return };
        if event.task != task.id() {
            return;
        }
        use crate::replicate::Fetched as F;
        let outcome = match event.what {
            F::Connected => {
                self.replica
                    .context
                    .shared
                    .update(|status| status.copying = true);
                self.replica.context.shared.message("inf-fetch", None);
                Ok(())
            }
            F::Segment {
                number,
                header,
                bytes,
            } => self.take_segment(number, header, &bytes),
            F::Data {
                number,
                position,
                bytes,
                permit: _permit,
            } => self.take_data(number, position, &bytes),
            F::Closed { number, position } => {
                if self.fetched.pos() == LogPos::new(number, position) {
                    self.replica
                        .context
                        .shared
                        .chain
                        .finish(&self.fetched.clone());
                }
                Ok(())
            }
            F::Refused { code, reason } => {
                self.take_refusal(code, &reason);
                Ok(())
            }
            F::Lost { reason } => {
                self.fetch_ended(&reason);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::error!(resource = %self.replica.context.shared.name, %error, "fetched log bytes cannot be kept");
            self.fetch_ended(&error.to_string());
        }
    }

    pub(super) fn fetch_ended(&mut self, reason: &str) {
        self.fetch = None;
        self.fetch_after = Some(Instant::now() + RETRY_DELAY);
        self.replica
            .context
            .shared
            .update(|status| status.copying = false);
        self.replica
            .context
            .shared
            .message("inf-fetch", Some(reason));
    }

    pub(super) fn take_refusal(&mut self, code: u16, reason: &str) {
        match code {
            code::LOG_GONE => {
                self.stop(
                    -85,
                    &format!("{reason}: run 'marsadm invalidate' for a full sync"),
                );
            }
            code::DIVERGED => self.split_brain(reason),
            _ => {}
        }
        self.fetch_ended(reason);
    }

    pub(super) fn take_segment(
        &mut self,
        number: u64,
        header: SegmentHeader,
        bytes: &bytes::Bytes,
    ) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        let name = LogName {
            number,
            origin: header.origin.clone(),
        };
        if let Some(tail) = self.tail.as_ref().filter(|tail| tail.name.number == number) {
            if tail.header != header {
                let have = tail.name.clone();
                self.split_brain(&format!(
                    "the source has another {name} than the {have} that is here"
                ));
            }
            return Ok(());
        }
        if number < self.fetched.log.number {
            return Ok(());
        }
        let starts_here = self.tail.is_none() && name == self.fetched.log;
        if !starts_here {
            let follows = header.predecessor.as_ref().is_some_and(|p| {
                p.end == self.fetched.pos() && p.origin == self.fetched.log.origin
            });
            if !follows {
                let have = self.fetched.clone();
                self.split_brain(&format!(
                    "{name} of the source does not follow {have} that is here"
                ));
                self.fetch_ended("the histories differ");
                return Ok(());
            }
            self.make_durable()?;
            shared.chain.finish(&self.fetched.clone());
        }
        let file = shared.dir.create(&name, bytes)?;
        let position = if starts_here {
            self.fetched.position
        } else {
            0
        };
        shared.chain.put(ChainLink {
            name: name.clone(),
            header: bytes.clone(),
            predecessor: header.predecessor.as_ref().map(|p| p.end),
            first: position,
            end: None,
        });
        self.fetched = LogEnd {
            log: name.clone(),
            position,
        };
        self.durable = self.fetched.pos();
        self.tail = Some(Segment {
            name,
            header,
            file: Arc::new(file),
        });
        shared.chain.set_durable(self.durable);
        Ok(())
    }

    pub(super) fn take_data(
        &mut self,
        number: u64,
        position: u64,
        bytes: &bytes::Bytes,
    ) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        if LogPos::new(number, position) != self.fetched.pos() {
            self.fetch_ended("log bytes came out of order; asking again");
            return Ok(());
        }
        let Some(tail) = self.tail.as_ref().filter(|tail| tail.name.number == number) else {
            self.fetch_ended("log bytes came without a segment; asking again");
            return Ok(());
        };
        tail.file
            .write_all_at(bytes, file_offset(position))
            .map_err(|error| shared.dir.error("append to a log in", error))?;
        self.fetched.position = position.saturating_add(bytes.len() as u64);
        if self
            .fetched
            .pos()
            .position
            .saturating_sub(self.durable.position)
            >= SYNC_BYTES
        {
            self.make_durable()?;
        }
        Ok(())
    }

    pub(super) fn make_durable(&mut self) -> Result<(), LogFileError> {
        let shared = &self.replica.context.shared;
        if let Some(tail) = self
            .tail
            .as_ref()
            .filter(|_| self.durable < self.fetched.pos())
        {
            tail.file
                .sync_data()
                .map_err(|error| shared.dir.error("make durable a log in", error))?;
            self.durable = self.fetched.pos();
            shared.chain.set_durable(self.durable);
        }
        Ok(())
    }
}
