//! What a policy would change: requests decided with the policies that there are, and with one of them replaced.
//!
//! Both decisions rest on one revision of the principal's grants, past the cache, so nothing but the policy makes a
//! difference. Simulations take turns: they read as decisions do, and must not keep those waiting for a connection.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::parse::Fields;
use super::{Caller, PolicyAdmin, render};
use crate::grpc::render::{Rendering, response};
use crate::grpc::status::{CallError, invalid};
use crate::grpc::{parse, pb};
use crate::pdp::DecideError;
use crate::policy::system::is_system_policy;
use crate::policy::{Applicable, CompiledPolicy, Compiler, Document, Grant, PolicySet, warnings};
use crate::request::{Identity, Request, Subject};
use crate::store::cache::LoadedPolicies;
use crate::store::content::{GrantEntry, SubjectEntry};
use crate::store::postgres::administration::Page;
use crate::store::postgres::policy_fault;
use crate::store::{PolicyStore as _, PrincipalGrants, Revision, StoreError, role_grants};

/// The most requests of a simulation.
const MAX_REQUESTS: usize = 1_000;
/// The groups of a user that are looked at a time.
const GROUP_PAGE: u16 = 1_000;

/// A policy that is tried.
struct Trial {
    domain_id: String,
    name: String,
    /// What it would be; nothing if it would be gone.
    policy: Option<Arc<CompiledPolicy>>,
    /// Grants of it to assume.
    assumed: Vec<GrantEntry>,
}

/// Those who were loaded: many requests are of few principals.
#[derive(Default)]
struct Principals {
    loaded: HashMap<Identity, Sides>,
}

/// A principal's policies, as they are and as they would be.
#[derive(Clone)]
struct Sides {
    /// Where the policy has a fault, nobody can say what it does.
    before: Result<LoadedPolicies, CallError>,
    after: LoadedPolicies,
}

impl PolicyAdmin {
    /// What may be a slip of the pen in a document.
    pub(super) async fn findings(
        &self,
        caller: &Caller,
        domain_id: &str,
        document: Option<&Document>,
    ) -> Result<Vec<pb::Finding>, CallError> {
        let Some(document) = document else { return Ok(Vec::new()) };
        let roles: Vec<&str> = document.depends.iter().map(|role| role.display_name.as_str()).collect();
        let own = match roles.is_empty() {
            true => Vec::new(),
            false => caller.wait(self.administration.existing_policies(domain_id, &roles)).await?,
        };
        let catalog = self.pdp.catalog();
        let mut compiler = Compiler::new(catalog);
        let compiled = compiler.compile("", document);
        let is_policy = |name: &str| is_system_policy(name) || own.iter().any(|own| own == name);
        Ok(warnings(document, &compiled, &mut compiler, is_policy).into_iter().map(render::finding).collect())
    }

    pub(super) async fn simulate(
        &self,
        caller: &Caller,
        message: pb::SimulatePolicyRequest,
    ) -> Result<pb::SimulatePolicyResponse, CallError> {
        let pb::SimulatePolicyRequest { domain_id, name, document, grants, requests, all_results } = message;
        let mut fields = Fields::making();
        fields.domain(&domain_id);
        fields.own_policy_name("name", &name);
        if document.is_none() && !grants.is_empty() {
            fields.violation("grants", "expected none without a document");
        }
        let document = document.and_then(|text| fields.document("document", &text));
        let assumed = assumed_grants(&mut fields, &name, grants);
        if !(1..=MAX_REQUESTS).contains(&requests.len()) {
            let expected = format!("expected 1 to {MAX_REQUESTS} requests, found {}", requests.len());
            fields.violation("requests", expected);
        }
        fields.finish()?;
        let turn = timeout_at(caller.deadline, self.simulations.acquire()).await;
        let _turn = turn.map_err(|_| CallError::DeadlineExceeded)?;
        if document.is_none() {
            caller.wait(self.administration.policy(&domain_id, &name)).await?;
        }
        let policy = document.as_ref().map(|it| CompiledPolicy::compile(&name, it, self.pdp.catalog()));
        let findings = self.findings(caller, &domain_id, document.as_ref()).await?;
        let trial = Trial { domain_id, name, policy: policy.map(Arc::new), assumed };
        let mut report = pb::SimulatePolicyResponse { findings, ..Default::default() };
        let mut principals = Principals::default();
        for (index, request) in (0..).zip(requests) {
            // Many requests take their time, and others want a turn.
            yield_now().await;
            if Instant::now() >= caller.deadline {
                return Err(CallError::DeadlineExceeded);
            }
            let result = self.try_one(caller, &trial, &mut principals, request).await;
            add(&mut report, pb::SimulatedResult { index, ..result }, all_results);
        }
        report.revision = principals.oldest_revision().0;
        Ok(report)
    }

    /// Decides one request both ways. The error of one is no error of the others.
    async fn try_one(
        &self,
        caller: &Caller,
        trial: &Trial,
        principals: &mut Principals,
        message: pb::AuthorizeRequest,
    ) -> pb::SimulatedResult {
        let request_id = message.request_id.clone();
        let (before, after) = match self.decide_both(caller, trial, principals, message).await {
            Ok((before, after)) => (before, Some(after)),
            Err(error) => (Err(error), None),
        };
        let (before, error) = match before {
            Ok(before) => (Some(before), None),
            Err(error) => (None, Some(error.into_batch_error(request_id.clone()))),
        };
        pb::SimulatedResult { index: 0, request_id, before, after, error }
    }

    async fn decide_both(
        &self,
        caller: &Caller,
        trial: &Trial,
        principals: &mut Principals,
        message: pb::AuthorizeRequest,
    ) -> Result<(Result<pb::SimulatedDecision, CallError>, pb::SimulatedDecision), CallError> {
        let request = parse::decoded(&message)?.request;
        let identity = request.identity();
        if identity.domain_id != trial.domain_id {
            return Err(invalid("principal.domain_id", format!("expected `{}`", trial.domain_id)));
        }
        let sides = match principals.loaded.get(identity) {
            Some(sides) => sides.clone(),
            None => {
                let sides = self.load_both(caller, trial, identity).await?;
                principals.loaded.insert(identity.clone(), sides.clone());
                sides
            }
        };
        let before = sides.before.map(|policies| self.decide(&request, policies));
        Ok((before, self.decide(&request, sides.after)))
    }

    fn decide(&self, request: &Request, policies: LoadedPolicies) -> pb::SimulatedDecision {
        let decided = self.pdp.decide_by(request, policies);
        let pb::AuthorizeResponse { decision, reason, action, message, statements, .. } =
            response(&decided, self.pdp.catalog(), Rendering::default());
        pb::SimulatedDecision { decision, reason, action, message, statements }
    }

    async fn load_both(
        &self,
        caller: &Caller,
        trial: &Trial,
        identity: &Identity,
    ) -> Result<Sides, CallError> {
        let (before, after) = loop {
            let after = self.store.load_without(identity, &trial.name);
            let (before, after) = tokio::join!(self.store.load(identity), after);
            let after = after.map_err(unreadable)?;
            match before {
                Ok(before) if before.revision != after.revision && Instant::now() < caller.deadline => {}
                before => break (before, after),
            }
        };
        let groups = self.groups(caller, trial, identity).await?;
        let merge = |PrincipalGrants { revision, grants }: PrincipalGrants| {
            let actions = self.pdp.catalog().action_count();
            let applicable = Applicable::of(identity.project_id.as_deref(), &grants);
            let policies = Arc::new(PolicySet::merge(&applicable, actions));
            LoadedPolicies { revision, policies, is_stale: false }
        };
        let replaced = trial.replace(after.grants, identity, &groups);
        let after = merge(PrincipalGrants { revision: after.revision, grants: replaced });
        Ok(Sides { before: before.map(merge).map_err(unreadable), after })
    }

    /// The groups of a user that the database knows, if the trial has grants of groups.
    async fn groups(
        &self,
        caller: &Caller,
        trial: &Trial,
        identity: &Identity,
    ) -> Result<Vec<String>, CallError> {
        let has_groups = trial.assumed.iter().any(|grant| matches!(grant.subject, SubjectEntry::Group(_)));
        let mut groups: Vec<String> = Vec::new();
        let Subject::User(user_id) = &identity.subject else { return Ok(groups) };
        if !has_groups {
            return Ok(groups);
        }
        loop {
            let page = Page { size: GROUP_PAGE, after: groups.last().map(|id| vec![id.clone()]) };
            let found = self.administration.groups(&identity.domain_id, Some(user_id), &page);
            let found = caller.wait(found).await?;
            let is_last = found.len() < usize::from(GROUP_PAGE);
            groups.extend(found.into_iter().map(|group| group.id));
            if is_last {
                return Ok(groups);
            }
        }
    }
}

impl Trial {
    /// The grants of a principal if the trial were so.
    fn replace(&self, grants: Vec<Grant>, identity: &Identity, groups: &[String]) -> Vec<Grant> {
        let (theirs, mut after): (Vec<Grant>, Vec<Grant>) =
            grants.into_iter().partition(|grant| *grant.policy.name == *self.name);
        let Some(policy) = &self.policy else { return after };
        let assumed = self.assumed.iter().filter(|grant| is_held(&grant.subject, identity, groups));
        let scopes = theirs.into_iter().map(|grant| grant.scope);
        let scopes = scopes.chain(assumed.map(|grant| grant.scope.clone().into()));
        after.extend(scopes.map(|scope| Grant { policy: policy.clone(), scope }));
        after.extend(role_grants(identity, |name| (name == self.name).then(|| policy.clone())));
        after
    }
}

impl Principals {
    fn oldest_revision(&self) -> Revision {
        self.loaded.values().map(|sides| sides.after.revision).min().unwrap_or_default()
    }
}

/// Why a principal's policies can't be had: administrators are told of the policy that has to be mended.
fn unreadable(error: StoreError) -> CallError {
    match policy_fault(&error) {
        Some(fault) => CallError::Precondition(format!("{fault}: mend it first")),
        None => DecideError::from(error).into(),
    }
}

/// Whether what a subject has, a principal has.
fn is_held(subject: &SubjectEntry, identity: &Identity, groups: &[String]) -> bool {
    match (subject, &identity.subject) {
        (SubjectEntry::User(id), Subject::User(user)) => id == user,
        (SubjectEntry::Agency(id), Subject::Agency(agency)) => id == agency,
        (SubjectEntry::Group(id), Subject::User(_)) => groups.contains(id) || identity.group_ids.contains(id),
        _ => false,
    }
}

/// Grants of the policy that is tried, which need not repeat its name.
fn assumed_grants(fields: &mut Fields, name: &str, grants: Vec<pb::Grant>) -> Vec<GrantEntry> {
    let mut assumed = Vec::new();
    for (index, mut grant) in grants.into_iter().enumerate() {
        let field = format!("grants[{index}]");
        if grant.policy.is_empty() {
            grant.policy = name.to_owned();
        }
        if grant.policy != name {
            fields.violation(&format!("{field}.policy"), format!("expected `{name}`, or nothing"));
        }
        assumed.extend(fields.grant(&field, grant));
    }
    assumed
}

/// Counts a result, and keeps it if it is asked for.
fn add(report: &mut pb::SimulatePolicyResponse, result: pb::SimulatedResult, keeps_all: bool) {
    let decision = |side: &Option<pb::SimulatedDecision>| side.as_ref().map(|side| side.decision());
    let count = match (decision(&result.before), decision(&result.after)) {
        (Some(before), Some(after)) if before == after => &mut report.unchanged,
        (Some(_), Some(pb::Decision::Allow)) => &mut report.newly_allowed,
        (Some(_), Some(_)) => &mut report.newly_denied,
        _ => &mut report.failed,
    };
    *count += 1;
    let is_same = result.error.is_none() && decision(&result.before) == decision(&result.after);
    if keeps_all || !is_same {
        report.results.push(result);
    }
}
