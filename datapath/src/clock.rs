//! The one place that reads the system clock.

use mars_lamport::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The system clock as a stamp.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}
