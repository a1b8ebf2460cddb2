//! A legacy log becomes a native segment.

use super::record::Record as Legacy;
use super::scanner::{ScanEnd, ScanOptions, scan_log};
use bytes::Bytes;
use mars_datapath_core::Name;
use mars_datapath_core::format::{
    BatchStart, EncodeError, Predecessor, Record, RecordBody, SegmentError, SegmentHeader,
    encode_batch,
};
use mars_datapath_core::limits::MIN_ALIGNMENT;
use mars_lamport::Timestamp;
use std::io::{self, Read, Write};

/// What the native segment is to be, as far as the legacy log does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertOptions {
    /// The resource.
    pub resource: Name,
    /// The host that wrote the log.
    pub origin: Name,
    /// Number of the segment, at least 1.
    pub number: u64,
    /// A random number drawn for this file.
    pub generation: u64,
    /// When the segment is made.
    pub created: Timestamp,
    /// Sequence number of the first record.
    pub base_sequence: u64,
    /// The segment before, if it is known in native positions.
    pub predecessor: Option<Predecessor>,
    /// Size of the device, bytes; `None` = not known.
    pub device_size: Option<u64>,
    /// Place in the legacy log whose native counterpart is wanted: where a replica stands.
    pub mark: Option<u64>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// How the legacy log ended; everything in front of that was converted.
    pub end: ScanEnd,
    /// Records taken over.
    pub taken: u64,
    /// Records left out because replay never applies them (pre-images).
    pub left_out: u64,
    /// Records that made the reader warn.
    pub warned: u64,
    /// Native end position.
    pub position: u64,
    /// Native position of [`ConvertOptions::mark`]; `None` if there is no boundary between records there.
    pub mark: Option<u64>,
}

/// Why a log was not converted. What was written of the output is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The header cannot be made.
    #[error(transparent)]
    Header(#[from] SegmentError),
    /// A record cannot be expressed.
    #[error("record at {position}: {error}")]
    Record {
        /// Where it stands in the legacy log.
        position: u64,
        /// Why.
        error: EncodeError,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Makes native batches of legacy records, one of each: stamps, order and boundaries stay.
#[derive(Debug)]
pub struct Converter {
    header: SegmentHeader,
    position: u64,
    sequence: u64,
    last_stamp: Timestamp,
}

impl Converter {
    /// A converter, and the bytes of the segment's header.
    ///
    /// # Errors
    /// If a field is out of range.
    pub fn new(options: &ConvertOptions) -> Result<(Self, Box<[u8]>), SegmentError> {
        let header = SegmentHeader {
            resource: options.resource.clone(),
            origin: options.origin.clone(),
            number: options.number,
            generation: options.generation,
            created: options.created,
            base_sequence: options.base_sequence,
            alignment: MIN_ALIGNMENT,
            predecessor: options.predecessor.clone(),
        };
        let bytes = header.encode()?;
        let converter = Self {
            position: 0,
            sequence: header.base_sequence,
            last_stamp: options.created,
            header,
        };
        Ok((converter, bytes))
    }

    /// Native position behind what was made so far.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The batch for one record; `None` if replay never applies the record.
    ///
    /// # Errors
    /// [`EncodeError`]; never for records that the scanner gave.
    pub fn record(&mut self, legacy: Legacy) -> Result<Option<Vec<Bytes>>, EncodeError> {
        if !legacy.is_applied() {
            return Ok(None);
        }
        self.last_stamp = legacy.stamp();
        let record = Record::write(legacy.offset, Bytes::from(legacy.payload));
        self.batch(record).map(Some)
    }

    /// The last batch of a log that is complete: it holds the close mark.
    ///
    /// # Errors
    /// [`EncodeError`]; it is not expected.
    pub fn close(&mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.batch(Record::mark(RecordBody::CloseMark))
    }

    fn batch(&mut self, record: Record) -> Result<Vec<Bytes>, EncodeError> {
        let start = BatchStart {
            generation: self.header.generation,
            position: self.position,
            base_sequence: self.sequence,
            stamp: self.last_stamp,
            alignment: self.header.alignment,
        };
        let batch = encode_batch(&start, &[record])?;
        self.position = self.position.saturating_add(batch.length as u64);
        self.sequence = self.sequence.saturating_add(1);
        Ok(batch.parts)
    }
}

/// Reads a legacy log from its first byte and writes the native segment.
///
/// Whatever ends the log, all records in front of that are written; a close mark follows only at a clean end.
///
/// # Errors
/// [`ConvertError`]; the output is then incomplete and not marked as closed.
pub fn convert(
    input: &mut impl Read,
    output: &mut impl Write,
    options: &ConvertOptions,
) -> Result<Converted, ConvertError> {
    let (mut converter, header) = Converter::new(options)?;
    output.write_all(&header)?;
    let scan = ScanOptions {
        device_size: options.device_size,
        ..ScanOptions::default()
    };
    let (mut taken, mut left_out, mut warned) = (0, 0, 0);
    let mut mark = (options.mark == Some(0)).then_some(0);
    let end = scan_log(input, &scan, |record| -> Result<(), ConvertError> {
        let (position, legacy_end) = (record.position, record.end());
        warned += u64::from(record.warning.is_some());
        match converter.record(record) {
            Ok(Some(parts)) => {
                taken += 1;
                write_parts(output, &parts)?;
            }
            Ok(None) => left_out += 1,
            Err(error) => return Err(ConvertError::Record { position, error }),
        }
        if options.mark == Some(legacy_end) {
            mark = Some(converter.position());
        }
        Ok(())
    })?;
    if end.is_clean() {
        let position = end.position();
        let error = |error| ConvertError::Record { position, error };
        write_parts(output, &converter.close().map_err(error)?)?;
    }
    Ok(Converted {
        end,
        taken,
        left_out,
        warned,
        position: converter.position(),
        mark,
    })
}

fn write_parts(output: &mut impl Write, parts: &[Bytes]) -> io::Result<()> {
    parts.iter().try_for_each(|part| output.write_all(part))
}
