//! `log dump`: list records.

use super::log_file::{EndJson, Source, json_line};
use crate::context::Ctx;
use crate::error::Result;
use crate::output::Format;
use mars_migrations::legacy_log::{Code, Record};
use serde::Serialize;

/// List the records of a logfile of the original, and how it ends. Payloads are checked, not shown.
///
/// The list stops at the first record that is cut off or damaged; that is no failure of this command (see log verify).
///
/// Example: marsadm log dump /mars/resource-mydata/log-000000001-hosta
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The logfile
    #[command(flatten)]
    pub source: Source,
    /// Print a JSON object per line: one for each record, and the last one for the end
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    if ctx.ui.is_structured() {
        return documents(ctx, args);
    }
    if !args.json {
        args.source.check()?;
        ctx.ui
            .line("position length sequence stamp code offset bytes checksum stored");
    }
    let mut failure = Ok(());
    let end = args.source.scan(|record| {
        if args.json {
            match json_line(&Row::from(&record)) {
                Ok(line) => ctx.ui.line(&line),
                Err(error) => failure = Err(error),
            }
        } else {
            ctx.ui.line(&text(&record));
        }
    })?;
    failure?;
    if args.json {
        let end = EndJson::from(&end);
        ctx.ui.line(&json_line(&Last { end })?);
    } else {
        ctx.ui.line(&end.to_string());
    }
    Ok(())
}

/// The records for programs: with `ndjson` each at once, because a log may be larger than memory.
fn documents(ctx: &Ctx, args: &Args) -> Result<()> {
    let stream = ctx.ui.format() == Format::Ndjson;
    let mut failure = Ok(());
    let mut records = Vec::new();
    let end = args.source.scan(|record| {
        let row = Row::from(&record);
        if stream {
            if let Err(error) = ctx.ui.stream("LogRecord", &row) {
                failure = Err(error);
            }
        } else {
            records.push(row);
        }
    })?;
    failure?;
    let end = EndJson::from(&end);
    if stream {
        return ctx.ui.stream("LogEnd", &end);
    }
    ctx.ui.document("LogDump", &Dump { records, end })
}

#[derive(Serialize)]
struct Dump {
    records: Vec<Row>,
    end: EndJson,
}

fn code_name(code: Code) -> String {
    match code {
        Code::New => "new".to_owned(),
        Code::Old => "old".to_owned(),
        Code::Other(number) => format!("code={number}"),
    }
}

fn text(record: &Record) -> String {
    let packed = record.compression.map_or("plain", |kind| kind.name());
    let mut line = format!(
        "{} {} {} {} {} {} {} {} {packed}",
        record.position,
        record.total_length,
        record.sequence,
        time(record.stamp_secs, record.stamp_nanos),
        code_name(record.code),
        record.offset,
        record.payload.len(),
        record.checksum.name(),
    );
    if record.compression.is_some() {
        line.push_str(&format!("={}", record.stored_length));
    }
    if let Some((seconds, nanoseconds)) = record.written {
        line.push_str(&format!(" written={}", time(seconds, nanoseconds)));
    }
    if let Some(warning) = record.warning {
        line.push_str(&format!(" warning={}", warning.mars_code()));
    }
    line
}

/// Seconds and nanoseconds as they are stored; the latter are only made to look like a fraction if they are one.
fn time(seconds: i64, nanoseconds: i64) -> String {
    match nanoseconds {
        0..1_000_000_000 => format!("{seconds}.{nanoseconds:09}"),
        _ => format!("{seconds}+{nanoseconds}ns"),
    }
}

#[derive(Serialize)]
struct Last {
    end: EndJson,
}

#[derive(Serialize)]
struct Row {
    position: u64,
    length: usize,
    sequence: u32,
    stamp: [i64; 2],
    written: Option<[i64; 2]>,
    code: i16,
    applied: bool,
    offset: u64,
    bytes: usize,
    stored: usize,
    compression: Option<&'static str>,
    checksum: &'static str,
    warning: Option<u32>,
}

impl From<&Record> for Row {
    fn from(record: &Record) -> Self {
        Self {
            position: record.position,
            length: record.total_length,
            sequence: record.sequence,
            stamp: [record.stamp_secs, record.stamp_nanos],
            written: record.written.map(<[i64; 2]>::from),
            code: record.code.number(),
            applied: record.is_applied(),
            offset: record.offset,
            bytes: record.payload.len(),
            stored: record.stored_length,
            compression: record.compression.map(|kind| kind.name()),
            checksum: record.checksum.name(),
            warning: record.warning.map(|warning| warning.mars_code()),
        }
    }
}
