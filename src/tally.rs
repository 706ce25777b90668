//! Counts that every request raises. Each thread has a part of its own to write to, for one that all share would travel
//! between the cores with each request. Who reads adds the parts up.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many parts there are. More threads than that share some.
const LANES: usize = 16;
/// The counts on two cache lines, which processors fetch together.
const LINE: usize = 16;

/// One count.
#[derive(Debug, Default)]
pub struct Tally([Lane; LANES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

/// Many counts, by index.
#[derive(Debug)]
pub struct Tallies([Box<[AtomicU64]>; LANES]);

/// The part of this thread.
fn lane() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    LANE.with(|lane| *lane)
}

impl Tally {
    /// Counts one.
    pub fn add_one(&self) {
        let Self(lanes) = self;
        if let Some(Lane(count)) = lanes.get(lane()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What all threads have counted.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let Self(lanes) = self;
        lanes.iter().map(|Lane(count)| count.load(Ordering::Relaxed)).sum()
    }
}

impl Tallies {
    /// Counts for the indices below `len`.
    #[must_use]
    pub fn new(len: usize) -> Self {
        // The room behind keeps the next part off the lines of this one.
        Self(array::from_fn(|_| (0..len + LINE).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Raises a count. An index that there is not counts nothing.
    pub fn add(&self, index: usize, amount: u64) {
        let Self(lanes) = self;
        if let Some(count) = lanes.get(lane()).and_then(|counts| counts.get(index)) {
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// What all threads have counted.
    #[must_use]
    pub fn sum(&self, index: usize) -> u64 {
        let Self(lanes) = self;
        lanes.iter().filter_map(|counts| counts.get(index)).map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_tally_has_what_all_threads_counted() {
        let (tally, tallies) = (Tally::default(), Tallies::new(3));
        thread::scope(|scope| {
            for _ in 0..2 * LANES {
                scope.spawn(|| {
                    for _ in 0..100 {
                        tally.add_one();
                        tallies.add(2, 5);
                    }
                });
            }
        });
        let counted = 200 * LANES as u64;
        assert_eq!(tally.sum(), counted);
        assert_eq!([0, 1, 2].map(|index| tallies.sum(index)), [0, 0, 5 * counted]);
    }
}
