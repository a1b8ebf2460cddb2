//! Reading and replacing the small files of the state folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits::MAX_IDENTITY_FILE;

/// Only the owner may read.
pub(crate) const PRIVATE: u32 = 0o600;
/// Everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// A file of the state folder could not be replaced; the old one, if any, is still complete.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; check the folder's owner, mode and free space", path.display())]
pub struct SaveError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Replaces `dir/name` so that after a crash there is either the old or the new file, complete
/// and on stable storage when this returns.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), SaveError> {
    let path = dir.join(name);
    let tmp = dir.join(format!(".{name}.tmp"));
    replace_io(dir, &path, &tmp, bytes, mode).map_err(|source| SaveError { path, source })
}

fn replace_io(dir: &Path, path: &Path, tmp: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(tmp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(tmp)?;
    // The mode of `open` is cut by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(tmp, path)?;
    File::open(dir)?.sync_all()
}

/// The content of a small file and its permission bits. The buffer is wiped when dropped.
pub(crate) fn read(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.len() > MAX_IDENTITY_FILE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} bytes, more than the {MAX_IDENTITY_FILE} allowed",
                meta.len()
            ),
        ));
    }
    // Room for all of it at once, so that no copy is left behind by growing.
    let room = usize::try_from(meta.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_IDENTITY_FILE).read_to_end(&mut bytes)?;
    Ok((bytes, meta.permissions().mode() & 0o777))
}
