//! The state folder: `identity/` (key and certificates), `db/` (the store), `tokens`, `lock`.

use crate::RunError;
use mars_meta::FileLock;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folder, locked as long as this value lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: FileLock,
}

impl StateDir {
    /// Makes the folder where it is missing and locks it.
    pub(crate) fn open(root: &Path) -> Result<Self, RunError> {
        let failed = |error| RunError::StateDir {
            path: root.to_owned(),
            error,
        };
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700);
        folders.create(root.join("identity")).map_err(failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(failed)?;
        match FileLock::take(lock) {
            Ok(lock) => {
                remove_half_written(root).map_err(failed)?;
                remove_half_written(&root.join("identity")).map_err(failed)?;
                Ok(Self {
                    root: root.to_owned(),
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(RunError::Locked(root.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Folder of key and certificates.
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    /// Folder of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("db")
    }

    /// File of the roster's copy.
    pub(crate) fn roster_copy(&self) -> PathBuf {
        self.root.join("roster")
    }

    /// File of the alarm about a store that was set aside.
    pub(crate) fn alarm(&self) -> PathBuf {
        self.root.join("store-set-aside")
    }

    /// File that says how far the store had come, see `witness`.
    pub(crate) fn witness(&self) -> PathBuf {
        self.root.join("store-witness")
    }

    /// File that says when other nodes were last heard of, see `heard`.
    pub(crate) fn heard(&self) -> PathBuf {
        self.root.join("last-heard")
    }

    /// File of the join tokens that this node has issued.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }
}

/// Replaces a file that only the owner may read, so that after a crash there is the old or the new one, complete and on
/// stable storage when this returns. Beside it stands meanwhile `.NAME.tmp-PID`: several processes do not get into each
/// other's way, and what an earlier one of the same number has left behind is taken away.
///
/// # Errors
/// That of the file system; the old file is still there, the temporary one is not.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tmp = path.with_file_name(format!(".{name}.tmp-{}", std::process::id()));
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, path)
    };
    write().inspect_err(|_| {
        // Half a file is none.
        let _ = fs::remove_file(&tmp);
    })?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes what [`replace_private`] left in a folder when its process was killed. To be called where nobody else writes.
fn remove_half_written(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.contains(".tmp-") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The content of a file of at most `max` bytes; `None` if there is none.
pub(crate) fn read_small(path: &Path, max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(max).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_on_the_same_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, RunError::Locked(_)), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_half_written_goes_when_the_folder_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        replace_private(&state.tokens(), b"whole").unwrap();
        drop(state);
        let left = [
            dir.path().join(".tokens.tmp-1"),
            dir.path().join("identity/.key.tmp-77"),
        ];
        left.iter().for_each(|path| fs::write(path, b"ha").unwrap());
        let state = StateDir::open(dir.path()).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        assert_eq!(fs::read(state.tokens()).unwrap(), b"whole");
    }

    #[test]
    fn a_private_file_is_replaced_and_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        assert_eq!(read_small(&path, 10).unwrap(), None);
        replace_private(&path, b"one").unwrap();
        replace_private(&path, b"two").unwrap();
        assert_eq!(read_small(&path, 10).unwrap().as_deref(), Some("two"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What a crash left behind is no obstacle, and nothing is left behind, by a failure neither.
        let tmp = dir
            .path()
            .join(format!(".tokens.tmp-{}", std::process::id()));
        fs::write(&tmp, "half").unwrap();
        replace_private(&path, b"three").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace_private(&dir.path().join("folder"), b"four").is_err());
        let left = fs::read_dir(dir.path())
            .unwrap()
            .map(|one| one.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["folder", "tokens"]);
    }
}
