//! Damaged stores that were set aside: kept beside the store, under a name with the time, at most [`ASIDE_KEPT_MAX`] of them.

use crate::limits::ASIDE_KEPT_MAX;
use crate::sled_store::sync_parent;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where [`set_aside`] would put the folder `path` now: `NAME.bad-SECONDS`, next to it.
#[must_use]
pub fn aside_name(path: &Path) -> PathBuf {
    let secs = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut aside = path.with_file_name(format!("{name}.bad-{secs}"));
    for more in 1..1000 {
        if !aside.exists() {
            break;
        }
        aside = path.with_file_name(format!("{name}.bad-{secs}.{more}"));
    }
    aside
}

/// Renames the folder of a store that does not open to `aside` (see [`aside_name`]). The caller decided that the node
/// starts empty and refills from its peers.
///
/// # Errors
/// If the folder cannot be renamed; it is then where it was.
pub fn set_aside(path: &Path, aside: &Path) -> io::Result<()> {
    fs::rename(path, aside)?;
    sync_parent(path)
}

/// Copies the folder of a store that nobody uses to `aside` (see [`aside_name`]): what is found there now stays, whatever
/// is done with the store later. Blocks.
///
/// # Errors
/// If it cannot be copied; nothing is left of the copy then.
pub fn copy_aside(path: &Path, aside: &Path) -> io::Result<()> {
    copy_folder(path, aside)?;
    sync_parent(path)
}

/// Copies files and folders; removes what it made if it fails.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    let copy = || -> io::Result<()> {
        fs::create_dir(to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            let target = to.join(file.file_name());
            if file.file_type()?.is_dir() {
                copy_folder(&file.path(), &target)?;
            } else {
                fs::copy(file.path(), &target)?;
                File::open(&target)?.sync_all()?;
            }
        }
        File::open(to)?.sync_all()
    };
    copy().inspect_err(|_| {
        // Half a copy is none.
        let _ = fs::remove_dir_all(to);
    })
}

/// A store that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Its folder.
    pub path: PathBuf,
    /// When it was set aside, in seconds since 1970.
    pub since: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Bytes of the files in a folder and in those below.
///
/// # Errors
/// If something in it cannot be read.
pub fn folder_bytes(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(path)? {
        let file = file?;
        let found = file.metadata()?;
        bytes += if found.is_dir() {
            folder_bytes(&file.path())?
        } else {
            found.len()
        };
    }
    Ok(bytes)
}

/// The stores that were set aside of the store in the folder `path`, oldest first. Those that cannot be read count 0 bytes.
///
/// # Errors
/// If the folder around it cannot be read.
pub fn list_aside(path: &Path) -> io::Result<Vec<Aside>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start = format!("{name}.bad-");
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut all = Vec::new();
    for file in fs::read_dir(parent.unwrap_or(Path::new(".")))? {
        let file = file?;
        let found = file.file_name();
        let Some(rest) = found.to_str().and_then(|name| name.strip_prefix(&start)) else {
            continue;
        };
        let (secs, more) = rest.split_once('.').unwrap_or((rest, "0"));
        if let (Ok(since), Ok(more)) = (secs.parse(), more.parse::<u32>()) {
            let path = file.path();
            let bytes = folder_bytes(&path).unwrap_or(0);
            all.push((since, more, Aside { path, since, bytes }));
        }
    }
    all.sort_by_key(|(since, more, _)| (*since, *more));
    Ok(all.into_iter().map(|(_, _, aside)| aside).collect())
}

/// Removes the oldest of the stores that were set aside of the store in the folder `path`, until [`ASIDE_KEPT_MAX`] are left.
/// Returns what was removed. Blocks.
///
/// # Errors
/// If one cannot be removed; it is tried again the next time.
pub fn prune_aside(path: &Path) -> io::Result<Vec<Aside>> {
    let mut all = list_aside(path)?;
    let surplus = all.len().saturating_sub(ASIDE_KEPT_MAX);
    all.truncate(surplus);
    for aside in &all {
        fs::remove_dir_all(&aside.path)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_by_name_date_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        for name in [
            "db.bad-9",
            "db.bad-100",
            "db.bad-100.1",
            "db.bad-20",
            "db.bad-100.10",
            "db.bad-x",
            "db2.bad-1",
        ] {
            fs::create_dir_all(dir.path().join(name).join("blobs")).unwrap();
            fs::write(dir.path().join(name).join("blobs/1"), name).unwrap();
        }
        let names = |all: Vec<Aside>| -> Vec<String> {
            let name = |aside: Aside| aside.path.file_name().unwrap().to_str().unwrap().to_owned();
            all.into_iter().map(name).collect()
        };
        let all = list_aside(&path).unwrap();
        assert_eq!((all[0].since, all[0].bytes), (9, 8));
        assert_eq!(
            names(all),
            [
                "db.bad-9",
                "db.bad-20",
                "db.bad-100",
                "db.bad-100.1",
                "db.bad-100.10"
            ]
        );
        assert_eq!(
            names(prune_aside(&path).unwrap()),
            ["db.bad-9", "db.bad-20"]
        );
        assert_eq!(list_aside(&path).unwrap().len(), ASIDE_KEPT_MAX);
        assert!(prune_aside(&path).unwrap().is_empty());
        assert!(dir.path().join("db.bad-x").exists() && dir.path().join("db2.bad-1").exists());
    }

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs::create_dir_all(path.join("blobs")).unwrap();
        fs::write(path.join("blobs/1"), "x").unwrap();
        let aside = aside_name(&path);
        copy_aside(&path, &aside).unwrap();
        assert_eq!(fs::read(aside.join("blobs/1")).unwrap(), b"x");
        assert_ne!(aside_name(&path), aside);
        std::os::unix::fs::symlink("nowhere", path.join("lost")).unwrap();
        let again = aside_name(&path);
        assert!(copy_aside(&path, &again).is_err());
        assert!(!again.exists());
    }
}
