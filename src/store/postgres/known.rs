//! What is known of the database here: each domain's revision, whether it is followed, and which policies have faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use super::faults::Faults;
use crate::store::{Freshness, Revision};

/// The revisions of all domains that have one.
#[derive(Debug)]
pub(super) struct Known {
    /// Read for every request, and written for every change: a reader waits for nothing but a map's insertion.
    revisions: RwLock<HashMap<Box<str>, Revision>>,
    /// A [`Freshness`] as a number. Set by the one who follows, so that a request reads no clock.
    freshness: AtomicU8,
    pub(super) changed: watch::Sender<()>,
    pub(super) faults: Faults,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            revisions: RwLock::default(),
            freshness: AtomicU8::new(EXPIRED),
            changed: watch::Sender::new(()),
            faults: Faults::default(),
        }
    }

    pub(super) fn revision(&self, domain_id: &str) -> Revision {
        let revisions = self.revisions.read().unwrap_or_else(PoisonError::into_inner);
        revisions.get(domain_id).copied().unwrap_or_default()
    }

    /// Learns revisions. None is forgotten for an older one.
    pub(super) fn learn(&self, learned: impl IntoIterator<Item = (String, Revision)>) {
        let mut revisions = self.revisions.write().unwrap_or_else(PoisonError::into_inner);
        let mut is_news = false;
        for (domain_id, revision) in learned {
            let known = revisions.entry(domain_id.into_boxed_str()).or_default();
            is_news |= revision > *known;
            *known = revision.max(*known);
        }
        drop(revisions);
        if is_news {
            self.changed.send_replace(());
        }
    }

    pub(super) fn freshness(&self) -> Freshness {
        match self.freshness.load(Ordering::Relaxed) {
            CURRENT => Freshness::Current,
            STALE => Freshness::Stale,
            _ => Freshness::Expired,
        }
    }

    pub(super) fn set_freshness(&self, freshness: Freshness) {
        let number = match freshness {
            Freshness::Current => CURRENT,
            Freshness::Stale => STALE,
            Freshness::Expired => EXPIRED,
        };
        self.freshness.store(number, Ordering::Relaxed);
    }
}

const CURRENT: u8 = 0;
const STALE: u8 = 1;
const EXPIRED: u8 = 2;
