//! `cat`: print files with times and error codes in words.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::macros::{errno_text, local_times};
use crate::regular::open_regular;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

/// Print files; stamps (seconds with nine decimals) become dates in UTC, `error = -5` gets its meaning. Works without
/// the daemon. Files that are not there are left out.
///
/// Example: marsadm cat /var/log/mars.log
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A file that is there and cannot be read; the others are printed.
pub fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let mut failed = None;
    for path in &args.files {
        let print = || -> std::io::Result<()> {
            for line in BufReader::new(open_regular(path)?).split(b'\n') {
                ctx.ui.line(&in_words(&String::from_utf8_lossy(&line?)));
            }
            Ok(())
        };
        match print() {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let kind = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => Kind::Denied,
                    std::io::ErrorKind::InvalidInput => Kind::Usage,
                    _ => Kind::Refused,
                };
                failed.get_or_insert(
                    Error::new(kind, format!("the file cannot be read: {error}"))
                        .hint("check the path and who may read it")
                        .about(&format!("cat {}", path.display())),
                );
            }
            _ => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A line with times and codes in words.
fn in_words(line: &str) -> String {
    let line = local_times(line, true);
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(&rest[..=at]);
        rest = after;
        let word = before.trim_end();
        let spaces = after.len() - after.trim_start().len();
        let number = after.trim_start();
        let digits = number
            .strip_prefix('-')
            .map_or(0, |n| n.bytes().take_while(u8::is_ascii_digit).count());
        if digits > 0 && (word.ends_with("error") || word.ends_with("status")) {
            let end = spaces + 1 + digits;
            out.push_str(&after[..end]);
            out.push(' ');
            out.push_str(&errno_text(&number[..=digits]));
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_codes_get_words() {
        assert_eq!(
            in_words("1699999005.200000000 disk error = -5, status=-28 x=-1"),
            "2023-11-14 21:56:45.200000000 disk error = -5 [EIO:Input/output_error], \
             status=-28 [ENOSPC:No_space_left_on_device] x=-1"
        );
        assert_eq!(in_words("a=b error=7"), "a=b error=7");
    }
}
