//! What tests and demonstrations share: building a legacy tree from its listing.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::path::{Path, PathBuf};

/// Why a tree was not built. What was built before is there.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    /// A line of the listing is not understood.
    #[error("line {line} of the listing: {reason}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system refused to make an object.
    #[error("'{}' cannot be made: {source}", .path.display())]
    Io {
        /// The object.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Builds the tree that the listing `tsv` describes below `dir`, which is made if it is missing.
///
/// One object a line, four fields separated by tabs: kind (`d` folder, `l` link, `f` regular file), path relative
/// to `dir`, value of a link or size of a file in bytes (which is made sparse), modification time as
/// `SECONDS.NANOSECONDS`. Folders above an object are made as needed.
///
/// # Errors
/// [`MaterializeError`]; objects of earlier lines stay. An object that exists already is an error.
pub fn materialize(tsv: &str, dir: &Path) -> Result<(), MaterializeError> {
    make_folder(dir)?;
    let mut folders = Vec::new();
    for (i, text) in tsv.lines().enumerate() {
        let error = |reason| MaterializeError::Line {
            line: i + 1,
            reason,
        };
        if text.is_empty() {
            continue;
        }
        let fields: Vec<&str> = text.split('\t').collect();
        let &[kind, relative, value, mtime] = fields.as_slice() else {
            return Err(error("four fields separated by tabs are needed"));
        };
        let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
        if relative.split('/').any(bad_part) {
            return Err(error("the path leaves the folder"));
        }
        let times = parse_time(mtime).ok_or_else(|| error("the time is no SECONDS.NANOSECONDS"))?;
        let path = dir.join(relative);
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        match kind {
            "d" => {
                make_folder(&path)?;
                folders.push((path, times));
            }
            "l" => {
                std::os::unix::fs::symlink(value, &path).map_err(|e| io(&path, e))?;
                set_times(&path, &times)?;
            }
            "f" => {
                let size = value
                    .parse()
                    .map_err(|_| error("the size of a file is no number"))?;
                let file = std::fs::File::create_new(&path).map_err(|e| io(&path, e))?;
                file.set_len(size).map_err(|e| io(&path, e))?;
                set_times(&path, &times)?;
            }
            _ => return Err(error("the kind is none of d, l, f")),
        }
    }
    // Last, because making an object touches the folder around it.
    folders
        .iter()
        .try_for_each(|(path, times)| set_times(path, times))
}

/// Sets the modification time of an object itself, also of a link, in ns since the epoch.
///
/// # Errors
/// [`MaterializeError::Io`] if the system refuses; nothing was changed.
pub fn set_mtime(path: &Path, mtime_ns: i128) -> Result<(), MaterializeError> {
    let out_of_range = || io(path, std::io::ErrorKind::InvalidInput.into());
    let secs = i64::try_from(mtime_ns.div_euclid(1_000_000_000)).map_err(|_| out_of_range())?;
    let nanos = i64::try_from(mtime_ns.rem_euclid(1_000_000_000)).map_err(|_| out_of_range())?;
    set_times(path, &times_of(secs, nanos))
}

const fn times_of(secs: i64, nanos: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn parse_time(text: &str) -> Option<Timestamps> {
    let (secs, nanos) = text.split_once('.')?;
    let ok = nanos.len() == 9 && nanos.bytes().all(|b| b.is_ascii_digit());
    Some(times_of(
        secs.parse().ok()?,
        nanos.parse().ok().filter(|_| ok)?,
    ))
}

fn set_times(path: &Path, times: &Timestamps) -> Result<(), MaterializeError> {
    rustix::fs::utimensat(CWD, path, times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| io(path, errno.into()))
}

fn make_folder(path: &Path) -> Result<(), MaterializeError> {
    std::fs::create_dir_all(path).map_err(|e| io(path, e))
}

fn io(path: &Path, source: std::io::Error) -> MaterializeError {
    MaterializeError::Io {
        path: path.to_owned(),
        source,
    }
}
