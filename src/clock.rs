//! The clock, read once a call, at the edge.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, or nothing if the machine's clock stands before it: then conditions on the time are unclear.
#[must_use]
pub fn now() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
