//! Files that decide what this user does: whoever may write one may do as much.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// Whether a file or folder belongs to root or to this user, and nobody else may write it.
///
/// # Errors
/// Who else may.
pub(crate) fn trusted(meta: &Metadata) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != me {
        return Err(format!("it belongs to user {}", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!(
            "others may write it (mode {:04o})",
            meta.mode() & 0o7777
        ));
    }
    Ok(())
}
