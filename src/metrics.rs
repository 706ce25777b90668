//! Metrics for Prometheus: `/metrics` on the HTTP listener, in its text format.
//!
//! What is counted per request is counted in [`tally`](crate::tally): names have become indices when the server started, so a
//! call costs two readings of the clock, one look-up of its path and some additions; nothing is allocated, locked or shared
//! between processors. A library of metrics has a map behind a lock for that, or one count for all threads. The rest (cache,
//! store, process) is read when it is asked for.
//!
//! Labels have values from closed sets alone: the services and methods of the contract, the codes of gRPC, the actions of
//! the table and the reasons of decisions. No caller can make a series: an unknown method is `unknown`, and principals,
//! domains and paths are no labels. So the revision of a domain is none either; what can be watched is how many changes were
//! seen (`ecs_authz_policy_changes_total`).
//!
//! A call that nobody waited for to the end is counted as `Canceled`, not as answered.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::catalog::Catalog;
use crate::health;
use crate::pdp::Pdp;
use crate::slots::Slots;
use crate::traces::Tracer;
use text::{Kind, Text};

pub use calls::{Call, Calls};
pub use decisions::{Decisions, Failure, Reason, Refusal};

mod cache;
mod calls;
mod connections;
mod decision_log;
mod decisions;
mod process;
mod readiness;
mod store;
mod text;
mod traces;

/// The text format that every version of Prometheus reads.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What this process counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Calls of gRPC, on all listeners.
    pub calls: Arc<Calls>,
    /// Decisions, and requests for one that had none.
    pub decisions: Arc<Decisions>,
    connections: Arc<Slots>,
    started: SystemTime,
}

impl Metrics {
    /// Counts nothing yet. `methods` are all that may be served, by service.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, methods: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            calls: Arc::new(Calls::new(methods)),
            decisions: Arc::new(Decisions::new(catalog)),
            connections: Arc::new(Slots::new(usize::MAX)),
            started: SystemTime::now(),
        }
    }

    /// Tells of these places for connections.
    #[must_use]
    pub fn with_connections(self, connections: Arc<Slots>) -> Self {
        Self { connections, ..self }
    }
}

/// What a scrape reads.
#[derive(Debug)]
#[expect(missing_docs, reason = "named as their types")]
pub struct Sources {
    pub metrics: Metrics,
    pub pdp: Arc<Pdp>,
    pub health: health::Sources,
    pub tracer: Tracer,
}

/// The route. The server binds it with those of health.
pub fn routes(sources: Sources) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new(sources))
}

async fn scrape(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let Sources { metrics: Metrics { calls, decisions, connections, started }, pdp, health, tracer } =
        &*sources;
    let mut text = Text::default();
    text.family("ecs_authz_build_info", Kind::Gauge, "The version of this program.");
    text.sample("ecs_authz_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    calls.write(&mut text);
    decisions.write(&mut text);
    connections::write(connections, &mut text);
    cache::write(&pdp.cache_counters(), &mut text);
    readiness::write(&health.readiness(), &mut text);
    store::write(&*health.store, &mut text);
    decision_log::write(&health.decision_log.counters(), &mut text);
    if let Some(spans) = tracer.counters() {
        traces::write(&spans, &mut text);
    }
    process::write(*started, &mut text);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text.finish())
}
