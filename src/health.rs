//! How the server is: for probes, and for people who ask what is wrong.
//!
//! Three signals that mean three things. *Live*, at `/livez`: the process answers; else it is to be started again. *Ready*,
//! at `/readyz` and in `grpc.health.v1`: it can decide, and will go on to; else (503) calls are to go elsewhere. *Degraded*,
//! in the body of `/readyz`: it decides, and somebody should look at it. The last good policies are served because newer ones
//! have faults or can't be had, policies have faults which are an error for those who are granted them, a new certificate
//! can't be used, or decisions are not recorded.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, response};
use serde::Serialize;

use crate::decision_log::{DecisionLog, LogHealth};
use crate::store::{PolicyStore, StoreHealth};

/// Whether decisions can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Readiness {
    /// They can.
    Ready,
    /// They can, and something is wrong.
    Degraded {
        /// What, one fault each.
        faults: Vec<String>,
    },
    /// They can't.
    Unavailable {
        /// Why, and what else is wrong.
        faults: Vec<String>,
    },
    /// They can for a while: the server stops.
    Stopping,
}

/// What is asked how it is.
#[derive(Clone)]
pub struct Sources {
    /// Where the policies are.
    pub store: Arc<dyn PolicyStore>,
    /// What records decisions.
    pub decision_log: DecisionLog,
    /// What keeps new certificates from being used.
    pub certificates: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Whether the server was told to stop.
    pub is_stopping: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, decision_log, certificates: _, is_stopping: _ } = self;
        f.debug_struct("Sources")
            .field("store", store)
            .field("decision_log", decision_log)
            .finish_non_exhaustive()
    }
}

impl Readiness {
    /// Whether calls are to come here.
    #[must_use]
    pub fn can_decide(&self) -> bool {
        match self {
            Self::Ready | Self::Degraded { .. } => true,
            Self::Unavailable { .. } | Self::Stopping => false,
        }
    }
}

impl Sources {
    /// How the server is now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if (self.is_stopping)() {
            return Readiness::Stopping;
        }
        let (of_store, store_decides) = match self.store.health() {
            StoreHealth::Current => (Vec::new(), true),
            StoreHealth::Degraded { faults } => (faults, true),
            StoreHealth::Expired => {
                (vec!["the policy store has been out of reach for too long".to_owned()], false)
            }
        };
        let (of_log, log_lets_decide) = match self.decision_log.health() {
            LogHealth::Writing => (Vec::new(), true),
            LogHealth::Failing { faults } => (faults, true),
            LogHealth::Refusing { faults } => (faults, false),
        };
        let faults = [of_store, of_log, (self.certificates)()].concat();
        match store_decides && log_lets_decide {
            true if faults.is_empty() => Readiness::Ready,
            true => Readiness::Degraded { faults },
            false => Readiness::Unavailable { faults },
        }
    }
}

/// The routes. The server binds them only once the policies are loaded.
pub fn routes(sources: Sources) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(sources)
}

async fn readyz(State(sources): State<Sources>) -> response::Response {
    let readiness = sources.readiness();
    let code = if readiness.can_decide() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
