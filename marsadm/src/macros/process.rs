//! `--snapshot FILE` on the command line of the process.

use super::{answer, template_dirs};
use crate::error::{Error, Kind};
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::snapshot::{Snapshot, parse};
use crate::ui::Ui;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Answers the command line from a snapshot if it has the option `--snapshot`; all of it then follows the original's
/// syntax.
#[must_use]
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let (file, argv) = match split(args)? {
        Ok(split) => split,
        Err(error) => return Some(failed(&error)),
    };
    let snapshot = match load(&file) {
        Ok(snapshot) => snapshot,
        Err(error) => return Some(failed(&error)),
    };
    let dirs = template_dirs(
        std::env::var_os("MARS_PATH").as_deref(),
        std::env::var_os("HOME").as_deref(),
        rustix::process::geteuid().is_root(),
    );
    let answer = answer(&argv, &snapshot, &dirs);
    let ui = Ui::process(false);
    // Both end in a newline of their own.
    if let Some(text) = answer.stderr.strip_suffix('\n') {
        ui.note(text);
    }
    if let Some(text) = answer.stdout.strip_suffix('\n') {
        ui.line(text);
    }
    Some(ExitCode::from(answer.exit))
}

fn failed(error: &Error) -> ExitCode {
    Ui::process(false).error("marsadm", error);
    ExitCode::from(error.kind.exit_code())
}

/// Takes the option and its value out of the arguments; nothing if it is not there, or if help is wanted.
fn split(args: &[OsString]) -> Option<Result<(PathBuf, Vec<String>), Error>> {
    let mut file: Option<PathBuf> = None;
    let mut argv = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            // Only the name of the file may be anything.
            return file.map(|_| Err(Error::usage("an argument is no UTF-8")));
        };
        match text.strip_prefix("--snapshot=") {
            Some(path) => file = Some(path.into()),
            None if text == "--snapshot" => match rest.next() {
                Some(path) => file = Some(path.into()),
                None => return Some(Err(Error::usage("--snapshot needs the name of a file"))),
            },
            None if matches!(text, "--help" | "-h") => return None,
            None => argv.push(text.to_owned()),
        }
    }
    if argv.first().is_some_and(|word| word == "help") {
        return None;
    }
    file.map(|file| Ok((file, argv)))
}

/// Reads a snapshot file.
///
/// # Errors
/// The file cannot be read, is too long, or is no snapshot.
pub fn load(path: &Path) -> Result<Snapshot, Error> {
    let what = format!("--snapshot {}", path.display());
    let limit = u64::try_from(SNAPSHOT_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_string(&mut text))
        .map_err(|error| {
            Error::new(Kind::NotFound, format!("the file cannot be read: {error}"))
                .hint("name a file in the format mars-snapshot/1")
                .about(&what)
        })?;
    parse(&text).map_err(|error| {
        Error::usage(error.to_string())
            .hint("take the snapshot again, or mend the line")
            .about(&what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_option_stands_anywhere() {
        for line in [
            "marsadm --snapshot f view r",
            "marsadm view --snapshot=f r",
            "marsadm view r --snapshot f",
        ] {
            let (file, argv) = split(&words(line)).unwrap().unwrap();
            assert_eq!(file, PathBuf::from("f"));
            assert_eq!(argv, ["view", "r"]);
        }
        assert!(split(&words("marsadm view r")).is_none());
        assert!(split(&words("marsadm --snapshot f --help")).is_none());
        assert!(split(&words("marsadm view --snapshot")).unwrap().is_err());
    }
}
