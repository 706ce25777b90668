//! Equal policy sets, merged once and stored once.
//!
//! A set is known by the policies that it is merged from. It is kept by those who use it: when the last entry that has
//! it is gone, so is the set. Looked up on a miss only, so one lock is enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::policy::{Applicable, PolicySet};

/// What a set takes besides itself, in bytes: its place in the table and what its allocations cost.
const OVERHEAD_BYTES: usize = 256;

/// All sets that are in use.
#[derive(Debug)]
pub(super) struct Sets {
    table: Mutex<Table>,
    /// The size of the catalog that the policies are compiled against.
    action_count: usize,
}

#[derive(Debug, Default)]
struct Table {
    by_policies: HashMap<Arc<Applicable>, Weak<SharedSet>>,
    bytes: u64,
}

/// A set that is in use by those who hold this.
#[derive(Debug)]
pub(super) struct SharedSet {
    pub(super) policies: Arc<PolicySet>,
    applicable: Arc<Applicable>,
    bytes: u64,
    sets: Arc<Sets>,
}

/// Where a set came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was in use already.
    Shared,
    /// It was merged.
    Merged,
}

/// How many sets are in use, and what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SetsInUse {
    pub(super) count: usize,
    pub(super) bytes: u64,
}

impl Sets {
    pub(super) fn new(action_count: usize) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), action_count })
    }

    /// The set of these policies: the one that is in use, or a new one.
    pub(super) fn share(self: &Arc<Self>, applicable: Applicable) -> (Arc<SharedSet>, Origin) {
        let in_use = self.table().find(&applicable);
        if let Some(set) = in_use {
            return (set, Origin::Shared);
        }
        // Without the lock: whoever needs the same set meanwhile merges it too, and one of the two is stored.
        let policies = PolicySet::merge(&applicable, self.action_count);
        let mut table = self.table();
        if let Some(set) = table.find(&applicable) {
            return (set, Origin::Shared);
        }
        (table.add(self.clone(), applicable, policies), Origin::Merged)
    }

    pub(super) fn in_use(&self) -> SetsInUse {
        let table = self.table();
        SetsInUse { count: table.by_policies.len(), bytes: table.bytes }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn find(&self, applicable: &Applicable) -> Option<Arc<SharedSet>> {
        self.by_policies.get(applicable)?.upgrade()
    }

    fn add(&mut self, sets: Arc<Sets>, applicable: Applicable, policies: PolicySet) -> Arc<SharedSet> {
        let bytes = OVERHEAD_BYTES + policies.approximate_bytes();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let set = SharedSet { policies: policies.into(), applicable: applicable.into(), bytes, sets };
        let set = Arc::new(set);
        self.bytes += bytes;
        self.by_policies.insert(set.applicable.clone(), Arc::downgrade(&set));
        set
    }
}

impl Drop for SharedSet {
    fn drop(&mut self) {
        let mut table = self.sets.table();
        table.bytes -= self.bytes;
        // Since its last user left, another may have taken its place.
        if table.by_policies.get(&self.applicable).is_some_and(|set| set.strong_count() == 0) {
            table.by_policies.remove(&self.applicable);
        }
    }
}
