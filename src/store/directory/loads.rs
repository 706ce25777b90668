//! How often the directory was loaded, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Change, Faults};
use crate::store::counters::LastTime;
use crate::store::{Reloads, StoreCounters};

#[derive(Debug)]
pub(super) struct Loads {
    loaded: AtomicU64,
    unchanged: AtomicU64,
    failed: AtomicU64,
    changes: AtomicU64,
    /// When the files were those that are served.
    pub(super) current: LastTime,
}

impl Loads {
    pub(super) fn new() -> Self {
        Self {
            loaded: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            current: LastTime::now(),
        }
    }

    pub(super) fn count(&self, outcome: &Result<Change, Faults>) {
        let count = match outcome {
            Ok(Change::Loaded) => &self.loaded,
            Ok(Change::None) => &self.unchanged,
            Err(_) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if outcome.is_ok() {
            self.current.renew();
        }
    }

    /// That many domains have a new revision.
    pub(super) fn learn(&self, changes: usize) {
        self.changes.fetch_add(u64::try_from(changes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn counters(&self, domains: usize) -> StoreCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let reloads = Reloads {
            loaded: read(&self.loaded),
            unchanged: read(&self.unchanged),
            failed: read(&self.failed),
        };
        StoreCounters {
            age: self.current.age(),
            domains: u64::try_from(domains).unwrap_or(u64::MAX),
            changes: read(&self.changes),
            reloads: Some(reloads),
        }
    }
}
