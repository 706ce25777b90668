//! Where policies come from.
//!
//! [`PolicyStore`] is the one trait of the service: it loads what concerns one principal in one consistent read,
//! names the revision it read at, and announces changes. The directory store is the embedded one. In front of every
//! store stands the [`cache::PolicyCache`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::policy::{CompiledPolicy, Grant, Scope};
use crate::request::Identity;

pub use counters::{Reloads, StoreCounters};

pub mod cache;
pub mod content;
mod counters;
pub mod directory;
pub mod name;
pub mod plan;
pub mod postgres;

/// The revision of a domain's policies. It grows with every change; zero is a domain that the store never had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything that concerns one principal, from one consistent read.
#[derive(Debug, Clone)]
pub struct PrincipalGrants {
    /// The revision of the principal's domain that it was read at.
    pub revision: Revision,
    /// The policies granted to the principal itself, to its groups and by its roles, wherever they apply.
    pub grants: Vec<Grant>,
}

/// What the roles of a token grant: each the policy of its name, on the token's project. Names without a policy, such as
/// `op_gated_…`, are feature gates and grant nothing.
pub fn role_grants(
    identity: &Identity,
    policy: impl Fn(&str) -> Option<Arc<CompiledPolicy>>,
) -> impl Iterator<Item = Grant> {
    let scope = identity.project_id.as_deref().map(|project| Scope::Project(project.into()));
    let policies = identity.role_names.iter().filter_map(move |name| policy(name));
    policies.filter_map(move |policy| Some(Grant { policy, scope: scope.clone()? }))
}

/// A future that a store returns. Loading is the cold path, so it may be boxed.
pub type LoadFuture<'a> = Pin<Box<dyn Future<Output = Result<PrincipalGrants, StoreError>> + Send + 'a>>;

/// Loads policies and announces their changes.
pub trait PolicyStore: fmt::Debug + Send + Sync {
    /// The newest revision of a domain that is known here. Called for every request: no I/O.
    fn revision(&self, domain_id: &str) -> Revision;

    /// Which history of changes the revisions belong to. Another one, whenever changes that were known are lost, as they may
    /// be when a standby takes over: then the same revision can come again with other policies. Called for every request,
    /// before [`Self::revision`]: no I/O.
    fn timeline(&self) -> u64 {
        0
    }

    /// How far what is known here can be trusted. Called for every request: no I/O, no clock.
    fn freshness(&self) -> Freshness {
        Freshness::Current
    }

    /// Loads what concerns one principal, at [`Self::revision`] or later. "No grants" is an answer, not an error.
    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a>;

    /// Changes whenever the revision of some domain has changed.
    fn changes(&self) -> watch::Receiver<()>;

    /// How the store is.
    fn health(&self) -> StoreHealth;

    /// What it has done.
    fn counters(&self) -> StoreCounters {
        StoreCounters::default()
    }
}

/// How far what is known of a store can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Its changes are followed.
    Current,
    /// They are not: what is known may be outdated, not longer than is allowed.
    Stale,
    /// They have not been for longer than is allowed.
    Expired,
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// What is served is what the source holds.
    Current,
    /// The source or some of its policies could not be read; what is served is the last good state, or right for those who
    /// are granted none of these policies.
    Degraded {
        /// Why, one fault a line.
        faults: Vec<String>,
    },
    /// The source has been out of reach for too long; nothing is served.
    Expired,
}

/// Why policies can't be had. Shared among all who wait for one load.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The source can't be read.
    #[error("the policy store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store answered with an older state than it had announced.
    #[error("the policy store answered at revision {read}, which is older than {known}")]
    Behind {
        /// The revision that was read.
        read: Revision,
        /// The revision that was announced.
        known: Revision,
    },
    /// What is known of the store is older than is allowed.
    #[error("the policy store has been out of reach for too long")]
    Expired,
    /// The store has stopped, so a revision that is awaited will not come.
    #[error("the policy store has stopped")]
    Stopped,
}
