//! Incremental scanner: bytes of a legacy log in, records out, and in the end a verdict on the rest.

use super::decode::{Rules, Stop, decode};
use super::fault::{Errno, Fault};
use super::layout::HEADER;
use super::record::Record;
use crate::limits::LEGACY_BUFFER_MAX;
use std::io::{self, Read};

/// Where a scan begins and what it holds records against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanOptions {
    /// Position in the file of the first byte that is fed: the start of a record.
    pub position: u64,
    /// Sequence number of the record before; 0 = unknown, or none.
    pub last_sequence: u32,
    /// Size of the device, bytes, which no record may exceed; `None` = not known.
    pub device_size: Option<u64>,
}

/// Why the usable part of a log ends where it ends. Nothing behind that place is ever looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All bytes belong to records; more may follow.
    Clean {
        /// End of the last record.
        position: u64,
    },
    /// The last record is cut off: an interrupted write, or a log that still grows.
    Torn {
        /// End of the last whole record.
        position: u64,
        /// Bytes there behind it.
        have: usize,
        /// Bytes needed for the next decision.
        need: usize,
    },
    /// What follows the last good record is none.
    Bad {
        /// End of the last good record.
        position: u64,
        /// What is wrong there.
        fault: Fault,
    },
}

impl ScanEnd {
    /// End of the usable part.
    #[must_use]
    pub const fn position(&self) -> u64 {
        match self {
            Self::Clean { position } | Self::Torn { position, .. } | Self::Bad { position, .. } => {
                *position
            }
        }
    }

    /// Whether the whole log is usable.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self, Self::Clean { .. })
    }

    /// The class of trouble; `None` at a clean end.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Clean { .. } => None,
            Self::Torn { .. } => Some(Errno::Again),
            Self::Bad { fault, .. } => Some(fault.errno()),
        }
    }

    /// The original's number for it, positive; `None` where it has none.
    #[must_use]
    pub const fn mars_code(&self) -> Option<u32> {
        match self {
            Self::Clean { .. } => None,
            Self::Torn { need, .. } if *need == HEADER => None,
            Self::Torn { .. } => Some(10_006),
            Self::Bad { fault, .. } => fault.mars_code(),
        }
    }

    /// The byte that the original adds to code 10021.
    #[must_use]
    pub const fn poison(&self) -> Option<u8> {
        match self {
            Self::Bad { fault, .. } => fault.poison(),
            _ => None,
        }
    }
}

impl std::fmt::Display for ScanEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clean { position } => return write!(f, "clean end at {position}"),
            Self::Torn {
                position,
                have,
                need,
            } => write!(
                f,
                "record at {position} is cut off: {have} of {need} bytes are there"
            )?,
            Self::Bad { position, fault } => write!(f, "at {position}: {fault}")?,
        }
        if let Some(errno) = self.errno() {
            write!(f, " (error {}", errno.number())?;
            if let Some(code) = self.mars_code() {
                write!(f, ", code {code}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Reads one legacy log from the start of some record on.
///
/// [`feed`](Self::feed) takes bytes in file order, [`next_record`](Self::next_record) gives what is complete.
/// Holds at most [`LEGACY_BUFFER_MAX`] bytes.
#[derive(Debug)]
pub struct Scanner {
    rules: Rules,
    buffer: Vec<u8>,
    /// Bytes of the buffer that belong to records given out.
    used: usize,
    fault: Option<Fault>,
}

impl Scanner {
    /// A scanner that has seen nothing.
    #[must_use]
    pub fn new(options: &ScanOptions) -> Self {
        Self {
            rules: Rules {
                position: options.position,
                last_sequence: options.last_sequence,
                device_size: options.device_size,
            },
            buffer: Vec::new(),
            used: 0,
            fault: None,
        }
    }

    /// End of the records given out so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.rules.position
    }

    /// Takes bytes that follow those fed before, as many as fit; returns how many. Less than given are taken only
    /// while records wait in [`next_record`](Self::next_record). Behind a fault all bytes are taken, unseen.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.fault.is_some() {
            return bytes.len();
        }
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        let room = LEGACY_BUFFER_MAX.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        taken.len()
    }

    /// The next complete record, if any.
    pub fn next_record(&mut self) -> Option<Record> {
        match self.look()? {
            Ok(record) => {
                self.used = self.used.saturating_add(record.total_length);
                self.rules.position = record.end();
                self.rules.last_sequence = record.sequence;
                Some(record)
            }
            Err(Stop::Short(_)) => None,
            Err(Stop::Fault(fault)) => {
                self.fault = Some(fault);
                self.buffer = Vec::new();
                self.used = 0;
                None
            }
        }
    }

    /// The verdict if all that was fed is all there is. Ask after [`next_record`](Self::next_record) gave `None`.
    #[must_use]
    pub fn end(&self) -> ScanEnd {
        let position = self.rules.position;
        if let Some(fault) = &self.fault {
            let fault = fault.clone();
            return ScanEnd::Bad { position, fault };
        }
        match self.look() {
            Some(Err(Stop::Short(need))) => ScanEnd::Torn {
                position,
                have: self.rest().len(),
                need,
            },
            Some(Err(Stop::Fault(fault))) => ScanEnd::Bad { position, fault },
            // A whole record that was not asked for is not judged.
            Some(Ok(_)) | None => ScanEnd::Clean { position },
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// What stands at the position; `None` if nothing does.
    fn look(&self) -> Option<Result<Record, Stop>> {
        let rest = self.rest();
        (self.fault.is_none() && !rest.is_empty()).then(|| decode(rest, &self.rules))
    }
}

/// Reads `input` to its end, or to the first fault, and hands each record to `each`.
///
/// # Errors
/// Those of reading, and the first one of `each`; records before that were handed over.
pub fn scan_log<E: From<io::Error>>(
    input: &mut impl Read,
    options: &ScanOptions,
    mut each: impl FnMut(Record) -> Result<(), E>,
) -> Result<ScanEnd, E> {
    let mut scanner = Scanner::new(options);
    let mut chunk = vec![0; LEGACY_BUFFER_MAX / 2];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut bytes = chunk.get(..read).unwrap_or_default();
        loop {
            let taken = scanner.feed(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(record) = scanner.next_record() {
                each(record)?;
            }
            if bytes.is_empty() {
                break;
            }
        }
        if read == 0 || scanner.fault.is_some() {
            return Ok(scanner.end());
        }
    }
}
