//! Checks of a backing disk on this machine before a resource is made of it.

use crate::error::{Error, Kind, Result};
use crate::limits::{RESOURCE_SIZE_MIN, RESOURCE_SIZE_UNIT};
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// What `disk-error` is where nothing is recorded of a disk that fits: one of the original, or of an earlier life.
const NOT_RECORDED: i64 = -61;

/// What to do after a `disk-error`, that of a cluster of ours or not; `on` puts program and host before a command, and the
/// resource behind it.
pub(crate) fn after_error(code: i64, ours: bool, res: &str, on: impl Fn(&str) -> String) -> String {
    if ours && code == NOT_RECORDED {
        return on(&format!(
            "take-over {res} --from DIR, or marsadm invalidate {res} for a full sync; then marsadm up"
        ));
    }
    format!("mend the disk, then {}", on("attach"))
}

/// A disk that passed the checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Absolute path as given.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// Checks that `path` is an absolute path of a block device or a regular file that can be read and written and
/// is not mounted, and learns its size. Changes nothing.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn probe(path: &Path) -> Result<Disk> {
    let shown = path.display();
    let text = path
        .to_str()
        .filter(|text| !text.contains('\n'))
        .ok_or_else(|| Error::refused(format!("the path of disk {shown} is not plain text")))?;
    if !path.is_absolute() {
        return Err(Error::usage(format!("disk '{shown}' is no absolute path"))
            .hint("name the disk from the root, for example /dev/vg/mydata"));
    }
    let meta = fs::metadata(path).map_err(|error| io_error(path, "cannot be found", &error))?;
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_file() {
        return Err(Error::refused(format!(
            "disk {shown} is neither a block device nor a regular file"
        )));
    }
    if let Some(place) = mounted_at(path, &meta)? {
        return Err(
            Error::refused(format!("disk {shown} is mounted at {}", place.display()))
                .hint(format!("umount {} first", place.display())),
        );
    }
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| io_error(path, "cannot be opened for writing", &error))?;
    let size = file
        .seek(SeekFrom::End(0))
        .map_err(|error| io_error(path, "does not tell its size", &error))?;
    Ok(Disk {
        path: text.to_owned(),
        size,
    })
}

/// The size that a resource on `disk` will have: `wanted`, or the whole disk.
///
/// # Errors
/// If it does not fit, is too small, or no multiple of 4096.
pub fn resource_size(disk: &Disk, wanted: Option<u64>) -> Result<u64> {
    let size = wanted.unwrap_or(disk.size);
    if size > disk.size {
        return Err(Error::refused(format!(
            "the wanted size of {size} bytes is larger than disk {} ({} bytes)",
            disk.path, disk.size
        )));
    }
    if size < RESOURCE_SIZE_MIN {
        return Err(Error::refused(format!(
            "a size of {size} bytes is too small: a resource has at least {RESOURCE_SIZE_MIN} bytes"
        )));
    }
    if !size.is_multiple_of(RESOURCE_SIZE_UNIT) {
        return Err(Error::refused(format!(
            "a size of {size} bytes is not a multiple of {RESOURCE_SIZE_UNIT}"
        ))
        .hint(format!(
            "give the size explicitly: {}",
            size - size % RESOURCE_SIZE_UNIT
        )));
    }
    Ok(size)
}

/// Whether two paths name the same disk.
#[must_use]
pub fn same_disk(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let identity = |path: &str| {
        let meta = fs::metadata(path).ok()?;
        Some(if meta.file_type().is_block_device() {
            (0, meta.rdev())
        } else {
            (meta.dev() + 1, meta.ino())
        })
    };
    matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b)
}

fn io_error(path: &Path, what: &str, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Refused,
    };
    Error::new(kind, format!("disk {} {what}: {error}", path.display()))
        .hint("check the path; marsadm must run on the machine that has the disk")
}

/// Where the disk is mounted, directly or through a loop device.
fn mounted_at(path: &Path, meta: &fs::Metadata) -> Result<Option<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Error::internal(format!("the list of mounts cannot be read: {error}")))?;
    let mut devices = loop_devices_of(path);
    if meta.file_type().is_block_device() {
        let (major, minor) = (
            rustix::fs::major(meta.rdev()),
            rustix::fs::minor(meta.rdev()),
        );
        devices.push(format!("{major}:{minor}"));
    }
    Ok(find_mount(&text, &devices))
}

fn find_mount(mountinfo: &str, devices: &[String]) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?;
        let place = fields.nth(1)?;
        devices
            .iter()
            .any(|d| d == device)
            .then(|| PathBuf::from(place.replace("\\040", " ")))
    })
}

/// Device numbers of the loop devices that use the file.
fn loop_devices_of(path: &Path) -> Vec<String> {
    let Ok(real) = fs::canonicalize(path) else {
        return Vec::new();
    };
    let Ok(dir) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    dir.flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("loop"))
        .filter(|entry| {
            fs::read_to_string(entry.path().join("loop/backing_file"))
                .is_ok_and(|backing| Path::new(backing.trim_end()) == real)
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
        .map(|dev| dev.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_taken_with_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.img");
        fs::write(&path, vec![0; 70_000]).unwrap();
        let disk = probe(&path).unwrap();
        assert_eq!(disk.size, 70_000);
        let error = resource_size(&disk, None).unwrap_err();
        assert!(error.why.contains("multiple"));
        assert!(error.hint.unwrap().contains("69632"));
        assert_eq!(resource_size(&disk, Some(65_536)).unwrap(), 65_536);
        assert!(resource_size(&disk, Some(73_728)).is_err());
        assert!(resource_size(&disk, Some(4096)).is_err());
        let link = dir.path().join("l.img");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(same_disk(path.to_str().unwrap(), link.to_str().unwrap()));
        assert!(!same_disk(path.to_str().unwrap(), "/dev/null"));
    }

    #[test]
    fn what_is_no_disk_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        assert!(probe(dir.path()).unwrap_err().why.contains("neither"));
        assert!(
            probe(Path::new("d.img"))
                .unwrap_err()
                .why
                .contains("absolute")
        );
        let missing = probe(&dir.path().join("none")).unwrap_err();
        assert!(missing.why.contains("cannot be found"), "{missing}");
    }

    #[test]
    fn mounts_are_found_by_device_number() {
        let info = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n";
        assert_eq!(
            find_mount(info, &["98:0".to_owned()]),
            Some(PathBuf::from("/mnt 2"))
        );
        assert_eq!(find_mount(info, &["98:1".to_owned()]), None);
    }
}
