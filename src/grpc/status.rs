//! The errors that leave the service: a closed set. What caused one is logged, not sent.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetail, FieldViolation as StatusViolation, RetryInfo, StatusExt as _};

use super::pb;
use crate::decision_log::{self, Unrecorded};
use crate::metrics::Failure;
use crate::pdp::DecideError;
use crate::request::{FieldViolation, InvalidRequest};
use crate::store::postgres::administration::AdminError;

/// When a call that was shed may come again: decisions that wait for a slow database take seconds, those in the cache
/// microseconds, so places are free much sooner.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Why a call of ours has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The caller's fault.
    #[error("the request is malformed: {0}")]
    Invalid(#[from] InvalidRequest),
    /// The policies can't be had now.
    #[error("the policies can't be had now: try again")]
    Unavailable,
    /// The policies did not reach the revision that was asked for.
    #[error("the policies of the domain have not reached revision {minimum}: try again")]
    Behind {
        /// The revision that was asked for.
        minimum: u64,
    },
    /// There was no time.
    #[error("no answer within the deadline: try again")]
    DeadlineExceeded,
    /// Too many decisions are in the making.
    #[error("too many decisions are being made: try again, or elsewhere")]
    Shed,
    /// Too many messages are on their way.
    #[error("too many messages are on their way: try again, or elsewhere")]
    Crowded,
    /// The connection of a stream is told to go.
    #[error("the connection has its age, or the service stops: open the stream again")]
    Departing,
    /// A fault of this program. What it was is in its log.
    #[error("the call failed for a fault of the service")]
    Panicked,
    /// The decision log can't be written, and must be.
    #[error("the decision can't be recorded now: try again")]
    Unrecorded,
    /// Nobody who may administer.
    #[error("expected a bearer token or a client certificate that the configuration knows")]
    Unauthenticated,
    /// Somebody who is known, and not named for this service.
    #[error("the configuration does not name the client of this certificate for this service")]
    Forbidden,
    /// What an administrator asks for is not there.
    #[error("{0}")]
    Missing(String),
    /// It is in another state than the administrator expects.
    #[error("{0}")]
    Conflict(String),
    /// A change that would leave a grant without its policy.
    #[error("{0}")]
    Precondition(String),
    /// An administrator asks for more than can be done in time.
    #[error("{0}")]
    TooLong(String),
    /// The database of an administrator can't be reached or failed.
    #[error("the database can't be reached or failed: read what is there, then try again")]
    Database,
}

impl CallError {
    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Unavailable | Self::Behind { .. } | Self::Unrecorded | Self::Departing | Self::Database => {
                Code::Unavailable
            }
            Self::DeadlineExceeded | Self::TooLong(_) => Code::DeadlineExceeded,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::Missing(_) => Code::NotFound,
            Self::Shed | Self::Crowded => Code::ResourceExhausted,
            Self::Panicked => Code::Internal,
            Self::Conflict(_) => Code::Aborted,
            Self::Precondition(_) => Code::FailedPrecondition,
        }
    }

    /// What it is for a request that asks for a decision.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Unavailable | Self::Unrecorded | Self::Departing | Self::Database | Self::Panicked => {
                Failure::Unavailable
            }
            Self::Shed | Self::Crowded => Failure::Shed,
            Self::Behind { .. } => Failure::Behind,
            Self::DeadlineExceeded | Self::TooLong(_) => Failure::DeadlineExceeded,
            Self::Invalid(_)
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::Missing(_)
            | Self::Conflict(_)
            | Self::Precondition(_) => Failure::Invalid,
        }
    }

    /// As the decision log tells it.
    pub(super) fn recorded(&self) -> decision_log::Failure {
        match self.failure() {
            Failure::Invalid => decision_log::Failure::Invalid,
            Failure::DeadlineExceeded => decision_log::Failure::DeadlineExceeded,
            Failure::Unavailable | Failure::Behind | Failure::Shed => decision_log::Failure::Unavailable,
        }
    }

    fn violations(&self) -> &[FieldViolation] {
        match self {
            Self::Invalid(InvalidRequest { violations }) => violations,
            _ => &[],
        }
    }

    /// What a client's program can read of it.
    fn details(&self) -> Option<ErrorDetail> {
        match self {
            Self::Invalid(InvalidRequest { violations }) => {
                let violations = violations.iter().cloned();
                let violations = violations
                    .map(|FieldViolation { field, description }| StatusViolation::new(field, description));
                Some(BadRequest::new(violations.collect::<Vec<_>>()).into())
            }
            Self::Shed | Self::Crowded => Some(RetryInfo::new(Some(RETRY_DELAY)).into()),
            _ => None,
        }
    }

    /// The error of one request of a batch.
    #[must_use]
    pub fn into_batch_error(self, request_id: String) -> pb::AuthorizeError {
        let violations = self.violations().iter().cloned();
        pb::AuthorizeError {
            code: self.code().into(),
            message: self.to_string(),
            field_violations: violations
                .map(|FieldViolation { field, description }| pb::FieldViolation { field, description })
                .collect(),
            request_id,
        }
    }
}

/// One malformed field.
pub(super) fn invalid(field: &str, description: String) -> CallError {
    let violation = FieldViolation { field: field.to_owned(), description };
    InvalidRequest { violations: vec![violation] }.into()
}

impl From<DecideError> for CallError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Store(cause) => {
                tracing::error!(error = &cause as &dyn std::error::Error, "no decision");
                Self::Unavailable
            }
        }
    }
}

impl From<Unrecorded> for CallError {
    fn from(Unrecorded: Unrecorded) -> Self {
        Self::Unrecorded
    }
}

impl From<AdminError> for CallError {
    fn from(error: AdminError) -> Self {
        let told = error.to_string();
        match error {
            AdminError::Missing { .. } => Self::Missing(told),
            AdminError::Conflict { .. } => Self::Conflict(told),
            AdminError::Granted { .. } | AdminError::UnknownPolicy(_) | AdminError::Refused(_) => {
                Self::Precondition(told)
            }
            AdminError::TooLong => Self::TooLong(told),
            AdminError::Pool(_) | AdminError::Database(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "policies can't be administered");
                Self::Database
            }
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error.details() {
            Some(details) => Self::with_error_details_vec(code, message, [details]),
            None => Self::new(code, message),
        }
    }
}
