//! Logfiles of the original: reader, writer, and conversion to the native format (`docs/spec/legacy-log.md`).
//!
//! [`Scanner`] takes bytes in file order and gives records, and in the end a verdict ([`ScanEnd`]) with the
//! numbers that the original reports. [`Writer`] makes records as the latest original does. [`convert`] makes a
//! native segment of a legacy log. Nothing here opens a file, and no bytes make it panic.

mod checksum;
mod compress;
mod convert;
mod decode;
mod fault;
mod layout;
mod lzo;
mod record;
mod scanner;
mod writer;

pub use checksum::Checksum;
pub use compress::{Compression, UnpackError};
pub use convert::{ConvertError, ConvertOptions, Converted, Converter, convert};
pub use fault::{Errno, Fault};
pub use layout::{HEADER, OVERHEAD, TRAILER};
pub use lzo::LzoError;
pub use record::{Code, Record, Warning};
pub use scanner::{ScanEnd, ScanOptions, Scanner, scan_log};
pub use writer::{NewRecord, Packing, WriteError, Writer};
