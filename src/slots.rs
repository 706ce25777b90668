//! A bounded number of things at once: one more is refused, at once.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Places that can be taken.
///
/// To take one and to leave it is one atomic operation each, without a lock and without memory. (Tokio's semaphore locks the
/// list of those who wait whenever a permit is given back; here nobody ever waits.)
#[derive(Debug)]
pub struct Slots {
    taken: AtomicUsize,
    most: usize,
    refused: AtomicU64,
}

/// A place that is taken, until this is dropped, however that comes.
#[derive(Debug)]
#[must_use]
pub struct Slot<S: Deref<Target = Slots>>(S);

impl Slots {
    /// So many places.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most, refused: AtomicU64::new(0) }
    }

    /// Takes a place if one is free.
    pub fn take<S: Deref<Target = Self>>(slots: S) -> Option<Slot<S>> {
        // A comparison, not an increment that is taken back: else those who are refused would take the places of others for
        // a moment. Nothing else is published by it.
        let one_more = |taken| (taken < slots.most).then_some(taken + 1);
        let taken = slots.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if taken.is_err() {
            slots.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Slot(slots))
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// How often there was none.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl<S: Deref<Target = Slots>> Drop for Slot<S> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let slots = Slots::new(2);
        let (first, second) = (Slots::take(&slots), Slots::take(&slots));
        assert!(first.is_some() && second.is_some());
        assert!(Slots::take(&slots).is_none());
        drop(first);
        assert_eq!((slots.taken(), slots.refused()), (1, 1));
        assert!(Slots::take(&slots).is_some());
    }

    #[test]
    fn a_panic_leaves_the_place() {
        let slots = Arc::new(Slots::new(1));
        let taker = slots.clone();
        let ended = thread::spawn(move || {
            let _slot = Slots::take(&*taker);
            panic!("on purpose");
        });
        assert!(ended.join().is_err());
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn there_are_never_more_than_that() {
        let slots = Slots::new(3);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let slot = Slots::take(&slots);
                        assert!(slots.taken() <= 3);
                        drop(slot);
                    }
                });
            }
        });
        assert_eq!(slots.taken(), 0);
    }
}
