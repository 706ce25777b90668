//! The policy decision point: the place to start reading.
//!
//! A request walks one way: it is resolved to an operation, its project is checked, the principal's policies are
//! loaded, and the call is evaluated against them. What keeps us from knowing is a [`DecideError`], which is no
//! decision and can't become one.

use std::sync::Arc;

use crate::catalog::{ActionId, Call, Catalog, ResolveError};
use crate::decision::{Decision, DenyReason, DependencyMode};
use crate::policy::{Evaluation, Permission, PolicySet, Scene, Setting, evaluate};
use crate::request::{Caller, Identity, Request};
use crate::store::cache::{CacheCounters, LoadedPolicies, PolicyCache};
use crate::store::{Revision, StoreError};

/// Decides requests.
#[derive(Debug)]
pub struct Pdp {
    catalog: Arc<Catalog>,
    policies: PolicyCache,
    defaults: Defaults,
}

/// What holds where a request does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// What dependencies do at least; a request can ask for more.
    pub dependency_mode: DependencyMode,
    /// The region of the API, which resources and conditions may name.
    pub region: Option<String>,
}

/// What a decision rests on. The decision itself is [`Response::decision`].
#[derive(Debug)]
pub enum Response<'r> {
    /// The call is no known operation: deny.
    Unresolved(ResolveError),
    /// The project in the path is not the principal's: deny.
    ForeignProject(Call<'r, 'r>),
    /// The principal's policies were evaluated.
    Evaluated {
        /// The decision and the verdicts that it rests on.
        evaluation: Evaluation<'r>,
        /// The revision that the policies were read at.
        revision: Revision,
        /// Whether they may be outdated because the store's changes can't be followed.
        is_stale: bool,
    },
}

impl Response<'_> {
    /// Allow or deny.
    #[must_use]
    pub fn decision(&self) -> Decision {
        match self {
            Self::Unresolved(error) => Decision::Deny(DenyReason::from(error)),
            Self::ForeignProject(_) => Decision::Deny(DenyReason::ProjectMismatch),
            Self::Evaluated { evaluation, .. } => evaluation.decision,
        }
    }

    /// The call, if it is a known operation.
    #[must_use]
    pub fn call(&self) -> Option<&Call<'_, '_>> {
        match self {
            Self::Unresolved(_) => None,
            Self::ForeignProject(call) => Some(call),
            Self::Evaluated { evaluation, .. } => Some(evaluation.call()),
        }
    }

    /// The action that decided, or the one that the operation is about where no policy was asked.
    #[must_use]
    pub fn action(&self) -> Option<ActionId> {
        match self {
            Self::Unresolved(_) => None,
            Self::ForeignProject(call) => call.operation.actions.first().copied(),
            Self::Evaluated { evaluation, .. } => evaluation.action(),
        }
    }

    /// The resource that decided, as text; empty where no policy was asked. To find it reads the call again: who tells it to
    /// several asks once.
    #[must_use]
    pub fn resource(&self) -> String {
        let Self::Evaluated { evaluation, .. } = self else { return String::new() };
        evaluation.resource().map(|resource| resource.text()).unwrap_or_default()
    }
}

/// What is known before policies are looked at.
enum Routed<'r> {
    /// The call is denied whatever they say.
    Answered(Response<'r>),
    /// They decide.
    Open(Call<'r, 'r>),
}

/// What a caller may do, by the policies of one revision.
#[derive(Debug)]
pub struct Permissions<'r> {
    setting: Setting<'r>,
    policies: Arc<PolicySet>,
    /// The revision that the policies were read at.
    pub revision: Revision,
    /// Whether they may be outdated because the store's changes can't be followed.
    pub is_stale: bool,
}

impl Permissions<'_> {
    /// Whether the caller may do an action, in every call of it.
    #[must_use]
    pub fn of(&self, action: ActionId) -> Permission {
        self.policies.permission(action, self.setting)
    }
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The policies can't be had.
    #[error("the principal's policies can't be had")]
    Store(#[from] StoreError),
}

impl Pdp {
    /// A decision point over a catalog and a cache of policies.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, policies: PolicyCache, defaults: Defaults) -> Self {
        Self { catalog, policies, defaults }
    }

    /// Decides a request. Waits for the revision that it asks for: the caller sets the deadline.
    ///
    /// # Errors
    ///
    /// If the principal's policies can't be had.
    pub async fn decide<'r>(&'r self, request: &'r Request) -> Result<Response<'r>, DecideError> {
        match self.route(request) {
            Routed::Answered(response) => Ok(response),
            Routed::Open(call) => {
                let loaded = self.load(request.identity(), request.min_revision()).await?;
                Ok(self.evaluate(call, request, loaded))
            }
        }
    }

    /// Decides a request by these policies, whatever the store holds. Whether they are the principal's is up to the caller.
    #[must_use]
    pub fn decide_by<'r>(&'r self, request: &'r Request, policies: LoadedPolicies) -> Response<'r> {
        match self.route(request) {
            Routed::Answered(response) => response,
            Routed::Open(call) => self.evaluate(call, request, policies),
        }
    }

    fn route<'r>(&'r self, request: &'r Request) -> Routed<'r> {
        match self.catalog.resolve(request.method(), request.path(), request.body()) {
            Err(error) => Routed::Answered(Response::Unresolved(error)),
            Ok(call) if is_foreign(&call, request) => Routed::Answered(Response::ForeignProject(call)),
            Ok(call) => Routed::Open(call),
        }
    }

    fn evaluate<'r>(
        &'r self,
        call: Call<'r, 'r>,
        request: &'r Request,
        loaded: LoadedPolicies,
    ) -> Response<'r> {
        let mode = self.defaults.dependency_mode.or(request.dependency_mode());
        let scene = Scene::new(self.setting(request.caller()), call, request);
        let LoadedPolicies { policies, revision, is_stale } = loaded;
        Response::Evaluated { evaluation: evaluate(scene, policies, mode), revision, is_stale }
    }

    /// What a caller may do. Waits for the revision that is asked for: who asks sets the deadline.
    ///
    /// # Errors
    ///
    /// If the principal's policies can't be had.
    pub async fn permissions<'r>(
        &'r self,
        caller: &'r Caller,
        min_revision: Option<u64>,
    ) -> Result<Permissions<'r>, DecideError> {
        let loaded = self.load(caller.identity(), min_revision).await?;
        let LoadedPolicies { policies, revision, is_stale } = loaded;
        Ok(Permissions { setting: self.setting(caller), policies, revision, is_stale })
    }

    async fn load(
        &self,
        identity: &Identity,
        min_revision: Option<u64>,
    ) -> Result<LoadedPolicies, DecideError> {
        if let Some(minimum) = min_revision {
            self.policies.wait_for(&identity.domain_id, Revision(minimum)).await?;
        }
        Ok(self.policies.get(identity).await?)
    }

    fn setting<'r>(&'r self, caller: &'r Caller) -> Setting<'r> {
        Setting { catalog: &self.catalog, caller, region: self.defaults.region.as_deref() }
    }

    /// Whether the policies of a principal's domain are not yet known at this revision.
    #[must_use]
    pub fn is_behind(&self, identity: &Identity, minimum: u64) -> bool {
        self.policies.revision(&identity.domain_id) < Revision(minimum)
    }

    /// What the cache of policies has done, and what it holds.
    #[must_use]
    pub fn cache_counters(&self) -> CacheCounters {
        self.policies.counters()
    }

    /// The table of operations and actions.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}

/// Whether the path belongs to another project than the principal's. Tenants are isolated without any policy: who
/// has no project may call no route of a project.
fn is_foreign(call: &Call<'_, '_>, request: &Request) -> bool {
    call.project().is_some_and(|project| request.identity().project_id.as_deref() != Some(project))
}
