//! `ecs.authz.v1.AuthorizationService`.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::deadline::TooLate;
use super::limits::CallLimits;
use super::pb::authorization_service_server::{AuthorizationService, AuthorizationServiceServer};
use super::render::{self, Rendering};
use super::status::{CallError, invalid};
use super::{deadline, parse, pb, peer, permission, span, stream};
use crate::catalog::{Action, ActionId, Body, Call, Catalog, Operation};
use crate::clock;
use crate::decision::DenyReason;
use crate::decision_log::{DecisionLog, Origin, Peer, Rpc};
use crate::metrics::Decisions;
use crate::pdp::{self, Pdp};
use crate::policy::{Pattern, Version};
use crate::request::{self, Identity, InvalidRequest, check_call};
use crate::slots::{Slot, Slots};
use crate::traces::{self, TraceContext};

/// The most requests of a batch.
const MAX_BATCH: usize = 1_000;

/// Whether a revision that is not there yet is waited for.
#[derive(Debug, Clone, Copy)]
enum Patience {
    UntilDeadline,
    /// One request of a batch must not keep the others waiting.
    None,
}

/// Answers authorization requests.
#[derive(Debug, Clone)]
pub struct Authorize {
    pdp: Arc<Pdp>,
    log: DecisionLog,
    decisions: Arc<Decisions>,
    limits: CallLimits,
}

/// How one request of a call is answered.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    rpc: Rpc,
    peer: Peer,
    trace: Option<TraceContext>,
    deadline: Instant,
    patience: Patience,
}

impl Terms {
    fn of<T>(request: &Request<T>, rpc: Rpc, patience: Patience, limits: &CallLimits) -> Self {
        let deadline = deadline::of(request, limits.budget);
        Self { rpc, peer: peer::recorded(request), trace: traces::current(), deadline, patience }
    }

    /// For a request that has its own deadline.
    pub(super) fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }
}

impl Authorize {
    /// The service over a decision point, with its decisions recorded and counted.
    #[must_use]
    pub fn service(
        pdp: Arc<Pdp>,
        log: DecisionLog,
        decisions: Arc<Decisions>,
        limits: CallLimits,
    ) -> AuthorizationServiceServer<Self> {
        let max_message_bytes = limits.max_message_bytes;
        AuthorizationServiceServer::new(Self { pdp, log, decisions, limits })
            .max_decoding_message_size(max_message_bytes)
    }

    /// A place for a decision. A call that finds none is counted and not recorded: to refuse must cost less than to decide.
    fn admit(&self) -> Result<Slot<&Slots>, CallError> {
        self.limits.admit().inspect_err(|shed| self.decisions.failed(shed.failure()))
    }

    /// Until when a request that comes now is of use.
    pub(super) fn deadline_from(&self, now: Instant) -> Instant {
        now + self.limits.budget
    }

    /// Answers one request of a stream, if there is a place for it.
    pub(super) async fn admit_next(
        &self,
        message: pb::AuthorizeRequest,
        terms: &Terms,
    ) -> Result<pb::AuthorizeResponse, CallError> {
        let _slot = self.admit()?;
        self.authorize_next(message, terms).await
    }

    /// Answers one request of several.
    async fn authorize_next(
        &self,
        message: pb::AuthorizeRequest,
        terms: &Terms,
    ) -> Result<pb::AuthorizeResponse, CallError> {
        let decided = self.authorize_one(message, terms).await;
        decided.inspect(record).inspect_err(|error| self.decisions.failed(error.failure()))
    }

    /// Parses, decides, records, counts and renders one request.
    async fn authorize_one(
        &self,
        message: pb::AuthorizeRequest,
        terms: &Terms,
    ) -> Result<pb::AuthorizeResponse, CallError> {
        let (started, decision_id) = (std::time::Instant::now(), clock::decision_id());
        let request_id = message.request_id.clone();
        let origin = Origin {
            rpc: terms.rpc,
            decision_id: decision_id.clone(),
            request_id: request_id.clone(),
            peer: terms.peer.clone(),
            trace: terms.trace.clone(),
            started,
        };
        let parsed = parse::request(message);
        let entry = self.log.entry(origin, parsed.as_ref().ok().map(|parsed| &parsed.request));
        let decided = match &parsed {
            Ok(parsed) => {
                self.decide(&parsed.request, terms).await.map(|response| (response, parsed.explain))
            }
            Err(invalid) => Err(invalid.clone().into()),
        };
        match decided {
            Ok((response, explain)) => {
                entry.decided(&response, self.pdp.catalog()).await?;
                self.decisions.decided(&response);
                // A batch has many.
                if terms.rpc == Rpc::Authorize {
                    span::decided(&response, self.pdp.catalog(), &decision_id);
                }
                let rendering = Rendering { decision_id, request_id, explain };
                Ok(render::response(&response, self.pdp.catalog(), rendering))
            }
            Err(error) => {
                entry.failed(error.recorded());
                Err(error)
            }
        }
    }

    async fn decide<'r>(
        &'r self,
        request: &'r request::Request,
        terms: &Terms,
    ) -> Result<pdp::Response<'r>, CallError> {
        let (identity, minimum) = (request.identity(), request.min_revision());
        if let Patience::None = terms.patience {
            if deadline::is_over(terms.deadline) {
                return Err(CallError::DeadlineExceeded);
            }
            if let Some(minimum) = minimum.filter(|minimum| self.pdp.is_behind(identity, *minimum)) {
                return Err(CallError::Behind { minimum });
            }
        }
        let decided = deadline::in_time(terms.deadline, self.pdp.decide(request)).await;
        Ok(decided.map_err(|TooLate| self.too_late(identity, minimum))??)
    }

    /// Why there is no answer at the deadline.
    fn too_late(&self, identity: &Identity, minimum: Option<u64>) -> CallError {
        match minimum {
            Some(minimum) if self.pdp.is_behind(identity, minimum) => CallError::Behind { minimum },
            _ => CallError::DeadlineExceeded,
        }
    }

    /// The actions that a pattern covers, or all.
    fn actions(&self, pattern: &str) -> Result<impl Iterator<Item = (ActionId, &Action)>, CallError> {
        let pattern = match pattern {
            "" => None,
            text => {
                let parsed = Pattern::parse(text, Version::Policy);
                Some(parsed.map_err(|fault| invalid("pattern", fault.to_string()))?)
            }
        };
        let actions = self.pdp.catalog().actions();
        Ok(actions.filter(move |(_, action)| pattern.as_ref().is_none_or(|pattern| pattern.covers(action))))
    }
}

#[tonic::async_trait]
impl AuthorizationService for Authorize {
    async fn authorize(
        &self,
        request: Request<pb::AuthorizeRequest>,
    ) -> Result<Response<pb::AuthorizeResponse>, Status> {
        let _slot = self.admit()?;
        let terms = Terms::of(&request, Rpc::Authorize, Patience::UntilDeadline, &self.limits);
        let decided = self.authorize_one(request.into_inner(), &terms).await;
        let response = decided.inspect_err(|error| {
            self.decisions.failed(error.failure());
            span::failed(error.failure());
        })?;
        record(&response);
        Ok(Response::new(response))
    }

    async fn batch_authorize(
        &self,
        request: Request<pb::BatchAuthorizeRequest>,
    ) -> Result<Response<pb::BatchAuthorizeResponse>, Status> {
        let _slot = self.admit()?;
        let terms = Terms::of(&request, Rpc::BatchAuthorize, Patience::None, &self.limits);
        let pb::BatchAuthorizeRequest { requests } = request.into_inner();
        if !(1..=MAX_BATCH).contains(&requests.len()) {
            let expected = format!("expected 1 to {MAX_BATCH} requests, found {}", requests.len());
            return Err(invalid("requests", expected).into());
        }
        span::batch(requests.len());
        let mut results = Vec::with_capacity(requests.len());
        for message in requests {
            let request_id = message.request_id.clone();
            // Decisions from the cache never wait, so nobody else would get a turn, nor the caller's going away or
            // the deadline be noticed.
            yield_now().await;
            let result = match self.authorize_next(message, &terms).await {
                Ok(response) => pb::batch_authorize_result::Result::Response(response),
                Err(error) => pb::batch_authorize_result::Result::Error(error.into_batch_error(request_id)),
            };
            results.push(pb::BatchAuthorizeResult { result: Some(result) });
        }
        Ok(Response::new(pb::BatchAuthorizeResponse { results }))
    }

    type StreamAuthorizeStream = stream::Answers;

    async fn stream_authorize(
        &self,
        request: Request<Streaming<pb::StreamAuthorizeRequest>>,
    ) -> Result<Response<stream::Answers>, Status> {
        let terms = Terms::of(&request, Rpc::StreamAuthorize, Patience::UntilDeadline, &self.limits);
        let departure = peer::departure(&request);
        Ok(Response::new(stream::answers(Arc::new(self.clone()), request.into_inner(), terms, departure)))
    }

    async fn list_actions(
        &self,
        request: Request<pb::ListActionsRequest>,
    ) -> Result<Response<pb::ListActionsResponse>, Status> {
        let pb::ListActionsRequest { pattern } = request.into_inner();
        let catalog = self.pdp.catalog();
        let listed = self.actions(&pattern)?;
        let actions = listed.map(|(id, action)| wire_action(id, action, catalog)).collect();
        Ok(Response::new(pb::ListActionsResponse { actions }))
    }

    async fn list_permissions(
        &self,
        request: Request<pb::ListPermissionsRequest>,
    ) -> Result<Response<pb::ListPermissionsResponse>, Status> {
        let _slot = self.admit()?;
        let deadline = deadline::of(&request, self.limits.budget);
        let pb::ListPermissionsRequest { principal, context, pattern, min_revision } = request.into_inner();
        let listed = self.actions(&pattern)?;
        let caller = parse::caller(principal, context).map_err(CallError::from)?;
        let minimum = request::revision(min_revision);
        let loaded = deadline::in_time(deadline, self.pdp.permissions(&caller, minimum)).await;
        let granted =
            loaded.map_err(|TooLate| self.too_late(caller.identity(), minimum))?.map_err(CallError::from)?;
        let mut permissions = Vec::new();
        let mut renderer = permission::Renderer::default();
        for (id, action) in listed {
            // Many statements take their time, and others want a turn.
            yield_now().await;
            if deadline::is_over(deadline) {
                return Err(CallError::DeadlineExceeded.into());
            }
            permissions.push(renderer.render(action, granted.of(id)));
        }
        let (revision, stale) = (granted.revision.0, granted.is_stale);
        Ok(Response::new(pb::ListPermissionsResponse { permissions, revision, stale }))
    }

    async fn resolve_operation(
        &self,
        request: Request<pb::ResolveOperationRequest>,
    ) -> Result<Response<pb::ResolveOperationResponse>, Status> {
        let pb::ResolveOperationRequest { method, path, body } = request.into_inner();
        let body = parse::parse_body(body)
            .map_err(|violation| CallError::from(InvalidRequest { violations: vec![violation] }))?;
        check_call(&method, &path, &body).map_err(CallError::from)?;
        let catalog = self.pdp.catalog();
        Ok(Response::new(match catalog.resolve(&method, &path, &body) {
            Ok(call) => resolved(&call, &body, catalog),
            Err(error) => pb::ResolveOperationResponse {
                reason: render::wire_reason(Some(DenyReason::from(&error))).into(),
                message: error.to_string(),
                ..Default::default()
            },
        }))
    }
}

fn record(response: &pb::AuthorizeResponse) {
    tracing::debug!(
        decision_id = response.decision_id,
        decision = response.decision().as_str_name(),
        reason = response.reason().as_str_name(),
        action = response.action,
        revision = response.revision,
        "decided"
    );
}

fn resolved(call: &Call<'_, '_>, body: &Body, catalog: &Catalog) -> pb::ResolveOperationResponse {
    let operation = call.operation;
    let wire_operation = render::wire_operation(operation, catalog);
    let parameters = call.parameters().map(|(name, value)| (name.to_owned(), value.to_owned()));
    pb::ResolveOperationResponse {
        reason: pb::DenyReason::Unspecified.into(),
        message: String::new(),
        action: wire_operation.actions.first().cloned().unwrap_or_default(),
        dependencies: names(operation.dependencies(body).iter().copied(), catalog),
        path_parameters: parameters.collect(),
        operation: Some(wire_operation),
    }
}

fn wire_action(id: ActionId, action: &Action, catalog: &Catalog) -> pb::Action {
    let needs_it = |operation: &&Operation| operation.actions.contains(&id);
    let operations: Vec<&Operation> = catalog.operations().iter().filter(needs_it).collect();
    // Without a body, every variant is listed.
    let dependencies: BTreeSet<ActionId> =
        operations.iter().flat_map(|operation| operation.dependencies(&Body::Absent).into_owned()).collect();
    pb::Action {
        name: action.name.to_string(),
        older_names: action.older_names.iter().map(ToString::to_string).collect(),
        operations: operations.iter().map(|operation| render::wire_operation(operation, catalog)).collect(),
        dependencies: names(dependencies, catalog),
    }
}

fn names(actions: impl IntoIterator<Item = ActionId>, catalog: &Catalog) -> Vec<String> {
    actions.into_iter().map(|action| catalog.action_name(action).to_owned()).collect()
}
