//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tally::Tally;

/// What a cache has done since it was made, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Requests that found an entry.
    pub hits: u64,
    /// Requests that found none: each loads, or waits for the load of another.
    pub misses: u64,
    /// How often the store was asked. Misses without a load waited for another's.
    pub loads: u64,
    /// Loads that failed.
    pub load_errors: u64,
    /// Loads whose policy set was in use already, so that nothing was merged.
    pub shared_sets: u64,
    /// Answers that were given while the store's changes were not followed.
    pub stale_answers: u64,
    /// Principals that are held, each by revision.
    pub entries: u64,
    /// Bytes that entries and policy sets hold together.
    pub bytes: u64,
    /// Policy sets that are in use.
    pub sets: u64,
    /// Of `bytes`, those of the policy sets.
    pub set_bytes: u64,
}

/// The counts that only grow.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: Tally,
    pub(super) misses: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) load_errors: AtomicU64,
    pub(super) shared_sets: AtomicU64,
    pub(super) stale_answers: Tally,
}

pub(super) fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    /// What has been counted; what is held now is not.
    pub(super) fn counted(&self) -> CacheCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheCounters {
            hits: self.hits.sum(),
            misses: read(&self.misses),
            loads: read(&self.loads),
            load_errors: read(&self.load_errors),
            shared_sets: read(&self.shared_sets),
            stale_answers: self.stale_answers.sum(),
            ..CacheCounters::default()
        }
    }
}
