//! The options of the original that bear on reading.

use crate::error::Error;
use crate::error_code::Code;
use crate::macros::facts::Options;
use crate::macros::number::bytes;

/// A command line, read.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What bears on the state.
    pub(super) options: Options,
    /// Text of `--macro`.
    pub(super) macro_text: Option<String>,
    /// Whether `--host` names another host than the snapshot's.
    pub(super) foreign: bool,
    /// Whether `list-links` shows deleted keys too.
    pub(super) deleted: bool,
    /// Words that are no options: the command first.
    pub(super) words: Vec<String>,
}

/// Reads a command line; `host` took the snapshot.
///
/// # Errors
/// Which option is wrong, and why.
pub(super) fn parse(argv: &[String], host: &str) -> Result<Line, Error> {
    let mut line = Line {
        options: Options::of(host),
        macro_text: None,
        foreign: false,
        deleted: false,
        words: Vec::new(),
    };
    for arg in argv {
        // Both are words of the original too.
        let arg = match arg.as_str() {
            "--version" => "version",
            "--help" | "-h" => "help",
            _ => arg,
        };
        if arg.starts_with('-') && arg.len() > 1 {
            option(&mut line, arg).map_err(|why| {
                let error = Error::of(Code::CommandLine, why);
                error.hint("see marsadm --help and docs/macros.md")
            })?;
        } else if let Some(rest) = arg.strip_prefix("force-") {
            line.options.force += 1;
            line.words.push(rest.to_owned());
        } else {
            line.words.push(arg.to_owned());
        }
    }
    line.foreign = line.options.host != host;
    Ok(line)
}

fn option(line: &mut Line, arg: &str) -> Result<(), String> {
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
        None => (arg, None),
    };
    let options = &mut line.options;
    match (name, value) {
        ("--deleted", None) => line.deleted = true,
        ("--force" | "-f", None) => options.force += 1,
        ("--dry-run" | "-d", None) => options.dry_run = true,
        ("--verbose" | "-v", None) => options.verbose += 1,
        ("--verbose", Some(value)) => options.verbose = whole(name, value)?,
        ("--window", Some(value)) => options.window = whole(name, value)?,
        ("--timeout", Some(value)) => options.timeout = whole(name, value)?,
        ("--stuck-seconds", Some(value)) => options.stuck_seconds = whole(name, value)?,
        ("--keep-backup-hours" | "--keep-backups", Some(value)) => {
            options.keep_backup_hours = whole(name, value)?;
        }
        ("--ignore-deleted-peers", Some(value)) => options.ignore_deleted = whole(name, value)?,
        ("--threshold", Some(value)) => options.threshold = size(value)?,
        ("--host", Some(value)) if !value.is_empty() => value.clone_into(&mut options.host),
        ("--ip", Some(value)) if is_address(value) => options.ip = Some(value.to_owned()),
        ("--macro", Some(value)) => line.macro_text = Some(value.replace("\\n", "\n")),
        // These steer what a snapshot has no use for.
        ("--ignore-sync" | "--singlestep" | "--parallel" | "--no-ssh" | "--autoclean", None)
        | (
            "--parallel"
            | "--error-injection-phase"
            | "--logger"
            | "--max-deletions"
            | "--delete-method"
            | "--thresh-logfiles"
            | "--thresh-logsize"
            | "--autoclean"
            | "--systemd-enable"
            | "--backup-dir"
            | "--ssh-port"
            | "--ssh_port"
            | "--ssh-opts",
            Some(_),
        ) => {}
        (name, Some(_)) if name.starts_with("--ip-") => {}
        (name, None) => return Err(format!("option `{name}` is not known, or needs `=VALUE`")),
        (name, Some(value)) => {
            return Err(format!("option `{name}` is not known with value `{value}`"));
        }
    }
    Ok(())
}

fn is_address(text: &str) -> bool {
    let good = |c: char| c.is_ascii_hexdigit() || ".:[]".contains(c);
    !text.is_empty() && text.chars().all(good)
}

fn whole(name: &str, value: &str) -> Result<i64, String> {
    let seconds = value.parse::<i64>().ok();
    seconds
        .filter(|seconds| seconds.unsigned_abs() <= crate::limits::TIMEOUT_SECS_MAX)
        .ok_or_else(|| format!("`{name}={value}`: this is no whole number in range"))
}

fn size(value: &str) -> Result<u64, String> {
    bytes(value).ok_or_else(|| {
        format!("`--threshold={value}`: a size is a number and perhaps one of kKmMgGtTpP")
    })
}
