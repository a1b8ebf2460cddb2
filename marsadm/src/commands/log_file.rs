//! `log`: logfiles of the original, which are opened here; the sub-commands are in files of their own.

use super::{log_convert, log_dump, log_verify};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::regular::open_regular;
use crate::size::parse_size;
use clap::Subcommand;
use mars_migrations::legacy_log::{Record, ScanEnd, ScanOptions, scan_log};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

/// What can be done with a logfile of the original.
#[derive(Debug, Subcommand)]
// A doc comment on a variant would replace the long help that stands with the command's arguments.
#[expect(missing_docs, reason = "the about text of each command documents it")]
pub enum Command {
    #[command(about = "List the records of a logfile")]
    Dump(log_dump::Args),
    #[command(about = "Check logfiles from their first to their last byte")]
    Verify(log_verify::Args),
    #[command(about = "Make a log segment of the native format of a logfile")]
    Convert(log_convert::Args),
}

/// The logfile, and what is known about it.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// Logfile of the original
    pub file: PathBuf,
    /// Size of the device: a record beyond it is damage
    #[arg(long, value_name = "SIZE")]
    pub device_size: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Those of the sub-command.
pub fn run(ctx: &Ctx, command: &Command) -> Result<()> {
    let (verb, file, result) = match command {
        Command::Dump(args) => ("dump", &args.source.file, log_dump::run(ctx, args)),
        Command::Verify(args) => return log_verify::run(ctx, args),
        Command::Convert(args) => ("convert", &args.source.file, log_convert::run(ctx, args)),
    };
    result.map_err(|error| error.about(&format!("log {verb} {}", file.display())))
}

impl Source {
    /// Opens the file at its first byte.
    pub(super) fn open(&self) -> Result<File> {
        let failed = |error| self.unreadable(error);
        let mut file = open_regular(&self.file).map_err(failed)?;
        let mut magic = Vec::new();
        (&file).take(8).read_to_end(&mut magic).map_err(failed)?;
        if magic == b"MARSLOG2" {
            return Err(Error::refused("this is a log segment of the native format")
                .hint("only logfiles of the original are read here"));
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    pub(super) fn device_size(&self) -> Result<Option<u64>> {
        self.device_size.as_deref().map(parse_size).transpose()
    }

    /// Reads the whole file and hands each record to `each`.
    pub(super) fn scan(&self, each: impl FnMut(Record)) -> Result<ScanEnd> {
        let options = ScanOptions {
            device_size: self.device_size()?,
            ..ScanOptions::default()
        };
        let mut each = each;
        let end = scan_log(&mut self.open()?, &options, |record| {
            each(record);
            Ok::<(), io::Error>(())
        });
        end.map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: io::Error) -> Error {
        let error = failed(error);
        let why = format!("{} cannot be read: {}", self.file.display(), error.why);
        Error { why, ..error }
    }

    /// Fails as [`Source::scan`] would before the first record.
    pub(super) fn check(&self) -> Result<()> {
        self.device_size()?;
        self.open().map(drop)
    }
}

/// An error of reading or writing a file.
pub(super) fn failed(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::InvalidInput => Kind::Usage,
        _ => Kind::of_io(&error),
    };
    let hint = match kind {
        Kind::NotFound | Kind::Usage => {
            "name a logfile of the original, for example /mars/resource-RES/log-000000001-HOST"
        }
        Kind::Denied => "run marsadm as somebody who may read and write there",
        _ => "the system's log may say more",
    };
    Error::new(kind, error.to_string()).hint(hint)
}

/// How a log ended, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct EndJson {
    clean: bool,
    position: u64,
    /// As the original writes them: negative, 0 for none.
    error: i64,
    code: i64,
    byte: Option<u8>,
    text: String,
}

impl From<&ScanEnd> for EndJson {
    fn from(end: &ScanEnd) -> Self {
        Self {
            clean: end.is_clean(),
            position: end.position(),
            error: end.errno().map_or(0, |errno| -i64::from(errno.number())),
            code: end.mars_code().map_or(0, |code| -i64::from(code)),
            byte: end.poison(),
            text: end.to_string(),
        }
    }
}

/// A line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))
}

/// Number and host of a file named as logfiles are.
pub(super) fn named(path: &Path) -> Option<mars_datapath_core::version::LogName> {
    path.file_name()?.to_str()?.parse().ok()
}
