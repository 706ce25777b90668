//! `envoy.service.auth.v3.Authorization`: Envoy's external authorization, through the same decision point.
//!
//! Parse, decide, render. A denial is an answer; a fault of ours is an answer too, of the form that Envoy counts as
//! an error. What a client can cause must not look like a fault of this service, so no check that is decoded ends with
//! a gRPC status. One that is larger than the limit of messages, a mebibyte, is not decoded: Envoy's `max_request_bytes`
//! and its limit for headers together must stay below it, as they do in the shipped configuration.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::deadline::{self, TooLate};
use super::limits::CallLimits;
use super::span;
use super::wire::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use super::wire::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use crate::clock;
use crate::decision_log::{DecisionLog, Entry, Failure, Origin, Peer, Rpc, Unrecorded};
use crate::grpc::peer;
use crate::metrics::{self, Decisions};
use crate::pdp::{self, DecideError, Pdp};
use crate::traces;

pub use identity::{Fields, IdentityHeaders, JwtMetadata, Mtls, MtlsPrincipal, PrincipalSource};

mod denial;
mod headers;
mod identity;
mod parse;
mod render;

/// How Envoy's requests are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtAuthzConfig {
    /// The sources of identity. All that match must agree.
    pub principal: Vec<PrincipalSource>,
}

impl ExtAuthzConfig {
    /// What is well-formed and yet can't be meant: sources that never match.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.principal.is_empty() {
            return Some(
                "expected at least one `[[ext_authz.principal]]`: else every request is a 401".to_owned(),
            );
        }
        self.principal.iter().find_map(PrincipalSource::fault)
    }
}

/// Answers Envoy's checks.
#[derive(Debug)]
pub struct ExtAuthz {
    pdp: Arc<Pdp>,
    log: DecisionLog,
    decisions: Arc<Decisions>,
    config: ExtAuthzConfig,
    limits: CallLimits,
}

impl ExtAuthz {
    /// Checks over a decision point, which are recorded and counted.
    #[must_use]
    pub fn new(
        pdp: Arc<Pdp>,
        log: DecisionLog,
        decisions: Arc<Decisions>,
        config: ExtAuthzConfig,
        limits: CallLimits,
    ) -> Self {
        Self { pdp, log, decisions, config, limits }
    }

    /// As a gRPC service.
    #[must_use]
    pub fn into_service(self) -> AuthorizationServer<Self> {
        let max_message_bytes = self.limits.max_message_bytes;
        AuthorizationServer::new(self).max_decoding_message_size(max_message_bytes)
    }

    /// Parses, decides, records, counts and renders.
    async fn decide(&self, check: CheckRequest, peer: Peer, deadline: Instant) -> CheckResponse {
        let started = std::time::Instant::now();
        let attributes = check.attributes.unwrap_or_default();
        let decision_id = clock::decision_id();
        let question = render::Question::new(&decision_id, &attributes);
        let request_id = parse::request_id(&attributes);
        traces::join(|| parse::trace(&attributes));
        let (rpc, trace) = (Rpc::Check, traces::current());
        let origin = Origin { rpc, decision_id: decision_id.clone(), request_id, peer, trace, started };
        let parsed = parse::request(&self.config, &attributes);
        let entry = self.log.entry(origin, parsed.as_ref().ok());
        match &parsed {
            Err(denial) => {
                tracing::debug!(decision_id, reason = denial.reason().name(), %denial, "denied");
                let reason = denial.reason();
                match entry.denied(reason.name(), parse::unread(&attributes)).await {
                    Ok(()) => {
                        self.decisions.denied(reason);
                        span::denied(reason, &decision_id);
                        render::denial(denial, &question)
                    }
                    Err(Unrecorded) => self.unrecorded(&question),
                }
            }
            Ok(request) => {
                let decided = deadline::in_time(deadline, self.pdp.decide(request)).await;
                self.answer(decided, entry, &question).await
            }
        }
    }

    async fn answer(
        &self,
        decided: Result<Result<pdp::Response<'_>, DecideError>, TooLate>,
        entry: Entry<'_>,
        question: &render::Question<'_>,
    ) -> CheckResponse {
        let decision_id = question.decision_id;
        match decided {
            Ok(Ok(response)) => {
                let reason = response.decision().reason();
                tracing::debug!(decision_id, ?reason, allow = response.decision().is_allow(), "decided");
                match entry.decided(&response, self.pdp.catalog()).await {
                    Ok(()) => {
                        self.decisions.decided(&response);
                        span::decided(&response, self.pdp.catalog(), decision_id);
                        render::response(&response, self.pdp.catalog(), question)
                    }
                    Err(Unrecorded) => self.unrecorded(question),
                }
            }
            Ok(Err(error)) => {
                entry.failed(Failure::Unavailable);
                self.failed(metrics::Failure::Unavailable);
                tracing::error!(decision_id, error = &error as &dyn std::error::Error, "no decision");
                render::error("Authorization is not available.", question)
            }
            Err(TooLate) => {
                entry.failed(Failure::DeadlineExceeded);
                self.failed(metrics::Failure::DeadlineExceeded);
                tracing::warn!(decision_id, "no decision within the deadline");
                render::error("Authorization took too long.", question)
            }
        }
    }

    /// A check that finds no place is an error like any other of ours, counted and not recorded: to refuse must cost less
    /// than to decide.
    fn shed(&self, check: CheckRequest) -> CheckResponse {
        self.failed(metrics::Failure::Shed);
        let (attributes, decision_id) = (check.attributes.unwrap_or_default(), clock::decision_id());
        let question = render::Question::new(&decision_id, &attributes);
        tracing::debug!(decision_id, "no decision: too many are in the making");
        render::error("Authorization is overloaded.", &question)
    }

    /// The client is told no more than of other faults of ours.
    fn unrecorded(&self, question: &render::Question<'_>) -> CheckResponse {
        self.failed(metrics::Failure::Unavailable);
        render::error("Authorization is not available.", question)
    }

    fn failed(&self, failure: metrics::Failure) {
        self.decisions.failed(failure);
        span::failed(failure);
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let Ok(_slot) = self.limits.admit() else {
            return Ok(Response::new(self.shed(request.into_inner())));
        };
        let deadline = deadline::of(&request, self.limits.budget);
        let peer = peer::recorded(&request);
        Ok(Response::new(self.decide(request.into_inner(), peer, deadline).await))
    }
}
