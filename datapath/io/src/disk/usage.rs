//! Who uses a disk already.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::limits::MAX_MOUNT_TABLE;

/// A use of a disk that excludes ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InUse {
    /// A filesystem of it is mounted.
    Mounted(String),
    /// Another device stands on it (mapper, RAID, LVM).
    Held(String),
    /// A loop device shows it.
    Loop(PathBuf),
    /// The kernel or another program has claimed it exclusively.
    Claimed,
    /// Another process has locked it.
    Locked,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted(place) => write!(f, "mounted on {place}"),
            Self::Held(holder) => write!(f, "device {holder} stands on it"),
            Self::Loop(device) => write!(f, "shown by loop device {}", device.display()),
            Self::Claimed => f.write_str("claimed exclusively by the kernel or another program"),
            Self::Locked => f.write_str("locked by another process"),
        }
    }
}

/// Use of the block device with number `rdev`.
pub(super) fn of_block_device(rdev: u64) -> io::Result<Option<InUse>> {
    let number = format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev));
    let mut table = String::new();
    File::open("/proc/self/mountinfo")?
        .take(MAX_MOUNT_TABLE)
        .read_to_string(&mut table)?;
    if let Some(place) = mounted_on(&table, &number) {
        return Ok(Some(InUse::Mounted(place)));
    }
    let holders = Path::new("/sys/dev/block").join(number).join("holders");
    let first = match std::fs::read_dir(holders) {
        Ok(mut entries) => entries.next().transpose()?,
        // No sysfs here, or no such folder for this kind of device.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(first.map(|entry| InUse::Held(entry.file_name().to_string_lossy().into_owned())))
}

/// Use of the file at the canonical path `path`.
pub(super) fn of_file(path: &Path) -> io::Result<Option<InUse>> {
    loop_on(Path::new("/sys/block"), path)
}

/// The first place where a device is mounted, from the text of `/proc/self/mountinfo`.
fn mounted_on(table: &str, number: &str) -> Option<String> {
    // Fields: id, parent, major:minor, root, mount point, ...
    let mut lines = table.lines().map(|line| line.split(' ').skip(2));
    lines.find_map(|mut fields| {
        let device = fields.next()?;
        let place = fields.nth(1)?;
        (device == number).then(|| place.to_owned())
    })
}

/// The first loop device that shows the file `path`.
fn loop_on(sys_block: &Path, path: &Path) -> io::Result<Option<InUse>> {
    let entries = match std::fs::read_dir(sys_block) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("loop") {
            continue;
        }
        // Only bound loop devices have the file; they may vanish at any moment.
        let Ok(backing) = std::fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        if Path::new(backing.trim_end_matches('\n')) == path {
            return Ok(Some(InUse::Loop(Path::new("/dev").join(name))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_by_device_number() {
        let table = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                     30 22 8:17 /sub /mnt/a\\040b rw - ext4 /dev/sdb1 rw\n\
                     31 22 0:25 / /run rw - tmpfs tmpfs rw\nbroken\n";
        assert_eq!(mounted_on(table, "8:1").as_deref(), Some("/"));
        assert_eq!(mounted_on(table, "8:17").as_deref(), Some("/mnt/a\\040b"));
        assert_eq!(mounted_on(table, "8:2"), None);
        assert_eq!(mounted_on("", "8:2"), None);
    }

    #[test]
    fn loop_devices_are_found_by_their_file() {
        let sys = tempfile::tempdir().unwrap();
        for (name, backing) in [
            ("loop0", Some("/a\n")),
            ("loop1", None),
            ("loop2", Some("/b\n")),
        ] {
            let folder = sys.path().join(name).join("loop");
            std::fs::create_dir_all(&folder).unwrap();
            if let Some(text) = backing {
                std::fs::write(folder.join("backing_file"), text).unwrap();
            }
        }
        let found = loop_on(sys.path(), Path::new("/b")).unwrap();
        assert_eq!(found, Some(InUse::Loop("/dev/loop2".into())));
        assert_eq!(loop_on(sys.path(), Path::new("/c")).unwrap(), None);
        assert_eq!(
            loop_on(&sys.path().join("none"), Path::new("/c")).unwrap(),
            None
        );
    }
}
