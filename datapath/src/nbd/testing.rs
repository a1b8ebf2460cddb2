//! A device in memory, for tests and examples.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::block::{
    BlockError, BlockFuture, BlockTarget, Closer, DeviceInfo, ExportEntry, Exports, Extent,
    OpenDevice, OpenError, closing_pair,
};

/// Granularity in which [`MemTarget`] tells zeroes from data.
const STATUS_BLOCK: usize = 4096;

/// A block device in memory. Forgets everything with the process, so flush only counts.
#[derive(Debug)]
pub struct MemTarget {
    info: DeviceInfo,
    bytes: Mutex<Vec<u8>>,
    flushes: AtomicU64,
    forced: AtomicU64,
}

impl MemTarget {
    /// A device of zeroes as described; a size that does not fit into memory gives an empty one.
    #[must_use]
    pub fn new(mut info: DeviceInfo) -> Self {
        let size = usize::try_from(info.size).unwrap_or(0);
        info.size = u64::try_from(size).unwrap_or(0);
        Self {
            info,
            bytes: Mutex::new(vec![0; size]),
            flushes: AtomicU64::new(0),
            forced: AtomicU64::new(0),
        }
    }

    /// The contents, for reading and changing behind the clients' backs.
    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many flushes there were.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// How many changes with FUA there were.
    pub fn forced(&self) -> u64 {
        self.forced.load(Ordering::SeqCst)
    }

    fn with<T>(
        &self,
        offset: u64,
        len: usize,
        work: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, BlockError> {
        let start = usize::try_from(offset).map_err(|_| BlockError::OutOfRange)?;
        let end = start.checked_add(len).ok_or(BlockError::OutOfRange)?;
        let mut bytes = self.bytes();
        let range = bytes.get_mut(start..end).ok_or(BlockError::OutOfRange)?;
        Ok(work(range))
    }

    fn change(
        &self,
        offset: u64,
        len: usize,
        fua: bool,
        work: impl FnOnce(&mut [u8]),
    ) -> Result<(), BlockError> {
        if self.info.read_only {
            return Err(BlockError::ReadOnly);
        }
        self.with(offset, len, work)?;
        if fua {
            self.forced.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn length(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

impl BlockTarget for MemTarget {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn read(&self, offset: u64, len: u32) -> BlockFuture<'_, Bytes> {
        let len = length(u64::from(len));
        Box::pin(async move { self.with(offset, len, |range| Bytes::copy_from_slice(range)) })
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> BlockFuture<'_, ()> {
        Box::pin(async move {
            self.change(offset, data.len(), fua, |range| {
                range.copy_from_slice(&data);
            })
        })
    }

    fn flush(&self) -> BlockFuture<'_, ()> {
        Box::pin(async move {
            self.flushes.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64, fua: bool, _: bool) -> BlockFuture<'_, ()> {
        Box::pin(async move { self.change(offset, length(len), fua, |range| range.fill(0)) })
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> BlockFuture<'_, ()> {
        Box::pin(async move { self.change(offset, length(len), fua, |range| range.fill(0)) })
    }

    fn block_status(&self, offset: u64, len: u64, one: bool) -> BlockFuture<'_, Vec<Extent>> {
        Box::pin(async move {
            self.with(offset, length(len), |range| {
                let mut extents: Vec<Extent> = Vec::new();
                for block in range.chunks(STATUS_BLOCK) {
                    let zero = block.iter().all(|byte| *byte == 0);
                    let len = u64::try_from(block.len()).unwrap_or(0);
                    match extents.last_mut() {
                        Some(last) if last.zero == zero => last.len += len,
                        Some(_) if one => break,
                        _ => extents.push(Extent {
                            len,
                            hole: zero,
                            zero,
                        }),
                    }
                }
                extents
            })
        })
    }
}

/// A fixed set of devices.
#[derive(Default)]
pub struct StaticExports {
    devices: BTreeMap<String, (Arc<dyn BlockTarget>, Closer)>,
    open: Arc<AtomicUsize>,
}

impl std::fmt::Debug for StaticExports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.devices.keys()).finish()
    }
}

struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl StaticExports {
    /// No devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a device under the name that it tells.
    #[must_use]
    pub fn with(mut self, target: Arc<dyn BlockTarget>) -> Self {
        let (closer, _) = closing_pair();
        self.devices.insert(target.info().name, (target, closer));
        self
    }

    /// Number of open connections, over all devices.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Closes all connections of a device, and all later ones.
    pub fn close(&self, name: &str) {
        if let Some((_, closer)) = self.devices.get(name) {
            closer.close();
        }
    }
}

impl Exports for StaticExports {
    fn list(&self) -> Vec<ExportEntry> {
        let entry = |(target, _): &(Arc<dyn BlockTarget>, Closer)| {
            let info = target.info();
            ExportEntry {
                name: info.name,
                description: info.description,
            }
        };
        self.devices.values().map(entry).collect()
    }

    fn open(&self, name: &str) -> Result<OpenDevice, OpenError> {
        let Some((target, closer)) = self.devices.get(name) else {
            return Err(OpenError::Unknown(name.to_owned()));
        };
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(OpenDevice {
            target: Arc::clone(target),
            closing: closer.subscribe(),
            guard: Box::new(Guard(Arc::clone(&self.open))),
        })
    }
}
