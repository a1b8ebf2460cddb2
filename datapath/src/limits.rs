//! Every bound of the data plane's shells.

use std::time::Duration;

/// Most bytes of acknowledged writes that are not on the disk yet, per resource; beyond, requests wait.
pub const DIRTY_BYTES_MAX: u64 = 64 << 20;
/// Requests of the front ends that wait for a resource's driver.
pub const IO_QUEUE_LEN: usize = 256;
/// Events that wait for a resource's driver.
pub const EVENT_QUEUE_LEN: usize = 1024;
/// Jobs that wait for a disk or log worker.
pub const JOB_QUEUE_LEN: usize = 1024;
/// Longest frame of the data stream in bytes.
pub const FRAME_LEN_MAX: usize = 2 << 20;
/// Log bytes in one Data frame.
pub const DATA_LEN_MAX: usize = 1 << 20;
/// Fetched bytes that may wait for the driver, per resource.
pub const FETCH_BYTES_MAX: usize = 16 << 20;
/// Bytes compared by one digest of a sync.
pub const SYNC_CHUNK_LEN: usize = 64 << 10;
/// Digests in one request of a sync.
pub const SYNC_CHUNKS_MAX: usize = 64;
/// Requests of peers that are served at the same time.
pub const STREAMS_SERVED_MAX: usize = 256;
/// How long appended log bytes may stay unsynced when nobody asks for durability.
pub const SYNC_DELAY: Duration = Duration::from_millis(20);
/// How often positions are made durable and published while something moves.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Wait before a failed fetch or sync is tried again; and the first wait behind a refusal by the peer's roster.
pub const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest wait before a peer is dialled again whose roster does not name this node; it doubles with each refusal.
pub const REFUSED_WAIT_MAX: Duration = Duration::from_secs(60);
/// A connection that held for so long was not refused at the door: the next wait is the first one again.
pub const REFUSED_SETTLED: Duration = Duration::from_secs(10);
/// Longest wait for a connection to another data plane.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the drain of a resource at the end of the process.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Free bytes on the log's filesystem from which on logging is resumed after an emergency.
pub const RESUME_FREE_BYTES: u64 = 64 << 20;
/// Gap in the segment numbers that an emergency leaves, as in the original.
pub const EMERGENCY_HOLE: u64 = 10;
/// Bytes by which a device grows at once: so much is discarded on the disk as one write-back.
pub const GROW_STEP: u64 = 1 << 30;
/// Percent of free space above its emergency limit at which a resource begins to log again.
pub const EMERGENCY_HYSTERESIS: u64 = 1;
/// Logs that the key `logs` lists one by one; older ones are summed up. The longest names fit a value.
pub const LOGS_SHOWN_MAX: usize = 40;
/// A connection between data planes that was cut is known to be lost after so long, its idle timeout.
pub const LOSS_NOTICED_SECS: u64 = 15;
/// No connection to the source for a shorter time than this is a change of the source.
pub const CONTACT_GRACE_SECS: u64 = 5;
/// So long after the source is connected again, announcements of before have come.
pub const CONTACT_SETTLED_SECS: u64 = 10;
/// What is missing for a shorter time than this is on its way.
pub const MISSING_GRACE_SECS: u64 = 3;
/// Requests to the device of which none was done for a shorter time than this are on their way.
pub const FLYING_GRACE_SECS: u64 = 5;
/// Announced ends of a log that are remembered, per resource.
pub const MISSING_SAMPLES_MAX: usize = 1024;
/// Over which time rates are taken, and how often they are shown.
pub const RATE_INTERVAL: Duration = Duration::from_secs(5);
/// How often the room for logs is looked at.
pub const ROOM_INTERVAL: Duration = Duration::from_secs(10);
/// It is told to others when it has changed by more than one of so many parts of the whole.
pub const ROOM_STEPS: u64 = 128;
/// How often the metadata daemon here hears that this process goes on; it takes it for silent after 4 s without. It stays on this
/// machine: others hear only when that changes.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);
