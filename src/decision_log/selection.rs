//! Which decisions are recorded.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::{DecisionLogConfig, Decisions};
use crate::catalog::{ActionId, ActionSet, Catalog};
use crate::decision::Decision;
use crate::policy::{Pattern, Version};

/// Which decisions are recorded, and how many were not.
#[derive(Debug)]
pub(super) struct Selection {
    decisions: Decisions,
    /// The actions whose decisions are recorded; nothing stands for all.
    actions: Option<ActionSet>,
    sample_allows: NonZeroU32,
    allows: AtomicU64,
    pub(super) filtered: AtomicU64,
    pub(super) sampled_out: AtomicU64,
}

impl Selection {
    pub(super) fn new(config: &DecisionLogConfig, catalog: &Catalog) -> Self {
        let patterns = config.actions.iter().filter_map(|text| Pattern::parse(text, Version::Policy).ok());
        let patterns: Vec<Pattern> = patterns.collect();
        let mut covered = ActionSet::empty(catalog.action_count());
        for (id, action) in catalog.actions() {
            if patterns.iter().any(|pattern| pattern.covers(action)) {
                covered.insert(id);
            }
        }
        Self {
            decisions: config.decisions,
            actions: (!config.actions.is_empty()).then_some(covered),
            sample_allows: config.sample_allows,
            allows: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            sampled_out: AtomicU64::new(0),
        }
    }

    /// Of how many decisions like this one a record speaks; nothing if this one is not recorded.
    pub(super) fn weight(&self, decision: Decision, action: Option<ActionId>) -> Option<NonZeroU32> {
        let is_covered =
            || self.actions.as_ref().zip(action).is_none_or(|(actions, action)| actions.contains(action));
        let is_wanted = !decision.is_allow() || self.decisions == Decisions::All;
        if !is_wanted || !is_covered() {
            self.filtered.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if !decision.is_allow() {
            return Some(NonZeroU32::MIN);
        }
        let before = self.allows.fetch_add(1, Ordering::Relaxed);
        if !before.is_multiple_of(u64::from(self.sample_allows.get())) {
            self.sampled_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.sample_allows)
    }
}
