//! The file beside an exported tree, `DIR.mars-extra`: names of this system, which the original does not know.
//! `docs/spec/legacy-export.md`, section 9.

use super::ExportPlan;
use super::own::is_own;
use super::write::{Result, WriteExportError, io};
use crate::limits::EXTRA_BYTES_MAX;
use crate::place::parts_of;
use crate::{Object, ObjectKind, Scan, show_bytes};
use mars_lamport::Timestamp;
use mars_meta_model::{Key, TOMBSTONE_TEXT};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

const FIRST_LINE: &str = "mars-extra v1";
const SUFFIX: &str = ".mars-extra";

/// Why a file beside a tree is not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ExtraError {
    /// It cannot be read.
    #[error("'{}' cannot be read: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is none, or not whole.
    #[error("'{}' is not what an export writes beside its tree: line {line} {why}", .path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Where, from 1 on.
        line: usize,
        /// Why.
        why: &'static str,
    },
    /// It belongs to another tree.
    #[error("'{}' belongs to a tree with another uuid ({})", .path.display(), .uuid)]
    OtherTree {
        /// The file.
        path: PathBuf,
        /// The uuid that it names, escaped.
        uuid: String,
    },
}

/// The file beside the tree at `dir`; none if the folder has no name, or is not there.
fn path_beside(dir: &Path) -> Option<PathBuf> {
    let dir = std::fs::canonicalize(dir).ok()?;
    let mut name = OsString::from(dir.file_name()?);
    name.push(SUFFIX);
    Some(dir.with_file_name(name))
}

fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'!'..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            // Writing into a String cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02x}");
            }
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'!'..=b'~' => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

fn text_of(plan: &ExportPlan) -> String {
    let mut out = format!("{FIRST_LINE}\n");
    let uuid = plan.links.iter().find(|link| link.key.as_str() == "uuid");
    if let Some(uuid) = uuid {
        out.push_str("uuid ");
        escape(uuid.target(), &mut out);
        out.push('\n');
    }
    for link in &plan.beside {
        escape(link.key.as_str().as_bytes(), &mut out);
        let _ = write!(out, " {} ", link.stamp);
        match link.cell.value() {
            Some(value) => {
                out.push('=');
                escape(value.as_bytes(), &mut out);
            }
            None => out.push_str(TOMBSTONE_TEXT),
        }
        out.push('\n');
    }
    let _ = writeln!(out, "end {}", plan.beside.len());
    out
}

/// Writes the file beside the tree at `dir`, in place of one of an earlier export; nothing else is ever replaced.
pub(super) fn write_beside(dir: &Path, plan: &ExportPlan) -> Result<()> {
    let Some(path) = path_beside(dir) else {
        return Err(WriteExportError::NoParent(dir.to_owned()));
    };
    let shown = path.display().to_string();
    let shown = shown.as_str();
    let failed = |action| {
        move |error: std::io::Error| WriteExportError::Io {
            path: show_bytes(shown.as_bytes()),
            action,
            source: error,
        }
    };
    let in_the_way = || WriteExportError::InTheWay {
        path: show_bytes(shown.as_bytes()),
        found: "something else",
        wanted: "the file beside an export",
    };
    match path.symlink_metadata() {
        Ok(meta) if !meta.is_file() => return Err(in_the_way()),
        Ok(_) => {
            let mut first = vec![0; FIRST_LINE.len()];
            let mut file = open(&path).map_err(failed("used"))?;
            if file.read_exact(&mut first).is_err() || first != FIRST_LINE.as_bytes() {
                return Err(in_the_way());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("used")(error)),
    }
    let mut temporary = path.clone().into_os_string();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    match rustix::fs::unlinkat(CWD, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(io(shown, "made", errno)),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, &temporary, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| io(shown, "made", errno))?;
    let mut file = File::from(file);
    file.write_all(text_of(plan).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(failed("written"))?;
    let around = path.parent().unwrap_or(Path::new("/"));
    File::open(around)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("flushed"))
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::openat(
        CWD,
        path,
        flags,
        Mode::empty(),
    )?))
}

/// Adds what lies beside the tree at `dir` to what was listed of the tree, as if it were links in it; of both, the later one
/// counts. Gives the number of names, or nothing if there is no such file.
///
/// # Errors
/// [`ExtraError`]; then the listing is as it was.
pub fn add_beside(dir: &Path, scan: &mut Scan) -> Result<Option<usize>, ExtraError> {
    let Some(path) = path_beside(dir) else {
        return Ok(None);
    };
    let failed = |source| ExtraError::Io {
        path: path.clone(),
        source,
    };
    let file = match open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no file")));
    }
    file.take(EXTRA_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let (uuid, more) = parse(&text).map_err(|(line, why)| ExtraError::Bad {
        path: path.clone(),
        line,
        why,
    })?;
    let of_tree = scan.objects.iter().find(|object| object.path == b"uuid");
    let of_tree = of_tree.and_then(|object| match &object.kind {
        ObjectKind::Link { value } => Some(&**value),
        _ => None,
    });
    if let (Some(uuid), Some(of_tree)) = (&uuid, of_tree)
        && uuid != of_tree
    {
        return Err(ExtraError::OtherTree {
            path,
            uuid: show_bytes(uuid),
        });
    }
    let count = more.len();
    let mut new = Vec::new();
    for object in more {
        let place = scan
            .objects
            .binary_search_by(|held| held.path.cmp(&object.path));
        match place.ok().and_then(|at| scan.objects.get_mut(at)) {
            Some(held) if held.mtime_ns < object.mtime_ns => *held = object,
            Some(_) => {}
            None => new.push(object),
        }
    }
    scan.objects.append(&mut new);
    scan.objects.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Some(count))
}

type Parsed = (Option<Vec<u8>>, Vec<Object>);

/// All or nothing: line and reason of the first fault.
fn parse(text: &str) -> Result<Parsed, (usize, &'static str)> {
    let mut lines = (1..).zip(text.split('\n'));
    if lines.next().map(|(_, line)| line) != Some(FIRST_LINE) {
        return Err((1, "is not 'mars-extra v1'"));
    }
    let (mut uuid, mut objects) = (None, Vec::<Object>::new());
    while let Some((number, line)) = lines.next() {
        let bad = |why| (number, why);
        if let (2, Some(text)) = (number, line.strip_prefix("uuid ")) {
            uuid = Some(unescape(text).ok_or(bad("holds a wrong escape"))?);
            continue;
        }
        if let Some(count) = line.strip_prefix("end ") {
            let last =
                lines.next().is_some_and(|(_, rest)| rest.is_empty()) && lines.next().is_none();
            return if last && count.parse() == Ok(objects.len()) {
                Ok((uuid, objects))
            } else {
                Err(bad("counts other lines than there are"))
            };
        }
        let object = object(line).map_err(bad)?;
        if objects.last().is_some_and(|last| last.path >= object.path) {
            return Err(bad("is not in order"));
        }
        objects.push(object);
    }
    Err((
        text.split('\n').count(),
        "is not the end: the file was cut off",
    ))
}

fn object(line: &str) -> Result<Object, &'static str> {
    let mut fields = line.split(' ');
    let (Some(key), Some(stamp), Some(cell), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("has not three fields");
    };
    let path = unescape(key).ok_or("holds a wrong escape")?;
    let is_key = std::str::from_utf8(&path).is_ok_and(|text| Key::parse(text).is_ok());
    if !is_key || !is_own(&parts_of(&path)) {
        return Err("names no key of this system");
    }
    let stamp: Timestamp = stamp.parse().map_err(|_| "has no stamp")?;
    let value = match cell.strip_prefix('=') {
        Some(value) => unescape(value).ok_or("holds a wrong escape")?,
        None if cell == TOMBSTONE_TEXT => TOMBSTONE_TEXT.as_bytes().to_vec(),
        None => return Err("has no value"),
    };
    Ok(Object {
        path,
        kind: ObjectKind::Link {
            value: value.into(),
        },
        mtime_ns: stamp.as_nanos().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> (usize, &'static str) {
        parse(text).unwrap_err()
    }

    #[test]
    fn only_whole_files_are_taken() {
        let key = "actual-h/datapath 5.000000007 =1%25%0a";
        let whole = format!("mars-extra v1\nuuid a%20b\n{key}\nend 1\n");
        let (uuid, objects) = parse(&whole).unwrap();
        assert_eq!(uuid.as_deref(), Some(&b"a b"[..]));
        assert_eq!(objects[0].mtime_ns, 5_000_000_007);
        let ObjectKind::Link { value } = &objects[0].kind else {
            panic!("{objects:?}");
        };
        assert_eq!(&**value, b"1%\n");
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "cut off at {end}");
        }
        assert_eq!(why(&format!("{whole}x")).0, 4);
        assert_eq!(why("mars-extra v2\nend 0\n").0, 1);
    }

    #[test]
    fn only_names_of_this_system_are_taken() {
        let one = |line: &str| why(&format!("mars-extra v1\n{line}\nend 1\n"));
        for line in [
            "resource-r/primary 5.000000000 =h",
            "roster/h 5.000000000 =x",
            "../actual-h/datapath 5.000000000 =x",
            "actual-h/datapath/.. 5.000000000 =x",
        ] {
            assert_eq!(one(line), (2, "names no key of this system"), "{line}");
        }
        for (line, reason) in [
            ("actual-h/datapath 5.000000000", "has not three fields"),
            ("actual-h/datapath x =1", "has no stamp"),
            ("actual-h/datapath 5.000000000 1", "has no value"),
            ("actual-h/datapath 5.000000000 =%2", "holds a wrong escape"),
        ] {
            assert_eq!(one(line), (2, reason), "{line}");
        }
        let twice = "actual-h/datapath 5.000000000 =1";
        let text = format!("mars-extra v1\n{twice}\n{twice}\nend 2\n");
        assert_eq!(why(&text), (3, "is not in order"));
    }
}
