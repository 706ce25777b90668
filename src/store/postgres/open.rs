//! What may keep a database from being used when a server starts, and the patience with what passes.

use std::error::Error;
use std::io;
use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio::time::{Instant, sleep};
use tokio_postgres::error::DbError;

use super::causes;
use super::connector::AuthoritiesError;
use super::migrate::SchemaError;
use crate::policy::DocumentError;

/// How long it is waited before the next attempt.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often it is told that the database is still awaited.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be reached, or refuses.
    #[error("the database at {url} can't be used")]
    Unreachable {
        /// Where it should be, without credentials.
        url: String,
        /// Why.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// There is nothing to verify it with.
    #[error("the database at {url} can't be verified")]
    Authorities {
        /// Where it is, without credentials.
        url: String,
        /// Why.
        #[source]
        cause: AuthoritiesError,
    },
    /// Its schema is another one.
    #[error("the database at {url} can't be used")]
    Schema {
        /// Where it is, without credentials.
        url: String,
        /// Why.
        #[source]
        cause: SchemaError,
    },
    /// It was awaited for as long as was asked for.
    #[error("gave up after {} s", .waited.as_secs())]
    GaveUp {
        /// How long it was awaited.
        waited: Duration,
        /// Why it could not be used at last.
        #[source]
        cause: Box<OpenError>,
    },
    /// The built-in policies do not compile against this catalog.
    #[error("a system policy does not compile: {}", .0.iter().map(ToString::to_string).collect::<String>())]
    System(Vec<DocumentError>),
}

impl OpenError {
    /// Whether the database may become usable without a change of our settings.
    fn may_pass(&self) -> bool {
        match self {
            Self::Schema { cause: SchemaError::Older { .. }, .. } => true,
            Self::Schema { cause: SchemaError::Newer { .. }, .. }
            | Self::Authorities { .. }
            | Self::GaveUp { .. }
            | Self::System(_) => false,
            Self::Schema { cause: cause @ SchemaError::Database(_), .. } => passes(cause),
            Self::Unreachable { cause, .. } => passes(&**cause),
        }
    }
}

/// Whether a fault of the connection or of the server may be over later. What is not known to pass does not.
fn passes(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| {
        if let Some(refused) = cause.downcast_ref::<DbError>() {
            // Connection exceptions, insufficient resources, operator intervention: starting up is one of these.
            return matches!(refused.code().code().get(..2), Some("08" | "53" | "57"));
        }
        cause.downcast_ref().is_some_and(|error| !is_distrust(error))
            || cause.is::<tokio::time::error::Elapsed>()
            || matches!(cause.downcast_ref(), Some(PoolError::Timeout(_)))
            || cause.downcast_ref().is_some_and(tokio_postgres::Error::is_closed)
    })
}

/// Whether TLS has failed for what the other side is.
fn is_distrust(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Attempts to open until it succeeds, fails for what does not pass, or the time is over.
pub(super) async fn within<T, F: Future<Output = Result<T, OpenError>>>(
    limit: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, OpenError> {
    let start = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let error = match attempt().await {
            Ok(opened) => return Ok(opened),
            Err(error) if limit.is_zero() || !error.may_pass() => return Err(error),
            Err(error) => error,
        };
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(OpenError::GaveUp { waited: limit, cause: Box::new(error) });
        }
        if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(error = %causes(&error), seconds_left = left.as_secs(), "trying again");
            told = Some(Instant::now());
        }
        sleep(RETRY_INTERVAL.min(left)).await;
    }
}
