//! The clock, read once a call, at the edge.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{NoContext, Timestamp, Uuid};

/// Seconds since 1970, or nothing if the machine's clock stands before it: then conditions on the time are unclear.
#[must_use]
pub fn now() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The id of a decision. Ids are ordered by time, so that logs sort by them, as far as the clock is right.
#[must_use]
pub fn decision_id() -> String {
    let id = match now() {
        Some(_) => Uuid::now_v7(),
        // There, it would panic.
        None => Uuid::new_v7(Timestamp::from_unix(NoContext, 0, 0)),
    };
    id.to_string()
}
