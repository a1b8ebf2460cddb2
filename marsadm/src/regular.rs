//! Opening what has to be a regular file: neither a pipe nor a device makes a command wait.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file for reading; links are followed.
///
/// # Errors
/// That of the system; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let why = "this is no regular file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
