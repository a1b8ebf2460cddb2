//! `log verify`: check logfiles.

use super::log_file::{EndJson, Source, json_line};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use mars_migrations::legacy_log::ScanEnd;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Check every record of logfiles of the original. Exit code 0: all bytes belong to good records. 1: they do not;
/// the text says where the good part ends and what is wrong there, with the original's numbers.
///
/// Of several files all are checked, whatever is wrong with one, each with a line that begins with its name.
///
/// The original protects payloads only: a damaged device offset is noticed by nobody.
///
/// Example: marsadm log verify --device-size 10G /mars/resource-mydata/log-*
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Logfiles of the original
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Size of the device: a record beyond it is damage
    #[arg(long, value_name = "SIZE")]
    pub device_size: Option<String>,
    /// Print the result as JSON, a line for each file
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Default, Serialize)]
struct Totals {
    records: u64,
    applied: u64,
    payload: u64,
    warnings: u64,
}

#[derive(Serialize)]
struct Report {
    /// Which one of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(flatten)]
    totals: Totals,
    end: EndJson,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read, or is not good to its end; of several, how many.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let several = args.files.len() > 1;
    let mut reports = Vec::new();
    let mut failures = Vec::new();
    for file in &args.files {
        let about = |error: Error| error.about(&format!("log verify {}", file.display()));
        let (report, end) = match check(args, file, several) {
            Ok(checked) => checked,
            Err(error) if several => {
                ctx.ui.error("marsadm", &about(error.clone()));
                failures.push(error);
                continue;
            }
            Err(error) => return Err(about(error)),
        };
        if args.json || ctx.ui.is_structured() {
            ctx.ui.line(&json_line(&report)?);
        } else {
            let name = if several {
                format!("{}: ", file.display())
            } else {
                String::new()
            };
            ctx.ui.line(&format!(
                "{name}{} records, {} to be applied, {} bytes of payload, {} warnings, good up to {}",
                report.totals.records,
                report.totals.applied,
                report.totals.payload,
                report.totals.warnings,
                end.position(),
            ));
        }
        reports.push(report);
        if let Some(error) = damage(&end) {
            if several {
                ctx.ui.error("marsadm", &about(error.clone()));
            }
            failures.push(error);
        }
    }
    match &reports[..] {
        [one] if !several => ctx.ui.document("LogCheck", one)?,
        all => ctx.ui.items("LogCheck", all)?,
    }
    let failed = failures.len();
    let Some(first) = failures.into_iter().next() else {
        return Ok(());
    };
    if !several {
        let file = args.files.first().map(|file| file.display().to_string());
        return Err(first.about(&format!("log verify {}", file.unwrap_or_default())));
    }
    let why = format!("{failed} of {} files are not good", args.files.len());
    Err(Error::new(first.kind, why)
        .hint("the messages above say what is wrong with each")
        .about("log verify"))
}

fn check(args: &Args, file: &Path, several: bool) -> Result<(Report, ScanEnd)> {
    let source = Source {
        file: file.to_owned(),
        device_size: args.device_size.clone(),
    };
    let mut totals = Totals::default();
    let end = source.scan(|record| {
        totals.records += 1;
        totals.applied += u64::from(record.is_applied());
        totals.payload += record.payload.len() as u64;
        totals.warnings += u64::from(record.warning.is_some());
    })?;
    let report = Report {
        file: several.then(|| file.display().to_string()),
        totals,
        end: EndJson::from(&end),
    };
    Ok((report, end))
}

/// What is wrong with a file that is not good to its end.
fn damage(end: &ScanEnd) -> Option<Error> {
    if end.is_clean() {
        return None;
    }
    let error = Error::new(Kind::Negative, end.to_string());
    Some(match end {
        ScanEnd::Torn { .. } => {
            error.hint("an interrupted write, or the file is not complete: fetch it again if there is a longer one")
        }
        _ => error.hint("compare with the copies on other hosts: log verify tells how far each is good"),
    })
}
