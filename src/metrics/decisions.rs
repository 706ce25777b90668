//! Decisions by reason and action, and the requests for one that had none.

use std::sync::Arc;

use super::text::{Kind, Text};
use crate::catalog::{ActionId, Catalog};
use crate::decision::{Decision, DenyReason};
use crate::pdp::Response;
use crate::tally::{Tallies, Tally};

/// Why a request was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The decision point says so.
    Decided(DenyReason),
    /// It was not asked.
    Refused(Refusal),
}

/// Why Envoy's check was denied before it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No source of identity matched.
    Unauthenticated,
    /// The identity can't be read in one way.
    InvalidIdentity,
    /// Two sources of identity tell different principals.
    IdentityConflict,
    /// The method is never let through.
    MethodRefused,
    /// A header would replace the method or the path.
    OverrideHeader,
    /// The body is a form.
    FormBody,
    /// The request breaks a limit, or tells something twice.
    MalformedRequest,
}

/// Why a request for a decision had none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The caller's fault.
    Invalid,
    /// The policies can't be had.
    Unavailable,
    /// The policies did not reach the revision that was asked for.
    Behind,
    /// There was no time.
    DeadlineExceeded,
    /// Too many others were being decided.
    Shed,
}

impl Reason {
    /// The reason as metadata and headers tell it, too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decided(reason) => reason.name(),
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::Unauthenticated,
        Self::InvalidIdentity,
        Self::IdentityConflict,
        Self::MethodRefused,
        Self::OverrideHeader,
        Self::FormBody,
        Self::MalformedRequest,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::InvalidIdentity => "INVALID_IDENTITY",
            Self::IdentityConflict => "IDENTITY_CONFLICT",
            Self::MethodRefused => "METHOD_REFUSED",
            Self::OverrideHeader => "OVERRIDE_HEADER",
            Self::FormBody => "FORM_BODY",
            Self::MalformedRequest => "MALFORMED_REQUEST",
        }
    }
}

impl Failure {
    const ALL: [Self; 5] =
        [Self::Invalid, Self::Unavailable, Self::Behind, Self::DeadlineExceeded, Self::Shed];

    /// The failure as spans tell it, too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
            Self::Behind => "behind",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Shed => "shed",
        }
    }
}

/// The rows of the table of decisions: allow, and each reason.
const REFUSALS: usize = 1 + DenyReason::ALL.len();
const ROWS: usize = REFUSALS + Refusal::ALL.len();

/// All decisions.
#[derive(Debug)]
pub struct Decisions {
    catalog: Arc<Catalog>,
    /// A row for each reason; in it, each action and, as the last one, none.
    table: Tallies,
    stale: Tally,
    failures: Tallies,
}

impl Decisions {
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        let table = Tallies::new(ROWS * (catalog.action_count() + 1));
        Self { catalog, table, stale: Tally::default(), failures: Tallies::new(Failure::ALL.len()) }
    }

    /// Counts what the decision point says.
    pub fn decided(&self, response: &Response<'_>) {
        let row = match response.decision() {
            Decision::Allow(_) => 0,
            Decision::Deny(reason) => row(Reason::Decided(reason)),
        };
        self.count(row, response.action());
        if let Response::Evaluated { is_stale: true, .. } = response {
            self.stale.add_one();
        }
    }

    /// Counts a denial that the decision point did not make.
    pub fn denied(&self, reason: Reason) {
        self.count(row(reason), None);
    }

    /// Counts a request that had no decision.
    pub fn failed(&self, failure: Failure) {
        self.failures.add(failure as usize, 1);
    }

    fn count(&self, row: usize, action: Option<ActionId>) {
        let none = self.catalog.action_count();
        self.table.add(row * (none + 1) + action.map_or(none, ActionId::index), 1);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let help = "Decisions, of batches and of Envoy's checks too. An allow has no reason; what is no operation, no action.";
        text.family("ecs_authz_decisions_total", Kind::Counter, help);
        let reasons = DenyReason::ALL.map(Reason::Decided).into_iter();
        let reasons = reasons.chain(Refusal::ALL.map(Reason::Refused)).map(|reason| ("deny", reason.name()));
        let actions = self.catalog.actions().map(|(_, action)| &*action.name);
        let actions: Vec<&str> = actions.chain([""]).collect();
        for (row, (decision, reason)) in [("allow", "")].into_iter().chain(reasons).enumerate() {
            for (column, action) in actions.iter().enumerate() {
                let count = self.table.sum(row * actions.len() + column);
                let labels = [("decision", decision), ("reason", reason), ("action", action)];
                if count > 0 {
                    text.sample("ecs_authz_decisions_total", &labels, count);
                }
            }
        }
        let help =
            "Of the decisions, those by policies that may be outdated, for the store can't be followed.";
        text.single("ecs_authz_stale_decisions_total", Kind::Counter, help, self.stale.sum());
        text.family(
            "ecs_authz_errors_total",
            Kind::Counter,
            "Requests for a decision that had none, which is no denial.",
        );
        for failure in Failure::ALL {
            let count = self.failures.sum(failure as usize);
            text.sample("ecs_authz_errors_total", &[("kind", failure.name())], count);
        }
    }
}

fn row(reason: Reason) -> usize {
    match reason {
        Reason::Decided(reason) => 1 + reason as usize,
        Reason::Refused(refusal) => REFUSALS + refusal as usize,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_row_and_a_name_of_its_own() {
        let reasons = DenyReason::ALL.map(Reason::Decided).into_iter();
        let reasons: Vec<Reason> = reasons.chain(Refusal::ALL.map(Reason::Refused)).collect();
        let rows: Vec<usize> = reasons.iter().map(|reason| row(*reason)).collect();
        assert_eq!(rows, (1..ROWS).collect::<Vec<_>>());
        assert_eq!(reasons.iter().map(|reason| reason.name()).collect::<BTreeSet<_>>().len(), ROWS - 1);
        assert_eq!(Failure::ALL.map(|failure| failure as usize), [0, 1, 2, 3, 4]);
    }
}
