//! What stores tell of themselves to those who watch over them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a store has done since it was opened, and what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// How long ago what is served was last known to be what the source holds.
    pub age: Duration,
    /// The domains that it has.
    pub domains: u64,
    /// Revisions of domains that were learnt.
    pub changes: u64,
    /// Of a store that is read as a whole, how often it was.
    pub reloads: Option<Reloads>,
}

/// How often a store was read as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reloads {
    /// Some domain had changed.
    pub loaded: u64,
    /// Nothing had changed.
    pub unchanged: u64,
    /// There were faults, and what was read before stayed.
    pub failed: u64,
}

/// When something was so for the last time.
#[derive(Debug)]
pub(super) struct LastTime(Mutex<Instant>);

impl LastTime {
    pub(super) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It is so now.
    pub(super) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
