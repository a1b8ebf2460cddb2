//! `log verify`: check a logfile.

use super::log_file::{EndJson, Source, json_line};
use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use mars_migrations::legacy_log::ScanEnd;
use serde::Serialize;

/// Check every record of a logfile of the original. Exit code 0: all bytes belong to good records. 1: they do not;
/// the text says where the good part ends and what is wrong there, with the original's numbers.
///
/// The original protects payloads only: a damaged device offset is noticed by nobody.
///
/// Example: marsadm log verify --device-size 10G /mars/resource-mydata/log-000000001-hosta
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The logfile
    #[command(flatten)]
    pub source: Source,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Default, Serialize)]
struct Totals {
    records: u64,
    applied: u64,
    payload: u64,
    warnings: u64,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    totals: Totals,
    end: EndJson,
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read, or is not good to its end.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let mut totals = Totals::default();
    let end = args.source.scan(|record| {
        totals.records += 1;
        totals.applied += u64::from(record.is_applied());
        totals.payload += record.payload.len() as u64;
        totals.warnings += u64::from(record.warning.is_some());
    })?;
    let error = (!end.is_clean()).then(|| Error::new(Kind::Negative, end.to_string()));
    let error = error.map(|error| match &end {
        ScanEnd::Torn { .. } => {
            error.hint("an interrupted write, or the file is not complete: fetch it again if there is a longer one")
        }
        _ => error.hint("compare with the copies on other hosts: log verify tells how far each is good"),
    });
    if args.json || ctx.ui.is_structured() {
        let end = EndJson::from(&end);
        let report = Report { totals, end };
        ctx.ui.document("LogCheck", &report)?;
        ctx.ui.line(&json_line(&report)?);
    } else {
        ctx.ui.line(&format!(
            "{} records, {} to be applied, {} bytes of payload, {} warnings, good up to {}",
            totals.records,
            totals.applied,
            totals.payload,
            totals.warnings,
            end.position(),
        ));
    }
    error.map_or(Ok(()), Err)
}
