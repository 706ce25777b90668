//! Health over HTTP: for probes, and for people who ask what is wrong.
//!
//! `/livez` says that the process answers. `/readyz` says whether it can decide (else 503), and in its body how the policy
//! store is: `degraded` means that the last good policies are served because newer ones have faults or can't be had, that
//! policies have faults which are an error for those who are granted them, or that a new certificate can't be used.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, response};
use serde::Serialize;

use crate::store::{PolicyStore, StoreHealth};

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    /// `ready` or `degraded`, which both decide, or `unavailable`.
    status: &'static str,
    /// What keeps policies from being served or a certificate from being used, one fault each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

/// What is asked how it is.
#[derive(Clone)]
struct Sources {
    store: Arc<dyn PolicyStore>,
    certificates: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// The routes. The server binds them only once the policies are loaded. The second tells what keeps new certificates from
/// being used.
pub fn routes(
    store: Arc<dyn PolicyStore>,
    certificates: impl Fn() -> Vec<String> + Send + Sync + 'static,
) -> Router {
    let sources = Sources { store, certificates: Arc::new(certificates) };
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(sources)
}

async fn readyz(State(sources): State<Sources>) -> response::Response {
    let of_certificates = (sources.certificates)();
    let (code, readiness) = match sources.store.health() {
        StoreHealth::Current if of_certificates.is_empty() => {
            (StatusCode::OK, Readiness { status: "ready", faults: Vec::new() })
        }
        StoreHealth::Current => (StatusCode::OK, Readiness { status: "degraded", faults: of_certificates }),
        StoreHealth::Degraded { faults } => {
            let faults = [faults, of_certificates].concat();
            (StatusCode::OK, Readiness { status: "degraded", faults })
        }
        StoreHealth::Expired => {
            let faults = vec!["the policy store has been out of reach for too long".to_owned()];
            (StatusCode::SERVICE_UNAVAILABLE, Readiness { status: "unavailable", faults })
        }
    };
    match serde_json::to_string(&readiness) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
