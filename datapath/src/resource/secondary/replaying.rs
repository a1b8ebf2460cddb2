//! Replay: from durable local log to the disk, over segment ends, checking that the histories join.

use super::{READ_LEN, Secondary, Segment, TURN_BYTES};
use crate::segments::read_log;
use mars_datapath_core::replay::ReplayEffect;
use mars_datapath_core::scan::{ScanEnd, Scanner};
use mars_datapath_core::version::{LogEnd, VersionValue, chain_value};
use std::sync::Arc;

impl Secondary {
    pub(super) fn replay_some(&mut self) -> Result<(), String> {
        let mut done = 0;
        let moved = self.replay.applied();
        while done < TURN_BYTES {
            let fed = self.feed()?;
            let mut idle = fed == 0;
            while let Some(effect) = self.replay.poll() {
                idle = false;
                done += self.execute(effect)?;
            }
            if idle {
                break;
            }
        }
        if done < TURN_BYTES && self.replay.applied() > self.replay.published() {
            // Nothing more is there: a moment of rest at which the disk is an exact prefix.
            self.replay.request_publish();
            while let Some(effect) = self.replay.poll() {
                self.execute(effect)?;
            }
        }
        if self.replay.applied() != moved {
            self.replica.context.shared.message("err-replay-stop", None);
        }
        Ok(())
    }

    /// Gives replay the next batches; returns how many.
    pub(super) fn feed(&mut self) -> Result<usize, String> {
        let mut batches = 0;
        while self.replay.wants_batch() {
            let Some((segment, scanner)) = &mut self.current else {
                if !self.open_current()? {
                    break;
                }
                continue;
            };
            let number = segment.name.number;
            if let Some(batch) = scanner.next_batch() {
                self.next_sequence = Some(batch.next_sequence());
                if batch.closes() {
                    self.closing = Some((segment.name.clone(), batch.successor().cloned()));
                }
                self.replay
                    .handle_batch(number, batch)
                    .map_err(|error| error.to_string())?;
                batches += 1;
                continue;
            }
            let limit = self.readable(number);
            let Some((segment, scanner)) = &mut self.current else {
                break;
            };
            let fed = scanner.fed();
            if fed < limit {
                let len = usize::try_from(limit - fed)
                    .unwrap_or(READ_LEN)
                    .min(READ_LEN);
                let bytes = read_log(&segment.file, fed, len)
                    .map_err(|error| format!("cannot read {}: {error}", segment.name))?;
                if bytes.is_empty() {
                    return Err(format!("{} is shorter than it was", segment.name));
                }
                scanner.feed(&bytes);
                if scanner.fed() > fed {
                    continue;
                }
                // The verdict stands. What does not fit the disk does once it was enlarged.
                if self.replica.disk.refresh_size() > self.scanned_size {
                    self.current = None;
                    continue;
                }
            }
            if !self.next_segment()? {
                break;
            }
        }
        Ok(batches)
    }

    /// End of what may be replayed of segment `number`.
    pub(super) fn readable(&self, number: u64) -> u64 {
        if self.durable.segment == number {
            return self.durable.position;
        }
        self.replica
            .context
            .shared
            .chain
            .link(number)
            .and_then(|link| link.end)
            .unwrap_or(0)
    }

    /// Opens the segment that replay stands in, if it is here.
    pub(super) fn open_current(&mut self) -> Result<bool, String> {
        let at = self.replay.taken();
        let Some(link) = self.replica.context.shared.chain.link(at.segment) else {
            return Ok(false);
        };
        let (file, header) = self
            .replica
            .context
            .shared
            .dir
            .load(&link.name)
            .map_err(|error| error.to_string())?;
        let Some((header, _)) = header else {
            return Ok(false);
        };
        self.scanned_size = self.replica.disk.refresh_size();
        let scanner = Scanner::new(&header, at.position, self.scanned_size);
        let segment = Segment {
            name: link.name,
            header,
            file: Arc::new(file),
        };
        self.current = Some((segment, scanner));
        Ok(true)
    }

    /// Goes on in the next segment if the present one is complete; checks that the histories join.
    pub(super) fn next_segment(&mut self) -> Result<bool, String> {
        let Some((segment, scanner)) = &self.current else {
            return Ok(false);
        };
        let shared = &self.replica.context.shared;
        let number = segment.name.number;
        let end = scanner.end();
        let known = shared.chain.link(number).and_then(|link| link.end);
        match (&end, known) {
            (ScanEnd::Damaged { position, why }, _) => {
                return Err(format!("{} is damaged at {position}: {why}", segment.name));
            }
            (ScanEnd::Refused { position, why }, _) => {
                return Err(format!(
                    "{} cannot be replayed at {position}: {why}; if the resource has grown, enlarge the disk, \
                     then detach and attach it",
                    segment.name
                ));
            }
            (ScanEnd::Torn { position, why }, Some(length)) if *position < length => {
                return Err(format!("{} is damaged at {position}: {why}", segment.name));
            }
            (_, None) => return Ok(false),
            (_, Some(length)) if end.position() != length => return Ok(false),
            _ => {}
        }
        let Some(next) = shared.chain.next(number) else {
            return Ok(false);
        };
        let place = LogEnd {
            log: segment.name.clone(),
            position: end.position(),
        };
        let (_, header) = shared
            .dir
            .load(&next.name)
            .map_err(|error| error.to_string())?;
        let Some((header, _)) = header else {
            return Ok(false);
        };
        // Replay of the old segment must be recorded before its version becomes the previous one.
        while let Some(effect) = self.replay.poll() {
            self.execute(effect)?;
        }
        self.replay.request_publish();
        while let Some(effect) = self.replay.poll() {
            self.execute(effect)?;
        }
        let version = chain_value(&place, &self.replica.state.previous_version);
        let mine = version
            .parse::<VersionValue>()
            .map_err(|error| error.to_string())?;
        let joins = header
            .predecessor
            .as_ref()
            .is_some_and(|p| p.end == place.pos() && p.digest == mine.digest);
        if !joins {
            let text = format!(
                "{} does not continue the history that ends at {place}",
                next.name
            );
            self.split_brain(&text);
            return Err(text);
        }
        self.replay
            .handle_next_segment(next.name.number)
            .map_err(|error| error.to_string())?;
        let start = LogEnd {
            log: next.name.clone(),
            position: 0,
        };
        self.replica
            .record(|state| {
                state.previous_version = version;
                state.applied = start;
            })
            .map_err(|error| format!("cannot write the superblock: {error}"))?;
        self.current = None;
        self.show();
        Ok(true)
    }

    /// Executes one effect of replay; returns the bytes written.
    pub(super) fn execute(&mut self, effect: ReplayEffect) -> Result<u64, String> {
        let path = self.replica.disk.path().display().to_string();
        match effect {
            ReplayEffect::Apply {
                token,
                offset,
                content,
            } => {
                // A change behind the end says that the device has grown there.
                self.replica
                    .record_size(offset.saturating_add(content.len()))
                    .map_err(|error| format!("cannot write the superblock: {error}"))?;
                self.replica
                    .disk
                    .write(offset, &content)
                    .map_err(|error| format!("cannot write to {path}: {error}"))?;
                self.replay.handle_applied(token);
                Ok(content.len())
            }
            ReplayEffect::FlushDisk => {
                self.replica
                    .disk
                    .flush()
                    .map_err(|error| format!("cannot flush {path}: {error}"))?;
                self.replay.handle_disk_flushed();
                Ok(0)
            }
            ReplayEffect::Publish { replayed } => {
                let mut applied = self.replica.state.applied.clone();
                if replayed.segment == applied.log.number && replayed.position > applied.position {
                    applied.position = replayed.position;
                    self.replica
                        .record(|state| state.applied = applied)
                        .map_err(|error| format!("cannot write the superblock: {error}"))?;
                    self.show_soon();
                }
                Ok(0)
            }
        }
    }
}
