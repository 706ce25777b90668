//! The calls of `AuthorizationService` that decide nothing: what there is, what a principal may do, what a call is.

use std::collections::BTreeSet;

use tokio::task::yield_now;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Authorize;
use crate::catalog::{Action, ActionId, Body, Call, Catalog, Operation};
use crate::decision::DenyReason;
use crate::grpc::deadline::{self, TooLate};
use crate::grpc::servers::authorization_service_server::AuthorizationService;
use crate::grpc::status::{CallError, invalid};
use crate::grpc::{parse, pb, permission, render};
use crate::policy::{Pattern, Version};
use crate::request::{self, InvalidRequest, check_call};

impl Authorize {
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
        let permissions = self.pdp.permissions(&caller, minimum);
        let loaded = deadline::in_time(deadline, Instant::now(), permissions).await;
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
        let body = parse::body(body)
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
