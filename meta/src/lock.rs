//! Locks of files, for as long as a value lives.

use std::fs::{File, TryLockError};

/// A file locked for this value alone.
///
/// The lock is given back by name when this is dropped: closing alone would leave it to a child of another thread that is
/// between fork and exec, and has the descriptor until then. Whoever asked next would be told that the file is in use.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Locks an open file.
    ///
    /// # Errors
    /// Somebody else has the lock, or the system refuses; the file is closed.
    pub fn take(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    #[test]
    fn the_lock_goes_with_the_value_though_a_descriptor_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        // What a child has between fork and exec.
        let inherited: OwnedFd = file.try_clone().unwrap().into();
        let held = FileLock::take(file).unwrap();
        let refused = FileLock::take(File::open(&path).unwrap());
        assert!(matches!(refused, Err(TryLockError::WouldBlock)));
        drop(held);
        FileLock::take(File::open(&path).unwrap()).unwrap();
        drop(inherited);
    }
}
