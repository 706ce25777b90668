//! Health over HTTP: for probes, and for people who ask what is wrong.
//!
//! `/livez` says that the process answers. `/readyz` says whether it can decide (else 503), and in its body how the policy
//! store is: `degraded` means that the last good policies are served because newer ones have faults or can't be had, or that
//! policies have faults which are an error for those who are granted them.

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
    /// What keeps policies from being served, one fault each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
}

/// The routes. The server binds them only once the policies are loaded.
pub fn routes(store: Arc<dyn PolicyStore>) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(store)
}

async fn readyz(State(store): State<Arc<dyn PolicyStore>>) -> response::Response {
    let (code, readiness) = match store.health() {
        StoreHealth::Current => (StatusCode::OK, Readiness { status: "ready", faults: Vec::new() }),
        StoreHealth::Degraded { faults } => (StatusCode::OK, Readiness { status: "degraded", faults }),
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
