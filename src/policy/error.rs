//! What can be wrong with a policy document, and where.

use super::condition::ConditionFault;
use super::pattern::PatternFault;
use super::resource::ResourceFault;

/// A fault of a policy document and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct DocumentError {
    /// The place as a JSON path: `$.Statement[0].Action[2]`.
    pub path: String,
    /// What is wrong there.
    pub fault: DocumentFault,
}

/// What can be wrong with a policy document.
///
/// The numbers in brackets are the provider's error codes for the same rule (IAM API reference, Error Codes).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// Not JSON, or a member stands twice.
    #[error("{0}")]
    Json(String),
    /// A character that nobody sees, in front of the document.
    #[error("expected an object, found a byte order mark")]
    ByteOrderMark,
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: &'static str,
    },
    /// A value that is none of the known ones.
    #[error("expected {expected}, found `{found}`")]
    Value {
        /// The known values.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A member that must be there is not.
    #[error("expected a member `{0}`")]
    Missing(&'static str),
    /// A member that is not known here.
    #[error("unknown member, expected one of: {expected}")]
    Unknown {
        /// The known members.
        expected: &'static str,
    },
    /// A published limit.
    #[error("expected {min} to {max} {what}, found {found}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// `Action` and `NotAction` in one statement, or neither (IAM.1031).
    #[error("expected exactly one of `Action` and `NotAction`")]
    ActionOrNotAction,
    /// An action pattern that is malformed (IAM.1035).
    #[error(transparent)]
    Pattern(#[from] PatternFault),
    /// `Condition` in a role, which may not have any (IAM.1039).
    #[error("a role (version 1.0) has no conditions")]
    ConditionInRole,
    /// `Depends` in a policy, which may not have any (IAM.1025).
    #[error("a policy (version 1.1) has no dependencies: only roles (version 1.0) do")]
    DependsInPolicy,
    /// A resource that is malformed.
    #[error(transparent)]
    Resource(#[from] ResourceFault),
    /// A condition that is malformed.
    #[error(transparent)]
    Condition(#[from] ConditionFault),
}

/// Text from a file is cut before it stands in a message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
