//! `envoy.service.auth.v3.Authorization`: Envoy's external authorization, through the same decision point.
//!
//! Parse, decide, render. A denial is an answer; a fault of ours is an answer too, of the form that Envoy counts as
//! an error. What a client can cause must not look like a fault of this service, so no check that is decoded ends with
//! a gRPC status. One that is larger than the limit of messages, a mebibyte, is not decoded: Envoy's `max_request_bytes`
//! and its limit for headers together must stay below it, as they do in the shipped configuration.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body as HttpBody;
use prost::bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Status};
use tower_service::Service;
use uuid::Uuid;

use super::deadline::{self, TooLate};
use super::in_place::{Answering, Unary, unary};
use super::limits::CallLimits;
use super::protobuf::{self, Encoded};
use super::span;
use super::wire::envoy::service::auth::v3 as wire;
use crate::clock::{self, Moment};
use crate::decision_log::{DecisionLog, Entry, Failure, Origin, Peer, Rpc, Unrecorded};
use crate::grpc::peer;
use crate::metrics::{self, Decisions};
use crate::pdp::{self, DecideError, Pdp};
use crate::traces;
use message::Check;

pub use identity::{Fields, IdentityHeaders, JwtMetadata, Mtls, MtlsPrincipal, PrincipalSource};

mod claims;
mod denial;
mod headers;
mod identity;
mod message;
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
    pub fn into_service(self) -> ExtAuthzServer {
        ExtAuthzServer(Arc::new(self))
    }

    /// Answers the bytes of a `CheckRequest` with those of a `CheckResponse`.
    ///
    /// # Errors
    ///
    /// If they are none.
    pub async fn check(&self, request: Request<Bytes>) -> Result<Encoded, Status> {
        let slot = self.limits.admit();
        let mut plain = Vec::new();
        let check = protobuf::read::<wire::CheckRequest, _>(request.get_ref(), &mut plain, Check::read)?;
        match slot {
            Err(_) => Ok(self.shed(&check)),
            Ok(_slot) => {
                let deadline = deadline::of(&request, self.limits.budget);
                Ok(self.decide(&check, &peer::recorded(&request), deadline).await)
            }
        }
    }

    /// Parses, decides, records, counts and renders.
    async fn decide(&self, check: &Check<'_>, peer: &Peer, deadline: Instant) -> Encoded {
        let moment = Moment::now();
        let mut buffer = Uuid::encode_buffer();
        let decision_id = clock::decision_id(&moment).hyphenated().encode_lower(&mut buffer);
        let question = render::Question::new(decision_id, check);
        let request_id = parse::request_id(check);
        traces::join(|| parse::trace(check));
        let (rpc, trace) = (Rpc::Check, traces::current());
        let origin = Origin { rpc, decision_id, request_id: &request_id, peer, trace, moment };
        let parsed = parse::request(&self.config, check, moment.seconds());
        let entry = self.log.entry(origin, parsed.as_ref().ok());
        match &parsed {
            Err(denial) => {
                tracing::debug!(decision_id, reason = denial.reason().name(), %denial, "denied");
                let reason = denial.reason();
                match entry.denied(reason.name(), parse::unread(check)).await {
                    Ok(()) => {
                        self.decisions.denied(reason);
                        span::denied(reason, decision_id);
                        render::denial(denial, &question)
                    }
                    Err(Unrecorded) => self.unrecorded(&question),
                }
            }
            Ok(request) => {
                let now = moment.instant.into();
                let decided = deadline::in_time(deadline, now, self.pdp.decide(request)).await;
                self.answer(decided, entry, &question).await
            }
        }
    }

    async fn answer(
        &self,
        decided: Result<Result<pdp::Response<'_>, DecideError>, TooLate>,
        entry: Entry<'_>,
        question: &render::Question<'_>,
    ) -> Encoded {
        let decision_id = question.decision_id;
        match decided {
            Ok(Ok(response)) => {
                let reason = response.decision().reason();
                tracing::debug!(decision_id, ?reason, allow = response.decision().is_allow(), "decided");
                // Only a record tells it.
                let resource = || Cow::Owned(response.resource());
                match entry.decided(&response, resource, self.pdp.catalog()).await {
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
    fn shed(&self, check: &Check<'_>) -> Encoded {
        self.failed(metrics::Failure::Shed);
        let mut buffer = Uuid::encode_buffer();
        let decision_id = clock::decision_id(&Moment::now()).hyphenated().encode_lower(&mut buffer);
        let question = render::Question::new(decision_id, check);
        tracing::debug!(decision_id, "no decision: too many are in the making");
        render::error("Authorization is overloaded.", &question)
    }

    /// The client is told no more than of other faults of ours.
    fn unrecorded(&self, question: &render::Question<'_>) -> Encoded {
        self.failed(metrics::Failure::Unavailable);
        render::error("Authorization is not available.", question)
    }

    fn failed(&self, failure: metrics::Failure) {
        self.decisions.failed(failure);
        span::failed(failure);
    }
}

/// Serves `Authorization`.
#[derive(Debug, Clone)]
pub struct ExtAuthzServer(Arc<ExtAuthz>);

impl NamedService for ExtAuthzServer {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<http::Request<B>> for ExtAuthzServer
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.0.clone();
        if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
            return Box::pin(async { Ok(Status::unimplemented("").into_http()) });
        }
        let most = service.limits.max_message_bytes;
        Box::pin(async move { Ok(unary(request, most, CheckCall(service)).await) })
    }
}

/// `Check`.
#[derive(Clone)]
struct CheckCall(Arc<ExtAuthz>);

impl Unary for CheckCall {
    async fn answer(self, request: Request<Bytes>) -> Result<Encoded, Status> {
        self.0.check(request).await
    }
}
