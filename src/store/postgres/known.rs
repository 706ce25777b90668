//! What is known of the database here: each domain's revision, whether it is followed, and which policies have faults.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rapidhash::quality::RandomState;
use tokio::sync::watch;

use super::faults::Faults;
use crate::store::counters::LastTime;
use crate::store::{Freshness, Revision, StoreCounters};

/// A revision of a domain, and what tells it from another one of the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) revision: Revision,
    /// Drawn at random when the revision was made.
    pub(super) stamp: i64,
}

/// The database that was read is not where the one that is followed is: a primary that was replaced, or a standby that is
/// behind. Its connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[error("the database that was read is behind the one that is followed, or has another history")]
pub(super) struct Diverged;

/// The revisions of all domains that have one.
#[derive(Debug)]
pub(super) struct Known {
    /// Read for every request, without a lock. A change of a domain is written in place; a new domain makes a new map.
    domains: ArcSwap<Domains>,
    /// Held by who writes.
    writing: Mutex<()>,
    /// Grows whenever a revision that was known turns out not to be in the history of the database. Written after the
    /// domains, and read before them: so nothing of the old history is taken for the new one's.
    timeline: AtomicU64,
    /// A [`Freshness`] as a number. Set by the one who follows, so that a request reads no clock.
    freshness: AtomicU8,
    pub(super) changed: watch::Sender<()>,
    /// Revisions that were learnt.
    changes: AtomicU64,
    /// When the database was last asked for all changes.
    pub(super) asked: LastTime,
    pub(super) faults: Faults,
}

type Domains = HashMap<Arc<str>, Arc<Domain>, RandomState>;

/// The [`Mark`] of a domain.
#[derive(Debug, Default)]
struct Domain {
    revision: AtomicU64,
    /// Read by who writes alone.
    stamp: AtomicI64,
}

impl Domain {
    fn mark(&self) -> Mark {
        let revision = Revision(self.revision.load(Ordering::Acquire));
        Mark { revision, stamp: self.stamp.load(Ordering::Relaxed) }
    }

    fn set(&self, Mark { revision: Revision(revision), stamp }: Mark) {
        self.stamp.store(stamp, Ordering::Relaxed);
        self.revision.store(revision, Ordering::Release);
    }
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            domains: ArcSwap::default(),
            writing: Mutex::default(),
            timeline: AtomicU64::new(0),
            freshness: AtomicU8::new(EXPIRED),
            changed: watch::Sender::new(()),
            changes: AtomicU64::new(0),
            asked: LastTime::now(),
            faults: Faults::default(),
        }
    }

    pub(super) fn revision(&self, domain_id: &str) -> Revision {
        self.domains.load().get(domain_id).map(|domain| domain.mark().revision).unwrap_or_default()
    }

    fn write(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn timeline(&self) -> u64 {
        self.timeline.load(Ordering::Acquire)
    }

    /// Learns what the followed database says. No revision is forgotten for an older one, which may have been read before.
    pub(super) fn learn(&self, learned: impl IntoIterator<Item = (String, Mark)>) {
        self.update(learned, |known, mark| match mark.revision.cmp(&known.revision) {
            std::cmp::Ordering::Greater => Update::Newer,
            std::cmp::Ordering::Equal if mark.stamp != known.stamp => Update::Otherwise,
            _ => Update::None,
        });
    }

    /// Learns what was read of a principal's domain, before its announcement arrives. `before` was known before it was read.
    ///
    /// # Errors
    ///
    /// If it is older, or another revision of the number that is known.
    pub(super) fn learn_read(&self, domain_id: &str, before: Revision, mark: Mark) -> Result<(), Diverged> {
        let known = {
            let _writing = self.write();
            self.domains.load().get(domain_id).map(|domain| domain.mark()).unwrap_or_default()
        };
        if mark.revision > known.revision {
            self.learn([(domain_id.to_owned(), mark)]);
        }
        let is_other = mark.revision == known.revision && mark.stamp != known.stamp;
        if is_other || mark.revision < before { Err(Diverged) } else { Ok(()) }
    }

    /// Of these, the domains that are known at a later revision, each with that revision.
    pub(super) fn later_known(&self, seen: &[(String, Mark)]) -> HashMap<String, Revision> {
        let domains = self.domains.load();
        let later = seen.iter().filter_map(|(domain_id, mark)| {
            let known = domains.get(domain_id.as_str())?.mark().revision;
            (known > mark.revision).then(|| (domain_id.clone(), known))
        });
        later.collect()
    }

    /// Takes what the database says although a later revision was known: that one is lost.
    pub(super) fn go_back(&self, lost: impl IntoIterator<Item = (String, Mark)>) {
        self.update(lost, |_, _| Update::Otherwise);
    }

    fn update(
        &self,
        learned: impl IntoIterator<Item = (String, Mark)>,
        update: impl Fn(&Mark, &Mark) -> Update,
    ) {
        let (mut news, mut is_otherwise) = (0, false);
        let writing = self.write();
        let current = self.domains.load_full();
        let mut domains: Cow<'_, Domains> = Cow::Borrowed(&current);
        for (domain_id, mark) in learned {
            let domain = match domains.get(domain_id.as_str()) {
                Some(domain) => domain.clone(),
                None => domains.to_mut().entry(domain_id.into()).or_default().clone(),
            };
            let update = update(&domain.mark(), &mark);
            if update != Update::None {
                domain.set(mark);
                news += 1;
            }
            is_otherwise |= update == Update::Otherwise;
        }
        if let Cow::Owned(domains) = domains {
            self.domains.store(Arc::new(domains));
        }
        drop(writing);
        if is_otherwise {
            self.timeline.fetch_add(1, Ordering::Release);
            tracing::warn!("the database has lost changes that were known: all policies are read anew");
        }
        if news > 0 {
            self.changes.fetch_add(news, Ordering::Relaxed);
            self.changed.send_replace(());
        }
    }

    pub(super) fn counters(&self) -> StoreCounters {
        let domains = self.domains.load().len();
        StoreCounters {
            age: self.asked.age(),
            domains: u64::try_from(domains).unwrap_or(u64::MAX),
            changes: self.changes.load(Ordering::Relaxed),
            reloads: None,
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

/// What a mark is to the one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    None,
    Newer,
    /// Not one that can follow it.
    Otherwise,
}

const CURRENT: u8 = 0;
const STALE: u8 = 1;
const EXPIRED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(revision: u64, stamp: i64) -> Mark {
        Mark { revision: Revision(revision), stamp }
    }

    fn knowing(revision: u64, stamp: i64) -> Known {
        let known = Known::new();
        known.learn([("acme".to_owned(), mark(revision, stamp))]);
        known
    }

    #[test]
    fn a_later_revision_is_news_and_an_older_one_is_not() {
        let known = knowing(2, 20);
        known.learn([("acme".to_owned(), mark(3, 30))]);
        known.learn([("acme".to_owned(), mark(1, 10))]);
        // It was read before the third was known.
        known.learn_read("acme", Revision(2), mark(2, 20)).unwrap();
        assert_eq!((known.revision("acme"), known.timeline()), (Revision(3), 0));
        known.learn_read("acme", Revision(3), mark(4, 40)).unwrap();
        assert_eq!((known.revision("acme"), known.timeline()), (Revision(4), 0));
    }

    #[test]
    fn another_revision_of_a_known_number_is_another_history() {
        let known = knowing(2, 20);
        assert!(known.learn_read("acme", Revision(2), mark(2, 21)).is_err());
        assert!(known.learn_read("acme", Revision(2), mark(1, 10)).is_err());
        assert_eq!(known.timeline(), 0, "only the one that is followed is believed");
        known.learn([("acme".to_owned(), mark(2, 21))]);
        assert_eq!((known.revision("acme"), known.timeline()), (Revision(2), 1));
        known.learn_read("acme", Revision(2), mark(2, 21)).unwrap();
    }

    #[test]
    fn what_is_lost_is_gone_back_from() {
        let known = knowing(5, 50);
        let seen = [("acme".to_owned(), mark(3, 30)), ("other".to_owned(), mark(1, 10))];
        assert_eq!(known.later_known(&seen), HashMap::from([("acme".to_owned(), Revision(5))]));
        known.go_back([("acme".to_owned(), mark(3, 30))]);
        assert_eq!((known.revision("acme"), known.timeline()), (Revision(3), 1));
    }
}
