//! The block device as its front ends see it.
//!
//! A front end (NBD, and later others) finds devices through [`Exports`], holds one open as an
//! [`OpenDevice`] and sends requests to its [`BlockTarget`]. Whoever owns the device implements
//! these traits; nothing here knows how a request is carried out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;

/// The future of one request; boxed, so that [`BlockTarget`] can be a trait object.
pub type BlockFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BlockError>> + Send + 'a>>;

/// Why a request on a block device did not succeed.
///
/// After any of these, the contents of a range that was to be changed are either old or new,
/// block by block, until they are written again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The range ends beyond the device; nothing was done.
    #[error("range ends beyond the device")]
    OutOfRange,
    /// No room is left to store the change.
    #[error("no space left to store the change")]
    NoSpace,
    /// The device does not take changes; nothing was done.
    #[error("device is read only")]
    ReadOnly,
    /// Storage failed; the text says where and how.
    #[error("input/output error: {0}")]
    Io(String),
    /// The device is about to go away; nothing was done.
    #[error("device is shutting down")]
    ShuttingDown,
}

/// What a front end has to know of a device. Constant while the device is open: an owner that
/// must change it closes the connections first (see [`Closing`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name of the export, as in [`Exports::open`].
    pub name: String,
    /// A line for humans.
    pub description: String,
    /// Size in bytes.
    pub size: u64,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Offsets and lengths of all requests are multiples of this many bytes: a power of two, at
    /// most 64 KiB. With 1, the target accepts any byte range.
    pub min_block: u32,
    /// Requests of multiples of this many bytes are the cheapest; a power of two.
    pub preferred_block: u32,
    /// Longest read or write, in bytes. Front ends may use less.
    pub max_payload: u32,
    /// Whether seeking costs time.
    pub rotational: bool,
    /// Whether a flush on one connection covers writes acknowledged on another one.
    pub multi_conn: bool,
    /// Whether [`BlockTarget::write_zeroes`] never costs as much as writing the zeroes.
    pub fast_zero: bool,
}

impl DeviceInfo {
    /// A writable device of `size` bytes with the defaults: byte granularity, 4 KiB preferred,
    /// 32 MiB per request, several connections allowed, fast zeroes.
    #[must_use]
    pub fn new(name: &str, size: u64) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            size,
            read_only: false,
            min_block: 1,
            preferred_block: 4096,
            max_payload: 32 << 20,
            rotational: false,
            multi_conn: true,
            fast_zero: true,
        }
    }
}

/// State of a consecutive part of the device, as told by [`BlockTarget::block_status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes, not zero.
    pub len: u64,
    /// Not backed by storage: a later write may meet [`BlockError::NoSpace`].
    pub hole: bool,
    /// Reads as zeroes.
    pub zero: bool,
}

impl Extent {
    /// An extent of which nothing is known: assume data.
    #[must_use]
    pub const fn data(len: u64) -> Self {
        Self {
            len,
            hole: false,
            zero: false,
        }
    }
}

/// A block device that takes requests.
///
/// Many requests run at the same time. The caller checks ranges against [`DeviceInfo::size`],
/// alignment against [`DeviceInfo::min_block`] and never sends an empty range or a change to a
/// read-only device. Requests in flight at the same time have no order among each other.
///
/// Durability: a successful [`flush`](Self::flush) means that every change whose future had
/// completed *before the flush was called*, by whatever connection, is on stable storage. A
/// change with `fua` completes only when it is itself on stable storage.
///
/// A future may be dropped before it is ready only when its runtime goes down.
pub trait BlockTarget: Send + Sync {
    /// What the device is.
    fn info(&self) -> DeviceInfo;

    /// Reads exactly `len` bytes at `offset`.
    fn read(&self, offset: u64, len: u32) -> BlockFuture<'_, Bytes>;

    /// Writes `data` at `offset`. Front ends place data of 4 KiB and more at a memory address
    /// that is a multiple of 4,096, so that it may go to direct IO without a copy.
    fn write(&self, offset: u64, data: Bytes, fua: bool) -> BlockFuture<'_, ()>;

    /// Makes all completed changes durable, see above.
    fn flush(&self) -> BlockFuture<'_, ()>;

    /// Makes `len` bytes at `offset` read as zeroes. With `no_hole` the range must stay backed
    /// by storage.
    fn write_zeroes(&self, offset: u64, len: u64, fua: bool, no_hole: bool) -> BlockFuture<'_, ()>;

    /// Says that the contents of a range are no longer needed; they are undefined afterwards.
    /// A target with a granularity shrinks the range to whole units, or ignores the call.
    fn trim(&self, offset: u64, len: u64, fua: bool) -> BlockFuture<'_, ()>;

    /// The states of consecutive extents from `offset` on, at least one, in multiples of
    /// [`DeviceInfo::min_block`]. They may end before or after `offset + len`. A caller that
    /// needs one only says so by `one`. By default everything is data.
    fn block_status(&self, offset: u64, len: u64, one: bool) -> BlockFuture<'_, Vec<Extent>> {
        let _ = (offset, one);
        Box::pin(async move { Ok(vec![Extent::data(len)]) })
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportEntry {
    /// Name to be opened.
    pub name: String,
    /// A line for humans, may be empty.
    pub description: String,
}

/// Why a device could not be opened. In every case nothing was opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// There is no such device.
    #[error("no export of the name '{0}'")]
    Unknown(String),
    /// The device is known, but cannot be used on this host now (for instance: not primary).
    #[error("export is not available here: {0}")]
    NotHere(String),
    /// The device is in use in a way that allows no further opener.
    #[error("export is in use: {0}")]
    Busy(String),
    /// The owner is about to end.
    #[error("shutting down")]
    ShuttingDown,
}

/// The devices that a front end may offer. All methods answer from memory: they are called on
/// the threads that serve requests.
pub trait Exports: Send + Sync {
    /// All devices that can be opened now.
    fn list(&self) -> Vec<ExportEntry>;

    /// Opens one device for one connection.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was opened.
    fn open(&self, name: &str) -> Result<OpenDevice, OpenError>;

    /// What [`open`](Self::open) would give, without staying open.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    fn describe(&self, name: &str) -> Result<DeviceInfo, OpenError> {
        Ok(self.open(name)?.target.info())
    }
}

/// One opening of a device. Dropped when the last request of the connection has completed.
pub struct OpenDevice {
    /// Where requests go.
    pub target: Arc<dyn BlockTarget>,
    /// When it fires, requests in flight are finished and the connection is closed.
    pub closing: Closing,
    /// Its drop tells the owner that this connection sends no further requests.
    pub guard: Box<dyn Send + Sync>,
}

impl fmt::Debug for OpenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDevice")
            .field("info", &self.target.info())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// The owner's end of a [`Closing`] signal. Dropping it fires the signal, too.
#[derive(Debug)]
pub struct Closer(watch::Sender<bool>);

/// A signal that fires once, for any number of waiters.
#[derive(Debug, Clone)]
pub struct Closing(watch::Receiver<bool>);

/// Makes a signal and the handle that fires it.
#[must_use]
pub fn closing_pair() -> (Closer, Closing) {
    let (tx, rx) = watch::channel(false);
    (Closer(tx), Closing(rx))
}

impl Closer {
    /// Fires the signal; further calls do nothing.
    pub fn close(&self) {
        self.0.send_replace(true);
    }

    /// Another receiver of the same signal.
    #[must_use]
    pub fn subscribe(&self) -> Closing {
        Closing(self.0.subscribe())
    }
}

impl Closing {
    /// Whether the signal has fired.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the signal has fired. May be cancelled and called again.
    pub async fn closed(&mut self) {
        // An error means that the owner is gone: that is closed, too.
        let _ = self.0.wait_for(|fired| *fired).await;
    }
}
