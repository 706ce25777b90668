//! Many principals of many domains, and a store of what they are granted.

use std::path::Path;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::request::{Caller, Context, PrincipalParts, Request};
use ecs_authz::store::directory::DirectoryStore;

use super::directory::{self, Shape, domain, group, groups};
use super::{Outcome, calls};

const DOMAINS: usize = 20;
const PROJECTS: usize = 10;
/// Of each domain.
const POLICIES: usize = 200;

/// How alike principals are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each names one of the groups of its domain, as its colleagues do.
    InGroups,
    /// Each names a group besides that nobody else is in.
    Alone,
}

pub(super) struct Crowd {
    pub(super) catalog: Arc<Catalog>,
    pub(super) store: Arc<DirectoryStore>,
}

impl Crowd {
    pub(super) fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        Self::in_folder(folder.path())
    }

    fn in_folder(folder: &Path) -> Outcome<Self> {
        directory::write(folder, Shape { domains: DOMAINS, policies: DOMAINS * POLICIES })?;
        let catalog = Arc::new(Catalog::published()?);
        let store = Arc::new(DirectoryStore::open(folder, catalog.clone())?);
        Ok(Self { catalog, store })
    }
}

/// A principal by number. Ids are as long as the provider's.
fn principal(number: usize, kind: Kind) -> PrincipalParts {
    let of_domain = number / DOMAINS;
    let own = (kind == Kind::Alone).then(|| format!("h{number:031x}"));
    let shared = group(of_domain / PROJECTS % groups(POLICIES));
    PrincipalParts {
        domain_id: domain(number % DOMAINS),
        domain_name: "acme".into(),
        user_id: format!("{number:032x}"),
        project_id: format!("p{:031x}", of_domain % PROJECTS),
        group_ids: own.into_iter().chain([shared]).collect(),
        ..Default::default()
    }
}

pub(super) fn caller(number: usize, kind: Kind) -> Outcome<Caller> {
    Ok(Caller::new(principal(number, kind), Context::default())?)
}

/// A call of a principal.
pub(super) fn request(number: usize) -> Outcome<Request> {
    calls::request(principal(number, Kind::InGroups), number)
}
