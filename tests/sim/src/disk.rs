//! The disk of a simulated node: what was committed outlives the process; backups, and commits that fail.

use mars_meta_model::testing::MemStore;
use mars_meta_model::{Entry, Store, Write};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFailure {
    /// No space: nothing was written. That a start without space leaves what is there as it was, is tested with the store
    /// on a real file system (`meta/tests/it/full_disk.rs`).
    NothingWritten,
    /// Everything was written, but the answer was an error.
    AllWritten,
}

/// A commit that failed.
#[derive(Clone, Copy, Debug)]
pub struct DiskError(DiskFailure);

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated disk failure: {:?}", self.0)
    }
}

impl std::error::Error for DiskError {}

/// Commits that a lying disk keeps in memory before it writes them out.
const LIE_LEN: u32 = 8;

#[derive(Debug, Default)]
struct State {
    /// What the process sees.
    seen: MemStore,
    /// What a crash leaves, if that is something else.
    durable: Option<MemStore>,
    unwritten: u32,
    fails: Option<DiskFailure>,
    forgets_ceiling: bool,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// A copy of a disk at some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backup(MemStore);

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A fault: commits are answered before they are durable.
    pub(crate) fn lie(&self) {
        let mut state = self.lock();
        if state.durable.is_none() {
            state.durable = Some(state.seen.clone());
        }
    }

    /// A fault: the local record of the clock's ceiling is not found again.
    pub(crate) fn forget_ceiling(&self) {
        self.lock().forgets_ceiling = true;
    }

    /// Lets the next commit fail.
    pub(crate) fn fail_next(&self, how: DiskFailure) {
        self.lock().fails = Some(how);
    }

    /// The next commit works after all.
    pub(crate) fn mend(&self) {
        self.lock().fails = None;
    }

    /// The process is gone: what was not durable is lost.
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        state.fails = None;
        if let Some(durable) = state.durable.clone() {
            state.seen = durable;
            state.unwritten = 0;
        }
    }

    pub(crate) fn back_up(&self) -> Backup {
        let state = self.lock();
        Backup(state.durable.as_ref().unwrap_or(&state.seen).clone())
    }

    pub(crate) fn restore(&self, backup: &Backup) {
        let mut state = self.lock();
        state.seen = backup.0.clone();
        if state.durable.is_some() {
            state.durable = Some(backup.0.clone());
        }
    }

    /// All that is stored.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut found = Vec::new();
        let Ok(()) = self.lock().seen.load(&mut |entry| found.push(entry));
        found
    }
}

impl Store for Disk {
    type Error = DiskError;

    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), DiskError> {
        let Ok(()) = self.lock().seen.load(sink);
        Ok(())
    }

    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), DiskError> {
        let mut state = self.lock();
        let fails = state.fails.take();
        if fails != Some(DiskFailure::NothingWritten) {
            let Ok(()) = state.seen.commit(writes);
        }
        if let Some(how) = fails {
            return Err(DiskError(how));
        }
        if state.durable.is_some() {
            state.unwritten += 1;
            if state.unwritten >= LIE_LEN {
                state.unwritten = 0;
                state.durable = Some(state.seen.clone());
            }
        }
        Ok(())
    }

    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let mut state = self.lock();
        if state.forgets_ceiling && name == "ceiling" {
            return Ok(None);
        }
        let Ok(found) = state.seen.local(name);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::{entry, store_conformance};

    #[test]
    fn the_disk_conforms() {
        let disk = Disk::default();
        store_conformance(|| disk.clone());
        disk.crash();
        assert!(!disk.entries().is_empty(), "what was committed stays");
    }

    #[test]
    fn a_lying_disk_loses_the_last_commits_and_a_failed_commit_is_all_or_nothing() {
        let mut disk = Disk::default();
        disk.lie();
        disk.commit(&[Write::Put(&entry("a", Some("1"), 1, 1))])
            .unwrap();
        disk.crash();
        assert!(disk.entries().is_empty());
        for (how, left) in [
            (DiskFailure::NothingWritten, 0),
            (DiskFailure::AllWritten, 1),
        ] {
            let mut disk = Disk::default();
            disk.fail_next(how);
            let write = entry("a", Some("1"), 1, 1);
            assert!(disk.commit(&[Write::Put(&write)]).is_err());
            assert_eq!(disk.entries().len(), left);
            disk.commit(&[Write::Put(&write)]).unwrap();
        }
    }

    #[test]
    fn a_restored_disk_is_the_old_one() {
        let mut disk = Disk::default();
        disk.commit(&[Write::Put(&entry("a", Some("1"), 1, 1))])
            .unwrap();
        let backup = disk.back_up();
        disk.commit(&[Write::Put(&entry("a", Some("2"), 2, 1))])
            .unwrap();
        disk.restore(&backup);
        assert_eq!(disk.entries(), [entry("a", Some("1"), 1, 1)]);
    }
}
