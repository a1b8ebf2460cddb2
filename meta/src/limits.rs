//! Every limit of the store, its writer, its watches and its server.

/// Longest name of a local record in bytes.
pub const LOCAL_NAME_LEN_MAX: usize = 64;
/// Longest content of a local record in bytes.
pub const LOCAL_VALUE_LEN_MAX: usize = 64 << 10;
/// How far ahead of the system clock the durable clock ceiling is set, in ns: one extra write per 10 s.
pub const CEILING_AHEAD_NS: u64 = 10_000_000_000;
/// How far ahead of the last stamp the ceiling is set while the Lamport clock leads the system clock, in ns.
/// Small, so that restarts in quick succession do not drive the clock away from real time.
pub const CEILING_STEP_NS: u64 = 1_000_000;

/// Requests waiting for the writer; who sends more waits.
pub const REQUEST_QUEUE_LEN: usize = 1024;
/// Most requests that share one commit.
pub const GROUP_REQUESTS_MAX: usize = 512;
/// Changes after which a group takes no further request (the last one may exceed it by a batch).
pub const GROUP_CHANGES_MAX: usize = 4096;

/// How long a group waits at most, in microseconds, until it has as many requests as the one before; never longer
/// than a quarter of what that one took.
pub const GATHER_MAX_US: u64 = 500;

/// Entries of one part of a bulk import.
pub const IMPORT_PART_LEN: usize = 4000;
/// Parts of a bulk import that wait behind the one being committed; they share a commit.
pub const IMPORT_PARTS_AHEAD: usize = 4;

/// Parts after which the memory that a bulk import was handed over in is made shorter.
pub const IMPORT_PARTS_SHRINK: usize = 32;

/// Entries of one watch event.
pub const EVENT_LEN_MAX: usize = 512;
/// Changes queued for a watch by default, before it is told that it lagged.
pub const WATCH_QUEUE_LEN: usize = 8192;
/// Batches queued for a feed, before it is told that it lagged.
pub const FEED_QUEUE_LEN: usize = 1024;

/// Longest record of a commit that needs several, in bytes; an entry of the greatest length fits. In a store that was of
/// format 1, the longest of all (see [`SEGMENT_BYTES`]).
pub const GROUP_BYTES: usize = 6400;
/// Segment of sled's log in a new store, in bytes. A page of more than a fourth of it is put into a file beside the log,
/// which sled never syncs; a page holds up to [`PAGE_RECORDS`] records. sled's own default is 512 KiB.
pub const SEGMENT_BYTES: usize = 2 << 20;
/// Most records in a page of sled: 16, and 3 more while pages are merged.
pub const PAGE_RECORDS: usize = 20;
/// What a group costs beside its bytes, for the decision to rewrite: so that many short ones are packed together.
pub const GROUP_COST_BYTES: u64 = 256;
/// A store is rewritten when its groups cost as much as twice the entries in it, and this many bytes more. What was
/// rewritten costs less than that: two groups next to each other of one step hold more than [`GROUP_BYTES`].
pub const GARBAGE_MIN_BYTES: u64 = 8 << 20;
/// Bytes of entries that are rewritten in one step, beside a commit or while there is nothing else to do ...
pub const TIDY_BYTES_MIN: usize = 64 << 10;
/// ... and at most, if the commit before was long: twice what it wrote, so that rewriting keeps pace. No commit is so long
/// that this would matter.
pub const TIDY_BYTES_MAX: usize = 64 << 20;
/// Void groups that are removed in one step, at least.
pub const TIDY_GROUPS: u64 = 64;
/// Entries of format 1 that are removed in one step.
pub const TIDY_ENTRIES: usize = 256;
/// Bytes of entries that a conversion writes at a time.
pub const CONVERT_BYTES: usize = 1 << 20;

/// If loading reads more than this, in bytes, sled is closed and opened again, because it lets go of no page in time.
pub const RELEASE_BYTES: usize = 8 << 20;
/// Page cache of sled in bytes: nothing is read after opening.
pub const SLED_CACHE_BYTES: u64 = 1 << 20;
/// How often sled writes out in the background, in ms; every commit is made durable at once anyway.
pub const SLED_FLUSH_EVERY_MS: u64 = 250;
/// How long opening waits for another process to release the store, in ms.
pub const OPEN_LOCK_WAIT_MS: u64 = 3000;

/// Damaged stores that are kept beside the store; when there is one more, the oldest goes.
pub const ASIDE_KEPT_MAX: usize = 3;

/// Damaged records that a check names; more are counted.
pub const DAMAGED_NAMED_MAX: usize = 100;
/// Keys that a check names of a damaged group.
pub const KEYS_NAMED_MAX: usize = 8;

/// How long a new connection may take for its greeting, in ms.
pub const GREETING_TIMEOUT_MS: u64 = 5000;
/// How long a connection has been idle, in ms, before it has to make room when all places are taken: longer than the time
/// between two requests of a program that is at work.
pub const IDLE_MIN_MS: u64 = 1000;
/// How long a new connection waits for room, in ms, before it is turned away.
pub const ROOM_WAIT_MS: u64 = 5000;
/// How often it is looked for room meanwhile, in ms.
pub const ROOM_TICK_MS: u64 = 50;
/// How long the last words to a client may take to leave, in ms.
pub const LAST_WORDS_TIMEOUT_MS: u64 = 1000;
/// How long one answer may take to leave, in ms, before a client that does not read is cut off.
pub const WRITE_TIMEOUT_MS: u64 = 30_000;
/// Answers of one connection that are ready and wait for the socket.
pub const ANSWER_QUEUE_LEN: usize = 16;
/// A host that was heard of within this time is alive, in ns.
pub const ALIVE_WITHIN_NS: u64 = 30_000_000_000;
/// How often a watch looks for changes of liveness, in ms.
pub const LIVENESS_POLL_MS: u64 = 1000;
/// How often it is looked whether a data plane that gave a sign of life was heard of since, in ms.
pub const SIGN_TICK_MS: u64 = 500;
/// After so many looks without, it counts as silent: 4 to 4.5 s after the last sign. A data plane gives one every second, older
/// ones every 3 s.
pub const SIGN_SILENT_TICKS: u32 = 8;
// What is written then is known here within 5 s.
const _: () = assert!(SIGN_TICK_MS * (SIGN_SILENT_TICKS as u64 + 1) < 5000);
/// Keys named in the log line of a forced write.
pub const LOGGED_KEYS_MAX: usize = 16;

/// Entries that the graveyard holds: live ones that a collection dropped.
pub const GRAVES_MAX: u32 = 1024;
/// How long an entry stays in the graveyard, in ns: 30 days. Before, it only makes room if the graveyard is full.
pub const GRAVE_AGE_NS: u64 = 30 * 24 * 3600 * 1_000_000_000;
/// Scopes of which a store keeps a mark.
pub const MARKS_MAX: usize = 65_535;
