//! `log convert`: a native segment of a legacy log.

use super::log_file::{EndJson, Source, failed, named};
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::wall::now_ns;
use mars_datapath_core::Name;
use mars_lamport::Timestamp;
use mars_migrations::legacy_log::{ConvertError, ConvertOptions, Converted, convert};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Make a log segment of the native format of a logfile of the original.
///
/// The same writes in the same order; records that are never applied (pre-images) are left out. Number and host are
/// taken from the name of the file, the resource from that of its folder, unless given. The predecessor is left
/// open: the history of the resource begins anew with this segment.
///
/// With --force: also if the logfile is cut off or damaged; what is good in front of that is converted.
///
/// Example: marsadm log convert /mars/resource-mydata/log-000000001-hosta --to /tmp/log-000000001-hosta
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The logfile
    #[command(flatten)]
    pub source: Source,
    /// The file to make, which must not exist
    #[arg(long, value_name = "PATH")]
    pub to: PathBuf,
    /// Resource that the log belongs to
    #[arg(long, value_name = "RES")]
    pub resource: Option<String>,
    /// Host that wrote the log
    #[arg(long, value_name = "HOST")]
    pub origin: Option<String>,
    /// Number of the log
    #[arg(long, value_name = "N")]
    pub number: Option<u64>,
    /// Also print the place in the new file that corresponds to this place in the old one
    #[arg(long, value_name = "BYTES")]
    pub position: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// If names are missing, a file cannot be read or written, or the log is bad and `--force` was not given. Then there
/// is no output.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let options = options(args)?;
    let mut input = args.source.open()?;
    if args.to.symlink_metadata().is_ok() {
        return Err(exists(&args.to));
    }
    if ctx.opts.dry_run {
        let done = convert(&mut input, &mut io::sink(), &options).map_err(convert_failed)?;
        return judge(ctx, args, &done).and_then(|()| show(ctx, args, &done));
    }
    let mut draft = args.to.clone().into_os_string();
    draft.push(".partial");
    let draft = Draft(draft.into());
    let file = File::create_new(&draft.0).map_err(|error| output_failed(&draft.0, &error))?;
    let mut writer = BufWriter::new(file);
    let done = convert(&mut input, &mut writer, &options).map_err(convert_failed)?;
    judge(ctx, args, &done)?;
    finish(writer, &draft.0, &args.to)?;
    show(ctx, args, &done)
}

/// A file that is removed unless it was given its name.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already if all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes the file durable and gives it its name.
fn finish(mut writer: BufWriter<File>, draft: &Path, output: &Path) -> Result<()> {
    let io = |error: io::Error| output_failed(output, &error);
    writer.flush().map_err(io)?;
    writer.get_ref().sync_all().map_err(io)?;
    renameat_with(CWD, draft, CWD, output, RenameFlags::NOREPLACE).map_err(|errno| {
        if errno == rustix::io::Errno::EXIST {
            exists(output)
        } else {
            output_failed(output, &errno.into())
        }
    })?;
    let folder = output.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

fn exists(output: &Path) -> Error {
    Error::refused(format!("{} exists", output.display())).hint("give another --to")
}

fn output_failed(path: &Path, error: &io::Error) -> Error {
    Error::internal(format!("{} cannot be written: {error}", path.display()))
}

fn convert_failed(error: ConvertError) -> Error {
    match error {
        ConvertError::Io(error) => failed(error),
        ConvertError::Header(_) => Error::usage(error.to_string()),
        ConvertError::Record { .. } => Error::refused(error.to_string()),
    }
}

/// Whether the outcome may be kept.
fn judge(ctx: &Ctx, args: &Args, done: &Converted) -> Result<()> {
    if let (Some(wanted), None) = (args.position, done.mark) {
        let good = done.end.position();
        return Err(Error::usage(format!(
            "no record begins or ends at {wanted} in the good part of the file, which ends at {good}"
        )));
    }
    if done.end.is_clean() || ctx.opts.force {
        return Ok(());
    }
    let all = done.taken + done.left_out;
    Err(Error::refused(done.end.to_string()).hint(format!(
        "with --force the {all} good records in front of that are converted"
    )))
}

fn show(ctx: &Ctx, args: &Args, done: &Converted) -> Result<()> {
    let document = json!({
        "dry_run": ctx.opts.dry_run,
        "records": done.taken,
        "left_out": done.left_out,
        "warnings": done.warned,
        "end": EndJson::from(&done.end),
        "position": done.position,
        "mark": done.mark,
    });
    ctx.ui.document("LogConversion", &document)?;
    if !done.end.is_clean() {
        ctx.ui.note(&done.end.to_string());
    }
    let verb = if ctx.opts.dry_run { "would be " } else { "" };
    ctx.ui.line(&format!(
        "{verb}converted: {} records, {} left out, {} warnings, up to {} of the old file and {} of the new log",
        done.taken,
        done.left_out,
        done.warned,
        done.end.position(),
        done.position
    ));
    if let (Some(old), Some(new)) = (args.position, done.mark) {
        ctx.ui.line(&format!("position {old} -> {new}"));
    }
    Ok(())
}

fn options(args: &Args) -> Result<ConvertOptions> {
    let path = &args.source.file;
    let log = named(path);
    let number = args.number.or(log.as_ref().map(|log| log.number));
    let origin = match &args.origin {
        Some(text) => Some(name(text)?),
        None => log.map(|log| log.origin),
    };
    let resource = match &args.resource {
        Some(text) => Some(name(text)?),
        None => resource_of(path),
    };
    let missing = |what: &str, option: &str| {
        Error::usage(format!("the name of the file does not tell the {what}"))
            .hint(format!("give {option}"))
    };
    let created = now_ns()?;
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    Ok(ConvertOptions {
        resource: resource.ok_or_else(|| missing("resource", "--resource RES"))?,
        origin: origin.ok_or_else(|| missing("host", "--origin HOST"))?,
        number: number.ok_or_else(|| missing("number", "--number N"))?,
        generation: high ^ low,
        created: Timestamp::from_nanos(created),
        base_sequence: 1,
        predecessor: None,
        device_size: args.source.device_size()?,
        mark: args.position,
    })
}

fn name(text: &str) -> Result<Name> {
    text.parse()
        .map_err(|error: mars_datapath_core::NameError| Error::usage(error.to_string()))
}

/// The resource in whose folder the file lies.
fn resource_of(path: &Path) -> Option<Name> {
    let folder = path.parent()?.file_name()?.to_str()?;
    folder.strip_prefix("resource-")?.parse().ok()
}
