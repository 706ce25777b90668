//! Why a checked request is denied before, or instead of, a decision. A fault of the client is a denial, never a gRPC
//! error: Envoy takes an error for a fault of ours, and clients could cause it at will.

use crate::decision::DenyReason;
use crate::metrics::{Reason, Refusal};
use crate::request::InvalidRequest;

/// A denial that no policy made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    /// No source of identity matched.
    #[error("there is no verified identity")]
    Unauthenticated,
    /// An identity that can't be read in one way.
    #[error("{0}")]
    Identity(String),
    /// Two sources of identity tell different principals.
    #[error("two sources tell different principals")]
    IdentityConflict,
    /// A method that is never let through.
    #[error("the method {0} is refused")]
    Method(&'static str),
    /// A header by which some servers replace the method or the path.
    #[error("the header `{0}` is refused")]
    OverrideHeader(&'static str),
    /// A media type that switches the version of the API.
    #[error("a `version` parameter in a media type is refused")]
    VersionParameter,
    /// A form as the body: some servers read a method from its `_method`. The API takes JSON.
    #[error("a form as the body is refused: the API takes application/json")]
    Form,
    /// A part of the request came in both forms.
    #[error("the {0} came twice, in both forms")]
    Twice(&'static str),
    /// A field beyond its limits.
    #[error("the request is malformed: {0}")]
    Malformed(#[from] InvalidRequest),
}

impl Denial {
    /// The reason as metadata, headers and metrics tell it.
    pub(super) fn reason(&self) -> Reason {
        Reason::Refused(match self {
            Self::Unauthenticated => Refusal::Unauthenticated,
            Self::Identity(_) => Refusal::InvalidIdentity,
            Self::IdentityConflict => Refusal::IdentityConflict,
            Self::Method(_) => Refusal::MethodRefused,
            Self::OverrideHeader(_) => Refusal::OverrideHeader,
            // A second reading of the path.
            Self::VersionParameter => return Reason::Decided(DenyReason::NonCanonicalPath),
            Self::Form => Refusal::FormBody,
            Self::Twice(_) | Self::Malformed(_) => Refusal::MalformedRequest,
        })
    }
}
