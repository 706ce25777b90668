//! Messages to a caller that are ready and that it does not take, for HTTP/2 lets it say how many bytes it takes.
//!
//! Each is kept until it is written, and nothing waits for that which could see its time pass: hyper does not ask for the next
//! message before there is room, and h2 keeps the last one when hyper has done its part. So each message is followed to where
//! it is let go, and a connection is asked from time to time whether one is left from long ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost::bytes::Bytes;
use tokio::time::sleep;

/// The messages of one connection that are not written yet.
#[derive(Debug, Clone, Default)]
pub struct Untaken(Arc<Periods>);

/// How many are left from this period and from the one before. There is no clock in it, and no list.
#[derive(Debug, Default)]
struct Periods {
    current: AtomicUsize,
    even: AtomicUsize,
    odd: AtomicUsize,
}

impl Periods {
    fn left_from(&self, period: usize) -> &AtomicUsize {
        if period.is_multiple_of(2) { &self.even } else { &self.odd }
    }
}

/// A message until it is written, or its call has ended.
struct Message {
    bytes: Bytes,
    period: usize,
    periods: Arc<Periods>,
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.periods.left_from(self.period).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Untaken {
    /// A message that is ready.
    pub(super) fn follow(&self, bytes: Bytes) -> Bytes {
        let periods = self.0.clone();
        let period = periods.current.load(Ordering::Relaxed);
        periods.left_from(period).fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Message { bytes, period, periods })
    }

    /// Begins another period unless something is left from the one before this. Answers whether there is: it was ready for the
    /// whole of this one.
    fn is_left(&self) -> bool {
        let Periods { current, .. } = &*self.0;
        let period = current.load(Ordering::Relaxed);
        let is_left = self.0.left_from(period.wrapping_add(1)).load(Ordering::Relaxed) > 0;
        if !is_left {
            current.store(period.wrapping_add(1), Ordering::Relaxed);
        }
        is_left
    }

    /// Completes when a message has been ready for as long as this, and at most twice as long.
    pub async fn is_overdue(&self, limit: Duration) {
        loop {
            sleep(limit).await;
            if self.is_left() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_for_a_whole_period_is_told() {
        let untaken = Untaken::default();
        let ready = || untaken.follow(Bytes::from_static(b"message"));
        // They come and go in every period, and none is left from the one before.
        for _ in 0..4 {
            drop((ready(), ready()));
            let taken_late = ready();
            assert!(!untaken.is_left());
            drop((taken_late, ready()));
        }
        let left = ready();
        assert_eq!(left, "message");
        assert!(!untaken.is_left(), "it may be ready since a moment ago");
        let part = left.slice(3..);
        drop((ready(), left));
        assert!(untaken.is_left() && untaken.is_left());
        drop(part);
        assert!(!untaken.is_left());
    }
}
