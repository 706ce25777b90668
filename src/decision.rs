//! The outcome of a request: allow, or deny with a reason.
//!
//! An allow can't be written down, only reached: [`Decision::of`] is the one place that builds it, from a verdict
//! on every required action. An error is no decision; it has its own type, and nothing turns one into the other.

use std::sync::Arc;

use crate::catalog::{BodyFault, ResolveError};

/// Allow or deny. There is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The call may pass.
    Allow(Permit),
    /// The call may not pass.
    Deny(DenyReason),
}

/// Proof that every required action was found allowed. Only [`Decision::of`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit(());

/// Why a call may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The path has more than one reading.
    NonCanonicalPath,
    /// No operation is published for the method and path.
    UnknownOperation,
    /// The body tells the operation, and there is none.
    BodyRequired,
    /// The body is not one JSON object.
    BodyNotAnObject,
    /// The body has another number of top-level keys than one.
    BodyKeyCount,
    /// The body's key is that of no operation.
    BodyKeyUnknown,
    /// The body is cut short.
    BodyTruncated,
    /// The body is encoded.
    BodyEncoded,
    /// The project in the path is not the principal's.
    ProjectMismatch,
    /// A statement denies.
    ExplicitDeny,
    /// No statement allows.
    NoMatchingAllow,
    /// The action is allowed, a dependency action is not, and dependencies are enforced.
    MissingDependency,
}

impl DenyReason {
    /// All reasons, in their order.
    pub const ALL: [Self; 12] = [
        Self::NonCanonicalPath,
        Self::UnknownOperation,
        Self::BodyRequired,
        Self::BodyNotAnObject,
        Self::BodyKeyCount,
        Self::BodyKeyUnknown,
        Self::BodyTruncated,
        Self::BodyEncoded,
        Self::ProjectMismatch,
        Self::ExplicitDeny,
        Self::NoMatchingAllow,
        Self::MissingDependency,
    ];

    /// The name for people and programs outside of the contract: the contract's without its prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NonCanonicalPath => "NON_CANONICAL_PATH",
            Self::UnknownOperation => "UNKNOWN_OPERATION",
            Self::BodyRequired => "BODY_REQUIRED",
            Self::BodyNotAnObject => "BODY_NOT_AN_OBJECT",
            Self::BodyKeyCount => "BODY_KEY_COUNT",
            Self::BodyKeyUnknown => "BODY_KEY_UNKNOWN",
            Self::BodyTruncated => "BODY_TRUNCATED",
            Self::BodyEncoded => "BODY_ENCODED",
            Self::ProjectMismatch => "PROJECT_MISMATCH",
            Self::ExplicitDeny => "EXPLICIT_DENY",
            Self::NoMatchingAllow => "NO_MATCHING_ALLOW",
            Self::MissingDependency => "MISSING_DEPENDENCY",
        }
    }
}

/// What dependency actions do to the decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DependencyMode {
    /// They are reported; the decision is the action's.
    #[default]
    Report,
    /// A call with a dependency that is not allowed is denied.
    Enforce,
}

impl DependencyMode {
    /// The stricter of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Report, Self::Report) => Self::Report,
            (Self::Enforce, _) | (_, Self::Enforce) => Self::Enforce,
        }
    }
}

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The statement allows.
    Allow,
    /// The statement denies, whatever others allow.
    Deny,
}

/// A statement of a policy, by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRef {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The position in the policy's `Statement`, counted from zero.
    pub index: usize,
    /// What the statement does.
    pub effect: Effect,
}

/// What a principal's policies say of one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This statement allows it, and none denies it.
    Allowed(&'a StatementRef),
    /// This statement denies it.
    Denied(&'a StatementRef),
    /// No statement is about it.
    Unmatched,
}

impl<'a> Verdict<'a> {
    /// The statement that decided.
    #[must_use]
    pub fn statement(self) -> Option<&'a StatementRef> {
        match self {
            Self::Allowed(statement) | Self::Denied(statement) => Some(statement),
            Self::Unmatched => None,
        }
    }

    /// Why the action is not allowed, if it is not.
    #[must_use]
    pub fn denied(self) -> Option<DenyReason> {
        match self {
            Self::Allowed(_) => None,
            Self::Denied(_) => Some(DenyReason::ExplicitDeny),
            Self::Unmatched => Some(DenyReason::NoMatchingAllow),
        }
    }
}

impl Decision {
    /// Decides from the verdicts on the required actions and on the dependency actions.
    ///
    /// Every required action must be allowed, and an explicit deny of any is the reason before all others. A call
    /// that requires no action is denied: nothing allows it.
    #[must_use]
    pub fn of<'a>(
        required: impl IntoIterator<Item = Verdict<'a>>,
        dependencies: impl IntoIterator<Item = Verdict<'a>>,
        mode: DependencyMode,
    ) -> Self {
        let (mut is_allowed, mut is_unmatched) = (false, false);
        for verdict in required {
            match verdict {
                Verdict::Denied(_) => return Self::Deny(DenyReason::ExplicitDeny),
                Verdict::Unmatched => is_unmatched = true,
                Verdict::Allowed(_) => is_allowed = true,
            }
        }
        if is_unmatched || !is_allowed {
            return Self::Deny(DenyReason::NoMatchingAllow);
        }
        let is_missing = |verdict: Verdict<'_>| verdict.denied().is_some();
        match mode {
            DependencyMode::Enforce if dependencies.into_iter().any(is_missing) => {
                Self::Deny(DenyReason::MissingDependency)
            }
            DependencyMode::Enforce | DependencyMode::Report => Self::Allow(Permit(())),
        }
    }

    /// Whether the call may pass.
    #[must_use]
    pub fn is_allow(self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Why the call may not pass, if it may not.
    #[must_use]
    pub fn reason(self) -> Option<DenyReason> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(reason) => Some(reason),
        }
    }
}

impl From<&ResolveError> for DenyReason {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::Path(_) => Self::NonCanonicalPath,
            ResolveError::UnknownOperation { .. } => Self::UnknownOperation,
            ResolveError::Body(BodyFault::Required) => Self::BodyRequired,
            ResolveError::Body(BodyFault::NotAnObject(_)) => Self::BodyNotAnObject,
            ResolveError::Body(BodyFault::KeyCount(_)) => Self::BodyKeyCount,
            ResolveError::Body(BodyFault::Truncated) => Self::BodyTruncated,
            ResolveError::Body(BodyFault::Encoded) => Self::BodyEncoded,
            ResolveError::UnknownKey { .. } => Self::BodyKeyUnknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(effect: Effect) -> StatementRef {
        StatementRef { policy: "p".into(), index: 0, effect }
    }

    #[test]
    fn every_required_action_must_be_allowed() {
        let (allow, deny) = (statement(Effect::Allow), statement(Effect::Deny));
        let (allowed, denied, unmatched) =
            (Verdict::Allowed(&allow), Verdict::Denied(&deny), Verdict::Unmatched);
        let cases: &[(&[Verdict<'_>], Option<DenyReason>)] = &[
            (&[allowed], None),
            (&[allowed, allowed], None),
            (&[allowed, denied], Some(DenyReason::ExplicitDeny)),
            (&[unmatched, denied], Some(DenyReason::ExplicitDeny)),
            (&[allowed, unmatched], Some(DenyReason::NoMatchingAllow)),
            (&[denied, allowed], Some(DenyReason::ExplicitDeny)),
            (&[], Some(DenyReason::NoMatchingAllow)),
        ];
        for (required, reason) in cases {
            let decision = Decision::of(required.iter().copied(), [], DependencyMode::Report);
            assert_eq!(decision.reason(), *reason, "{required:?}");
        }
    }

    #[test]
    fn dependencies_decide_only_where_they_are_enforced() {
        let allow = statement(Effect::Allow);
        let decide = |dependency, mode| Decision::of([Verdict::Allowed(&allow)], [dependency], mode);
        assert!(decide(Verdict::Unmatched, DependencyMode::Report).is_allow());
        assert!(decide(Verdict::Allowed(&allow), DependencyMode::Enforce).is_allow());
        let missing = decide(Verdict::Unmatched, DependencyMode::Enforce);
        assert_eq!(missing, Decision::Deny(DenyReason::MissingDependency));
    }

    #[test]
    fn the_stricter_mode_wins() {
        use DependencyMode::{Enforce, Report};
        assert_eq!([Report.or(Report), Report.or(Enforce), Enforce.or(Report)], [Report, Enforce, Enforce]);
    }
}
