//! What a driver shares with front ends, peers and the reporter.

use super::device::DeviceRequest;
use crate::block::{BlockError, Closer};
use crate::segments::Chain;
use crate::status::Status;
use bytes::Bytes;
use mars_datapath_core::Name;
use mars_datapath_core::version::LogEnd;
use mars_lamport::Timestamp;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{Notify, mpsc, oneshot};

/// The shared side of a resource.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Name of the resource.
    pub(crate) name: Name,
    /// Log segments that peers may be served.
    pub(crate) chain: Chain,
    /// Folder of the segments.
    pub(crate) dir: crate::segments::SegmentDir,
    status: Mutex<Status>,
    device: RwLock<Option<Arc<DeviceView>>>,
    open_count: AtomicU32,
    requests: AtomicU64,
    flights: Mutex<Flights>,
    /// Woken when the reporter should not wait for its next round.
    urgent: Arc<Notify>,
}

/// Requests to the device that are under way.
#[derive(Debug, Default)]
struct Flights {
    count: u64,
    /// When one was done last, or the first one came to an idle device.
    progress: Option<Timestamp>,
}

/// A request to the device that is under way.
#[derive(Debug)]
pub(crate) struct Flight(Arc<Shared>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.with_flights(|flights| {
            flights.count = flights.count.saturating_sub(1);
            flights.progress = Some(crate::clock::wall());
        });
    }
}

/// The exported device while this host is primary.
#[derive(Debug)]
pub(crate) struct DeviceView {
    /// Name of the export.
    pub(crate) export: String,
    /// Size in bytes.
    pub(crate) size: u64,
    /// To the driver.
    pub(crate) requests: mpsc::Sender<DeviceRequest>,
    /// Front ends close their connections when this fires.
    pub(crate) closer: Arc<Closer>,
}

impl DeviceView {
    /// Reads through the device: every acknowledged write is seen.
    pub(crate) async fn read(&self, offset: u64, len: u32) -> Result<Bytes, BlockError> {
        let (reply, answer) = oneshot::channel();
        self.send(DeviceRequest::Read { offset, len, reply })
            .await?;
        answer.await.map_err(|_| BlockError::ShuttingDown)?
    }

    /// Hands a request to the driver; waits while its queue is full.
    pub(crate) async fn send(&self, request: DeviceRequest) -> Result<(), BlockError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| BlockError::ShuttingDown)
    }

    /// Makes the log durable and gives its end, and the version value of the log before it.
    pub(crate) async fn log_end(&self, durable: bool) -> Result<(LogEnd, String), BlockError> {
        let (reply, answer) = oneshot::channel();
        self.send(DeviceRequest::LogEnd { durable, reply }).await?;
        answer.await.map_err(|_| BlockError::ShuttingDown)?
    }
}

impl Shared {
    /// The shared side of resource `name`, whose logs lie in `dir`.
    pub(crate) fn new(name: Name, dir: crate::segments::SegmentDir, urgent: Arc<Notify>) -> Self {
        Self {
            name,
            chain: Chain::default(),
            dir,
            status: Mutex::default(),
            device: RwLock::default(),
            open_count: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            flights: Mutex::default(),
            urgent,
        }
    }

    /// The observed state now.
    pub(crate) fn status(&self) -> Status {
        let mut status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        status.open_count = self.open_count();
        status
    }

    /// Changes the observed state; a change of role or of a message is reported at once.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        let urgent = |status: &Status| {
            (
                (
                    status.primary,
                    status.device,
                    status.attached,
                    status.syncing,
                    status.emergency,
                ),
                (
                    status.replay_code,
                    (status.disk_error, status.disk_error_for),
                    status.flush_done.clone(),
                ),
                (status.recalls.clone(), status.renounced.clone()),
                status.messages.len(),
            )
        };
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = urgent(&status);
        change(&mut status);
        let after = urgent(&status);
        drop(status);
        if before != after {
            self.urgent.notify_one();
        }
    }

    /// Sets the message `key` to `text`, with the time when it began; `None` is OK.
    pub(crate) fn message(&self, key: &'static str, text: Option<&str>) {
        self.update(|status| match text {
            None => {
                status.messages.remove(key);
            }
            Some(text) => {
                let same = status
                    .messages
                    .get(key)
                    .is_some_and(|old| old.ends_with(text));
                if !same {
                    let now = crate::clock::wall();
                    status.messages.insert(key, format!("{now} {now} {text}"));
                }
            }
        });
    }

    /// The exported device, if this host is primary.
    pub(crate) fn device(&self) -> Option<Arc<DeviceView>> {
        self.device
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shows or hides the device. A hidden device takes no new connections.
    pub(crate) fn set_device(&self, device: Option<Arc<DeviceView>>) {
        *self.device.write().unwrap_or_else(PoisonError::into_inner) = device;
    }

    /// Connections that hold the device open.
    pub(crate) fn open_count(&self) -> u32 {
        self.open_count.load(Ordering::SeqCst)
    }

    /// Requests to the device since this process began.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// One more request to the device; it is done when the guard is dropped.
    pub(crate) fn requested(self: &Arc<Self>) -> Flight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.with_flights(|flights| {
            if flights.count == 0 {
                flights.progress = Some(crate::clock::wall());
            }
            flights.count += 1;
        });
        Flight(Arc::clone(self))
    }

    /// How many requests to the device wait, and when one was done last, or the first of them came if that was later.
    pub(crate) fn flying(&self) -> (u64, Option<Timestamp>) {
        self.with_flights(|flights| (flights.count, flights.progress))
    }

    fn with_flights<T>(&self, work: impl FnOnce(&mut Flights) -> T) -> T {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut flights)
    }

    /// One more connection.
    pub(crate) fn opened(&self) {
        self.open_count.fetch_add(1, Ordering::SeqCst);
        self.urgent.notify_one();
    }

    /// One connection less.
    pub(crate) fn closed(&self) {
        self.open_count.fetch_sub(1, Ordering::SeqCst);
        self.urgent.notify_one();
    }
}
