//! Every bound of this crate, by name.

use std::time::Duration;

/// Messages received from all peers that wait for the core.
pub const INBOX_LEN: usize = 64;
/// Reports of tasks (connections up and down, messages sent, entries merged) that wait for the core.
pub const REPORTS_LEN: usize = 1024;
/// Batches handed to the store that wait for it.
pub const MERGES_LEN: usize = 64;
/// Time for the greetings on a new connection.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait after a dial that failed.
pub const DIAL_WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait between two dials of a peer.
pub const DIAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the node with the greater number waits for the other one to dial.
pub const DIAL_COURTESY: Duration = Duration::from_millis(700);
/// How long joining waits for the first complete exchange with a peer.
pub const JOIN_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long stopping waits for the peers to hear of it.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest life of a join token in seconds: 30 days.
pub const TOKEN_TTL_MAX_SECS: u64 = 30 * 24 * 3600;
/// Most nodes that one token may admit.
pub const TOKEN_USES_MAX: u32 = 10_000;
/// Tokens in force at the same time.
pub const TOKENS_MAX: usize = 1000;
/// Longest file of tokens in bytes.
pub const TOKENS_FILE_MAX: u64 = 4 << 20;
/// Joiners that are served at the same time.
pub const JOINS_MAX: usize = 32;
/// How often it is looked up who lives, while nothing happens.
pub const LIVES_INTERVAL: Duration = Duration::from_secs(5);
/// How soon after something was heard about that.
pub const LIVES_SOON: Duration = Duration::from_millis(200);
