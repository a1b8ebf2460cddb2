//! The exported device: requests of front ends on their way to the driver.

use super::shared::{DeviceView, Shared};
use crate::block::{BlockError, BlockFuture, BlockTarget, DeviceInfo, OpenDevice, OpenError};
use bytes::Bytes;
use mars_datapath_core::version::LogEnd;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where the answer to a request without data goes.
pub(crate) type Reply = oneshot::Sender<Result<(), BlockError>>;

/// Where the end of the log goes, with the version value of the log before it.
pub(crate) type EndReply = oneshot::Sender<Result<(LogEnd, String), BlockError>>;

/// A request to the driver of a primary.
#[derive(Debug)]
pub(crate) enum DeviceRequest {
    /// Read `len` bytes at `offset`.
    Read {
        offset: u64,
        len: u32,
        reply: oneshot::Sender<Result<Bytes, BlockError>>,
    },
    /// Write `data` at `offset`.
    Write {
        offset: u64,
        data: Bytes,
        fua: bool,
        reply: Reply,
    },
    /// Zero or discard.
    Clear {
        offset: u64,
        len: u64,
        fua: bool,
        discard: bool,
        reply: Reply,
    },
    /// Make everything acknowledged durable.
    Flush { reply: Reply },
    /// End of the log (made durable before if so wished), and the version value of the log before it.
    LogEnd { durable: bool, reply: EndReply },
}

/// One connection's opening of the device.
#[derive(Debug)]
pub(crate) struct Exported {
    view: Arc<DeviceView>,
    shared: Arc<Shared>,
}

struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl Exported {
    /// Opens the device for one connection.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        view: &Arc<DeviceView>,
    ) -> Result<OpenDevice, OpenError> {
        // Count first, look again then: the driver hides the device first and counts then.
        shared.opened();
        let guard = Guard(Arc::clone(shared));
        if !shared.device().is_some_and(|now| Arc::ptr_eq(&now, view)) {
            return Err(OpenError::ShuttingDown);
        }
        Ok(OpenDevice {
            target: Arc::new(Self {
                view: Arc::clone(view),
                shared: Arc::clone(shared),
            }),
            closing: view.closer.subscribe(),
            guard: Box::new(guard),
        })
    }

    fn simple(
        &self,
        make: impl FnOnce(Reply) -> DeviceRequest + Send + 'static,
    ) -> BlockFuture<'_, ()> {
        let flight = self.shared.requested();
        Box::pin(async move {
            let _flight = flight;
            let (reply, answer) = oneshot::channel();
            self.view.send(make(reply)).await?;
            answer.await.map_err(|_| BlockError::ShuttingDown)?
        })
    }
}

impl BlockTarget for Exported {
    fn info(&self) -> DeviceInfo {
        let mut info = DeviceInfo::new(&self.view.export, self.view.size);
        info.fast_zero = true;
        info
    }

    fn read(&self, offset: u64, len: u32) -> BlockFuture<'_, Bytes> {
        let flight = self.shared.requested();
        Box::pin(async move {
            let _flight = flight;
            self.view.read(offset, len).await
        })
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> BlockFuture<'_, ()> {
        self.simple(move |reply| DeviceRequest::Write {
            offset,
            data,
            fua,
            reply,
        })
    }

    fn flush(&self) -> BlockFuture<'_, ()> {
        self.simple(|reply| DeviceRequest::Flush { reply })
    }

    fn write_zeroes(&self, offset: u64, len: u64, fua: bool, no_hole: bool) -> BlockFuture<'_, ()> {
        // Without the demand to keep the space, zeroing may give it back, as discarding does: both read as zero.
        self.simple(move |reply| DeviceRequest::Clear {
            offset,
            len,
            fua,
            discard: !no_hole,
            reply,
        })
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> BlockFuture<'_, ()> {
        self.simple(move |reply| DeviceRequest::Clear {
            offset,
            len,
            fua,
            discard: true,
            reply,
        })
    }
}
