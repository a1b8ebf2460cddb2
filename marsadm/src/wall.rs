//! The system clock, for ages and for stamps that go into files; order comes from the Lamport clock alone.

use crate::error::{Error, Result};
use mars_lamport::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
///
/// # Errors
/// If the system clock is before 1970 or behind 2554.
pub fn now_ns() -> Result<u64> {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .ok_or_else(|| Error::internal("the system clock is before 1970"))
}

/// The same where only ages are told: 1970 if the clock cannot be used.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_nanos(now_ns().unwrap_or_default())
}
