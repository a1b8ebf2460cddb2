//! The local log at the start: where its valid prefix ends, and what may be cut off.

use super::{READ_LEN, SECTOR, Secondary, Segment};
use crate::segments::{ChainLink, LogFileError, read_log};
use mars_datapath_core::format::{
    Expect, SegmentHeader, Sequence, Successor, decode_header, end_position,
};
use mars_datapath_core::scan::{ScanEnd, Scanner};
use mars_datapath_core::version::{LogEnd, LogName};
use std::fs::File;
use std::sync::Arc;

impl Secondary {
    pub(super) fn drop_logs(&mut self) -> Result<(), LogFileError> {
        let dir = &self.replica.context.shared.dir;
        for name in dir.list()? {
            dir.remove(&name)?;
        }
        self.replica.context.shared.chain.clear();
        Ok(())
    }

    /// Reads the local log from the replay position to the end of its valid prefix, over segment ends.
    ///
    /// What an interrupted append left behind is cut off. Damage is not: it stops the replica with a reason, unless
    /// `accept` names this very place: an administrator gave up what follows it (`primary --force`).
    pub(super) fn open_chain(&mut self, accept: Option<&str>) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        let names = shared.dir.list()?;
        self.open_old_links(&names)?;
        let mut at = self.replica.state.applied.clone();
        let mut first = true;
        loop {
            let expected = |name: &&LogName| {
                if first {
                    **name == at.log
                } else {
                    name.number > at.log.number
                }
            };
            let Some(name) = names.iter().find(expected) else {
                break;
            };
            let (file, Some((header, bytes))) = shared.dir.load(name)? else {
                if !first {
                    // Its creation was interrupted: nothing in it counts.
                    shared.dir.remove(name)?;
                }
                break;
            };
            if !first {
                let follows = header
                    .predecessor
                    .as_ref()
                    .is_some_and(|p| p.end == at.pos() && p.origin == at.log.origin);
                if !follows {
                    tracing::warn!(resource = %shared.name, log = %name, "does not follow the local log: not used");
                    break;
                }
                shared.chain.finish(&at);
            }
            let start = if first { at.position } else { 0 };
            let file = Arc::new(file);
            if self.replica.state.flags.emergency {
                // Writes went past the log: nothing behind the recorded position may ever be replayed.
                shared.dir.truncate(&file, start)?;
            }
            let Scanned { end, successor } =
                scan_to_end(&file, &header, start, self.replica.disk.size())?;
            self.settle_end(&file, &header, &end, accept)?;
            let closed = if matches!(end, ScanEnd::Closed { .. }) {
                self.closing = Some((name.clone(), successor));
                true
            } else {
                end.position() == start && self.closes_at(&file, &header, name, start)?
            };
            let link = ChainLink {
                name: name.clone(),
                header: bytes,
                predecessor: header.predecessor.as_ref().map(|p| p.end),
                first: if first { 0 } else { start },
                end: closed.then(|| end.position()),
            };
            shared.chain.put(link);
            at = LogEnd {
                log: name.clone(),
                position: end.position(),
            };
            self.tail = Some(Segment {
                name: name.clone(),
                header,
                file,
            });
            first = false;
            if self.stopped.is_some() {
                break;
            }
        }
        // What the valid prefix holds may only be in the page cache yet.
        if let Some(tail) = &self.tail {
            tail.file
                .sync_data()
                .map_err(|error| shared.dir.error("make durable", error))?;
        }
        self.durable = at.pos();
        self.fetched = at;
        shared.chain.set_durable(self.durable);
        Ok(())
    }

    /// Whether the log was closed at `start`, the place from which it is read: the close mark lies before it then, and who
    /// waits for the mark must be told of it. A log that begins in the middle here does not know.
    fn closes_at(
        &mut self,
        file: &File,
        header: &SegmentHeader,
        name: &LogName,
        start: u64,
    ) -> Result<bool, LogFileError> {
        // Before the place at which the copying of the disk began there is nothing in the file.
        let begun = self.replica.state.sync.started_at;
        let from = if begun.segment == header.number {
            begun.position
        } else {
            0
        };
        if from >= start {
            return Ok(false);
        }
        let Scanned { end, successor } = scan_to_end(file, header, from, self.replica.disk.size())?;
        let closed = matches!(end, ScanEnd::Closed { .. }) && end.position() == start;
        if closed {
            self.closing = Some((name.clone(), successor));
        }
        Ok(closed)
    }

    /// Cuts what an interrupted append left behind the valid prefix, and stops at damage.
    fn settle_end(
        &mut self,
        file: &File,
        header: &SegmentHeader,
        end: &ScanEnd,
        accept: Option<&str>,
    ) -> Result<(), LogFileError> {
        let shared = Arc::clone(&self.replica.context.shared);
        let log = LogName {
            number: header.number,
            origin: header.origin.clone(),
        };
        let place = LogEnd {
            log,
            position: end.position(),
        };
        match broken_at(file, header, end) {
            Some(reason) if accept != Some(place.to_string().as_str()) => {
                let text = format!(
                    "{} is damaged at {}: {reason}; if another host has a complete copy, make it primary and run \
                     'marsadm invalidate' here; to give up what follows in the log, run 'marsadm disconnect' and \
                     'marsadm primary --force'",
                    place.log, place.position
                );
                self.stop(-5, &text);
                self.damage = Some(place);
            }
            Some(reason) => {
                tracing::error!(resource = %shared.name, log = %place, reason, "cutting a damaged log, as was accepted");
                shared.dir.truncate(file, place.position)?;
            }
            None => {
                let length = end_position(file.metadata().map_or(0, |m| m.len()));
                if length > place.position {
                    shared.dir.truncate(file, place.position)?;
                }
            }
        }
        Ok(())
    }

    /// Older segments that lead up to the present one are kept for peers that still need them.
    pub(super) fn open_old_links(&self, names: &[LogName]) -> Result<(), LogFileError> {
        let shared = &self.replica.context.shared;
        let mut next = match names.iter().find(|n| **n == self.replica.state.applied.log) {
            Some(name) => shared.dir.load(name)?.1,
            None => return Ok(()),
        };
        while let Some((header, _)) = next {
            let Some(before) = header.predecessor else {
                break;
            };
            let name = LogName {
                number: before.end.segment,
                origin: before.origin,
            };
            if !names.contains(&name) {
                break;
            }
            let (file, loaded) = shared.dir.load(&name)?;
            let length = end_position(file.metadata().map_or(0, |m| m.len()));
            let Some((header, bytes)) = loaded.filter(|_| length >= before.end.position) else {
                break;
            };
            shared.chain.put(ChainLink {
                name,
                header: bytes.clone(),
                predecessor: header.predecessor.as_ref().map(|p| p.end),
                first: 0,
                end: Some(before.end.position),
            });
            next = Some((header, bytes));
        }
        Ok(())
    }
}

/// Why what follows the valid prefix is no leftover of an interrupted append; `None` if it may be one.
///
/// An append that the death of the process or the machine interrupted leaves sectors that were never written, which
/// read as zeroes, or a file that ends inside the batch. Bytes that are all there and do not fit their checksum were
/// changed later: what they once said may have been acknowledged.
fn broken_at(file: &File, header: &SegmentHeader, end: &ScanEnd) -> Option<String> {
    let why = match end {
        ScanEnd::Clean { .. } | ScanEnd::Closed { .. } => return None,
        ScanEnd::Refused { why, .. } => return Some(why.to_string()),
        ScanEnd::Torn { why, .. } | ScanEnd::Damaged { why, .. } => why.to_string(),
    };
    let position = end.position();
    let expect = Expect {
        generation: header.generation,
        alignment: header.alignment,
        position,
        sequence: Sequence::AtLeast(header.base_sequence),
        device_size: u64::MAX,
    };
    let head = read_log(file, position, SECTOR).ok()?;
    let whole = match decode_header(&head, &expect) {
        Ok(batch) => batch.length,
        Err(_) => SECTOR,
    };
    let bytes = read_log(file, position, whole).ok()?;
    let unwritten = bytes
        .chunks_exact(SECTOR)
        .any(|sector| sector.iter().all(|byte| *byte == 0));
    (bytes.len() == whole && !unwritten).then_some(why)
}

/// What a scan of a local file found.
struct Scanned {
    end: ScanEnd,
    /// Who the close mark names to go on, if there is one.
    successor: Option<Successor>,
}

/// Scans from `start` to the end of the valid prefix of a local file.
fn scan_to_end(
    file: &File,
    header: &SegmentHeader,
    start: u64,
    device_size: u64,
) -> Result<Scanned, LogFileError> {
    let mut scanner = Scanner::new(header, start, device_size);
    let (mut at, mut successor) = (start, None);
    loop {
        let bytes = read_log(file, at, READ_LEN).map_err(LogFileError::reading)?;
        let mut offered = &bytes[..];
        while !offered.is_empty() {
            let taken = scanner.feed(offered);
            offered = &offered[taken..];
            at += taken as u64;
            while let Some(batch) = scanner.next_batch() {
                successor = batch.successor().cloned();
            }
            if taken == 0 {
                break;
            }
        }
        if bytes.is_empty() || !offered.is_empty() {
            return Ok(Scanned {
                end: scanner.end(),
                successor,
            });
        }
    }
}

/// Sequence number that follows the last record of a segment, by scanning it.
pub(crate) fn next_sequence_of(segment: &Segment, device_size: u64) -> Result<u64, LogFileError> {
    let mut scanner = Scanner::new(&segment.header, 0, device_size);
    let mut at = 0;
    loop {
        let bytes = read_log(&segment.file, at, READ_LEN).map_err(LogFileError::reading)?;
        if bytes.is_empty() {
            break;
        }
        let taken = scanner.feed(&bytes) as u64;
        at += taken;
        while scanner.next_batch().is_some() {}
        if taken == 0 {
            break;
        }
    }
    Ok(match scanner.expect().sequence {
        Sequence::Exactly(next) | Sequence::AtLeast(next) => next,
    })
}
