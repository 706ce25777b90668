//! `ecs.authz.v1.PolicyAdminService`: the policies of a database, read and changed.
//!
//! Each call is parsed whole, made as one transaction of the [`Administration`], and rendered. Who calls is known before
//! ([`Access`]) and stands in the history with every change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::admission::Admitted;
use super::servers::policy_admin_service_server::{PolicyAdminService, PolicyAdminServiceServer};
use super::status::CallError;
use super::{deadline, pb};
use crate::pdp::Pdp;
use crate::policy::system::SYSTEM_POLICIES;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::administration::{
    AdminError, Administration, Change, Changed, Edit, GrantFilter, Intent,
};
use parse::Fields;

use access::Actor;
pub use access::{Access, MAX_TOKEN_BYTES};

mod access;
mod parse;
mod render;
mod simulate;

/// The most that one call may take: to remove a large group, or to simulate many requests.
const BUDGET: Duration = Duration::from_secs(60);
/// The most bytes of a message: the requests of a simulation.
const MAX_MESSAGE_BYTES: usize = 4 * 1_024 * 1_024;

/// Answers administrators.
#[derive(Debug)]
pub struct PolicyAdmin {
    pdp: Arc<Pdp>,
    store: Arc<PostgresStore>,
    administration: Administration,
    /// One at a time.
    simulations: Semaphore,
}

/// Who was let in, and until when an answer is of use.
struct Caller {
    actor: Actor,
    deadline: Instant,
}

impl Caller {
    /// The caller and the message of a request.
    fn of<T>(request: Request<T>) -> Result<(Self, T), CallError> {
        let deadline = deadline::of(&request, BUDGET);
        // INVARIANT: `Access` has put it there. If it has not, nobody is let in.
        let actor = request.extensions().get::<Actor>().cloned().ok_or(CallError::Unauthenticated)?;
        Ok((Self { actor, deadline }, request.into_inner()))
    }

    /// Waits for the database, not longer than the caller does.
    async fn wait<T>(&self, answer: impl Future<Output = Result<T, AdminError>>) -> Result<T, CallError> {
        Ok(timeout_at(self.deadline, answer).await.map_err(|_| CallError::DeadlineExceeded)??)
    }
}

impl PolicyAdmin {
    /// The service, for those whom `access` lets in. Simulations read policies from the store, past the cache.
    #[must_use]
    pub fn service(
        pdp: Arc<Pdp>,
        store: Arc<PostgresStore>,
        administration: Administration,
        access: Access,
    ) -> Admitted<PolicyAdminServiceServer<Self>, Access> {
        let service = PolicyAdminServiceServer::new(Self {
            pdp,
            store,
            administration,
            simulations: Semaphore::new(1),
        });
        Admitted::new(service.max_decoding_message_size(MAX_MESSAGE_BYTES), access)
    }

    /// Makes an edit that is well-formed.
    async fn change(
        &self,
        caller: &Caller,
        domain_id: &str,
        edit: Edit,
        intent: Intent,
    ) -> Result<Changed, CallError> {
        let actor = caller.actor.name();
        let changed = caller.wait(self.administration.change(actor, domain_id, &edit, intent)).await?;
        if intent == Intent::Apply && changed.outcome.change != Change::Unchanged {
            let (edit, change, revision) = (edit.name(), changed.outcome.change, changed.revision.0);
            tracing::info!(actor, domain = domain_id, edit, ?change, revision, "policies changed");
        }
        Ok(changed)
    }
}

#[tonic::async_trait]
impl PolicyAdminService for PolicyAdmin {
    async fn list_domains(
        &self,
        request: Request<pb::ListDomainsRequest>,
    ) -> Result<Response<pb::ListDomainsResponse>, Status> {
        let (caller, pb::ListDomainsRequest { page }) = Caller::of(request)?;
        let mut fields = Fields::seeking();
        let page = fields.page(page, 1);
        fields.finish()?;
        let domains = caller.wait(self.administration.domains(&page)).await?;
        Ok(Response::new(render::domains(domains, &page)))
    }

    async fn put_policy(
        &self,
        request: Request<pb::PutPolicyRequest>,
    ) -> Result<Response<pb::PutPolicyResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::PutPolicyRequest { domain_id, name, document, etag, dry_run } = message;
        let mut fields = Fields::making();
        fields.domain(&domain_id);
        fields.own_policy_name("name", &name);
        let parsed = fields.document("document", &document);
        let intent = parse::intent(dry_run);
        fields.finish()?;
        let findings = self.findings(&caller, &domain_id, parsed.as_ref()).await?;
        let edit = Edit::PutPolicy { name, document, expected: parse::expected(etag) };
        let changed = self.change(&caller, &domain_id, edit, intent).await?;
        let (change, etag, revision) = render::written(changed, intent);
        Ok(Response::new(pb::PutPolicyResponse { change, etag, findings, revision }))
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::GetPolicyRequest { domain_id, name } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        fields.policy_name("name", &name);
        fields.finish()?;
        let policy = match caller.wait(self.administration.policy(&domain_id, &name)).await {
            Ok(policy) => render::policy(policy),
            Err(CallError::Missing(told)) => {
                let system = SYSTEM_POLICIES.iter().find(|(system, _)| *system == name);
                render::system_policy(*system.ok_or(CallError::Missing(told))?)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(pb::GetPolicyResponse { policy: Some(policy) }))
    }

    async fn list_policies(
        &self,
        request: Request<pb::ListPoliciesRequest>,
    ) -> Result<Response<pb::ListPoliciesResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::ListPoliciesRequest { domain_id, page } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        let page = fields.page(page, 1);
        fields.finish()?;
        let policies = caller.wait(self.administration.policies(&domain_id, &page)).await?;
        Ok(Response::new(render::policies(policies, &page)))
    }

    async fn delete_policy(
        &self,
        request: Request<pb::DeletePolicyRequest>,
    ) -> Result<Response<pb::DeletePolicyResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::DeletePolicyRequest { domain_id, name, etag, dry_run } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        fields.own_policy_name("name", &name);
        fields.finish()?;
        let edit = Edit::DeletePolicy { name, expected: parse::expected(etag) };
        let changed = self.change(&caller, &domain_id, edit, parse::intent(dry_run)).await?;
        Ok(Response::new(pb::DeletePolicyResponse { revision: changed.revision.0 }))
    }

    async fn put_grant(
        &self,
        request: Request<pb::PutGrantRequest>,
    ) -> Result<Response<pb::PutGrantResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::PutGrantRequest { domain_id, grant, dry_run } = message;
        let edit = Edit::PutGrant(parse::sole_grant(Fields::making(), &domain_id, grant)?);
        let intent = parse::intent(dry_run);
        let changed = self.change(&caller, &domain_id, edit, intent).await?;
        let (change, _, revision) = render::written(changed, intent);
        Ok(Response::new(pb::PutGrantResponse { change, revision }))
    }

    async fn delete_grant(
        &self,
        request: Request<pb::DeleteGrantRequest>,
    ) -> Result<Response<pb::DeleteGrantResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::DeleteGrantRequest { domain_id, grant, dry_run } = message;
        let edit = Edit::DeleteGrant(parse::sole_grant(Fields::seeking(), &domain_id, grant)?);
        let changed = self.change(&caller, &domain_id, edit, parse::intent(dry_run)).await?;
        Ok(Response::new(pb::DeleteGrantResponse { revision: changed.revision.0 }))
    }

    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::ListGrantsRequest { domain_id, subject, policy, page } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        let subject = subject.and_then(|subject| fields.subject("subject", Some(subject)));
        let policy = Some(policy).filter(|policy| !policy.is_empty());
        if let Some(policy) = &policy {
            fields.policy_name("policy", policy);
        }
        let page = fields.grant_page(page);
        fields.finish()?;
        let filter = GrantFilter { subject, policy };
        let grants = caller.wait(self.administration.grants(&domain_id, &filter, &page)).await?;
        Ok(Response::new(render::grants(grants, &page)))
    }

    async fn put_group(
        &self,
        request: Request<pb::PutGroupRequest>,
    ) -> Result<Response<pb::PutGroupResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::PutGroupRequest { domain_id, id, members, etag, dry_run } = message;
        let mut fields = Fields::making();
        fields.domain(&domain_id);
        fields.id("id", &id);
        let members = fields.members(members, 0);
        let intent = parse::intent(dry_run);
        fields.finish()?;
        let edit = Edit::PutGroup { id, members, expected: parse::expected(etag) };
        let changed = self.change(&caller, &domain_id, edit, intent).await?;
        let (change, etag, revision) = render::written(changed, intent);
        Ok(Response::new(pb::PutGroupResponse { change, etag, revision }))
    }

    async fn get_group(
        &self,
        request: Request<pb::GetGroupRequest>,
    ) -> Result<Response<pb::GetGroupResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::GetGroupRequest { domain_id, id, page } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        fields.id("id", &id);
        let page = fields.page(page, 1);
        fields.finish()?;
        let group = caller.wait(self.administration.group(&domain_id, &id, &page)).await?;
        Ok(Response::new(render::group_page(group, &page)))
    }

    async fn list_groups(
        &self,
        request: Request<pb::ListGroupsRequest>,
    ) -> Result<Response<pb::ListGroupsResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::ListGroupsRequest { domain_id, user_id, page } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        let user_id = Some(user_id).filter(|id| !id.is_empty());
        if let Some(id) = &user_id {
            fields.id("user_id", id);
        }
        let page = fields.page(page, 1);
        fields.finish()?;
        let groups = self.administration.groups(&domain_id, user_id.as_deref(), &page);
        Ok(Response::new(render::groups(caller.wait(groups).await?, &page)))
    }

    async fn delete_group(
        &self,
        request: Request<pb::DeleteGroupRequest>,
    ) -> Result<Response<pb::DeleteGroupResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::DeleteGroupRequest { domain_id, id, etag, dry_run } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        fields.id("id", &id);
        fields.finish()?;
        let edit = Edit::DeleteGroup { id, expected: parse::expected(etag) };
        let changed = self.change(&caller, &domain_id, edit, parse::intent(dry_run)).await?;
        Ok(Response::new(pb::DeleteGroupResponse { revision: changed.revision.0 }))
    }

    async fn add_group_members(
        &self,
        request: Request<pb::AddGroupMembersRequest>,
    ) -> Result<Response<pb::AddGroupMembersResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::AddGroupMembersRequest { domain_id, id, members, dry_run } = message;
        let members = parse::some_members(Fields::making(), &domain_id, &id, members)?;
        let edit = Edit::AddMembers { group_id: id, members };
        let intent = parse::intent(dry_run);
        let changed = self.change(&caller, &domain_id, edit, intent).await?;
        let (change, etag, revision) = render::written(changed, intent);
        Ok(Response::new(pb::AddGroupMembersResponse { change, etag, revision }))
    }

    async fn remove_group_members(
        &self,
        request: Request<pb::RemoveGroupMembersRequest>,
    ) -> Result<Response<pb::RemoveGroupMembersResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::RemoveGroupMembersRequest { domain_id, id, members, dry_run } = message;
        let members = parse::some_members(Fields::seeking(), &domain_id, &id, members)?;
        let edit = Edit::RemoveMembers { group_id: id, members };
        let intent = parse::intent(dry_run);
        let changed = self.change(&caller, &domain_id, edit, intent).await?;
        let (change, etag, revision) = render::written(changed, intent);
        Ok(Response::new(pb::RemoveGroupMembersResponse { change, etag, revision }))
    }

    async fn simulate_policy(
        &self,
        request: Request<pb::SimulatePolicyRequest>,
    ) -> Result<Response<pb::SimulatePolicyResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        Ok(Response::new(self.simulate(&caller, message).await?))
    }

    async fn list_changes(
        &self,
        request: Request<pb::ListChangesRequest>,
    ) -> Result<Response<pb::ListChangesResponse>, Status> {
        let (caller, message) = Caller::of(request)?;
        let pb::ListChangesRequest { domain_id, policy, page } = message;
        let mut fields = Fields::seeking();
        fields.domain(&domain_id);
        let policy = Some(policy).filter(|policy| !policy.is_empty());
        if let Some(policy) = &policy {
            fields.policy_name("policy", policy);
        }
        let page = fields.number_page(page);
        fields.finish()?;
        let changes = self.administration.changes(&domain_id, policy.as_deref(), &page);
        Ok(Response::new(render::changes(caller.wait(changes).await?, &page)))
    }
}
