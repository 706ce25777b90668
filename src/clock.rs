//! The clock, read once a call, at the edge.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

/// When something is looked at, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock that only goes forward.
    pub instant: Instant,
    /// Time since 1970, or nothing if the machine's clock stands before it.
    pub since_1970: Option<Duration>,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        Self { instant: Instant::now(), since_1970 }
    }

    /// Seconds since 1970, or nothing if the machine's clock stands before it: then conditions on the time are unclear.
    #[must_use]
    pub fn seconds(&self) -> Option<u64> {
        self.since_1970.map(|since| since.as_secs())
    }
}

/// Seconds since 1970, or nothing if the machine's clock stands before it: then conditions on the time are unclear.
#[must_use]
pub fn now() -> Option<u64> {
    Moment::now().seconds()
}

/// The id of a decision. Ids are ordered by time, so that logs sort by them, as far as the clock is right: by the milliseconds
/// of version 7 of UUIDs, and by the 4,096 parts of one in the bits behind (RFC 9562, 5.7 and 6.2, method 3). So nothing is
/// shared by those who make ids, as a counter would be.
#[must_use]
pub fn decision_id(moment: &Moment) -> Uuid {
    let since = moment.since_1970.unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let part = since.subsec_nanos() % 1_000_000 * 4_096 / 1_000_000;
    let [_, _, high, low] = part.to_be_bytes();
    let [a, b, c, d, e, f, g, h] = rand::random::<[u8; 8]>();
    Builder::from_unix_timestamp_millis(millis, &[high, low, a, b, c, d, e, f, g, h]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Moment {
        Moment { instant: Instant::now(), since_1970: Some(Duration::from_nanos(nanos)) }
    }

    #[test]
    fn ids_are_ordered_by_time_to_a_quarter_of_a_microsecond() {
        let start = 1_795_850_548_123_456_789;
        let ids = (0..5_000).map(|step| decision_id(&at(start + step * 250)));
        assert!(ids.is_sorted());
    }

    #[test]
    fn ids_are_of_version_7_and_have_the_time() {
        let id = decision_id(&at(1_795_850_548_123_999_999));
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos / 1_000_000), (1_795_850_548, 123));
    }

    #[test]
    fn ids_of_one_moment_differ_and_none_is_needed() {
        assert_ne!(decision_id(&at(1)), decision_id(&at(1)));
        let unknown = Moment { instant: Instant::now(), since_1970: None };
        assert_eq!(decision_id(&unknown).get_version_num(), 7);
    }
}
