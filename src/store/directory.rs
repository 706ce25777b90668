//! The directory store: policies in files, the embedded default.
//!
//! ```text
//! DIR/<domain_id>/grants.toml             who has which policy where
//! DIR/<domain_id>/policies/<name>.json    a policy document; the file's stem is its name
//! ```
//!
//! The directory is loaded all or nothing: with one fault anywhere, the last good state stays and the faults are
//! reported. [`DirectoryStore::watch`] follows changes. A domain's revision grows whenever its files change, for as
//! long as the process lives.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rapidhash::quality::RandomState;
use tokio::sync::watch;

use super::{LoadFuture, PolicyStore, PrincipalGrants, Revision, StoreCounters, StoreHealth, role_grants};
use crate::catalog::Catalog;
use crate::policy::system::SystemPolicies;
use crate::policy::{DocumentError, Grant, system};
use crate::request::{Identity, Subject};

pub use fault::{Fault, Faults};
pub use files::holds_nothing;
pub use read::{Domain, Reading};
pub use watch_files::FileWatch;
pub use write::{Export, WriteError, check_export};

mod fault;
mod files;
mod grants;
mod hands;
mod loads;
mod read;
mod render;
mod watch_files;
mod write;

use files::Listing;
use hands::Hands;
use loads::Loads;
use read::Keep;

/// The most faults or warnings that are shown at once.
const MAX_SHOWN: usize = 100;

/// Policies in a directory.
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    catalog: Arc<Catalog>,
    system: SystemPolicies,
    current: ArcSwap<Snapshot>,
    health: ArcSwap<StoreHealth>,
    changed: watch::Sender<()>,
    loads: Loads,
    /// What the last load saw. Held while loading: one load at a time.
    last_seen: Mutex<Option<Listing>>,
}

/// All domains at one time.
#[derive(Debug, Default)]
struct Snapshot {
    /// Asked for every request.
    domains: HashMap<String, Versioned, RandomState>,
}

/// A domain and its revision. One that was removed stays as an empty one, so that its revision goes on growing.
#[derive(Debug, Clone)]
struct Versioned {
    revision: Revision,
    domain: Arc<Domain>,
}

/// What a load came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The files say what they said before.
    None,
    /// Some domain has a new revision.
    Loaded,
}

/// Why a directory store can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory has faults.
    #[error("the policies in `{}` can't be loaded:\n{faults}", .root.display())]
    Faults {
        /// The directory.
        root: PathBuf,
        /// All of its faults.
        faults: Faults,
    },
    /// The built-in policies do not compile against this catalog.
    #[error("a system policy does not compile: {}", .0.iter().map(ToString::to_string).collect::<String>())]
    System(Vec<DocumentError>),
}

impl DirectoryStore {
    /// Loads a directory.
    ///
    /// # Errors
    ///
    /// Every fault of the directory, each with file and place.
    pub fn open(root: impl Into<PathBuf>, catalog: Arc<Catalog>) -> Result<Self, OpenError> {
        let system = system::compile(&catalog).map_err(OpenError::System)?;
        let store = Self {
            root: root.into(),
            system,
            catalog,
            current: ArcSwap::default(),
            health: ArcSwap::from_pointee(StoreHealth::Current),
            changed: watch::Sender::new(()),
            loads: Loads::new(),
            last_seen: Mutex::new(None),
        };
        match store.load_with(Hands::All) {
            Ok(Change::None | Change::Loaded) => Ok(store),
            Err(faults) => Err(OpenError::Faults { root: store.root, faults }),
        }
    }

    /// Loads the directory again, and tells whether anything changed. Blocks on file I/O.
    ///
    /// # Errors
    ///
    /// Every fault of the directory. The last good state stays, and [`PolicyStore::health`] shows the faults.
    pub fn reload(&self) -> Result<Change, Faults> {
        self.load_with(Hands::One)
    }

    fn load_with(&self, hands: Hands) -> Result<Change, Faults> {
        let outcome = self.load_again(hands);
        self.loads.count(&outcome);
        outcome
    }

    fn load_again(&self, hands: Hands) -> Result<Change, Faults> {
        let mut last_seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Until it is known what was read, it is worth another try.
        *last_seen = None;
        let (listing, reading) = read::read(&self.root, &self.catalog, &self.system, Keep::Compiled, hands);
        *last_seen = listing;
        if !reading.faults.is_empty() {
            let faults = Faults(reading.faults);
            self.degrade(faults.lines(MAX_SHOWN).join("\n"));
            return Err(faults);
        }
        self.health.store(Arc::new(StoreHealth::Current));
        let current = self.current.load();
        let next = current.next(reading.domains);
        let (before, after) = (current.revisions(), next.revisions());
        let changes = after.iter().filter(|(id, revision)| before.get(*id) != Some(revision)).count();
        if changes == 0 {
            return Ok(Change::None);
        }
        self.loads.learn(changes);
        self.current.store(Arc::new(next));
        self.changed.send_replace(());
        for warning in Faults(reading.warnings).lines(MAX_SHOWN) {
            tracing::warn!(warning, "a policy may not mean what its author meant");
        }
        Ok(Change::Loaded)
    }

    fn degrade(&self, why: impl fmt::Display) {
        let faults = why.to_string().lines().map(ToOwned::to_owned).collect();
        self.health.store(Arc::new(StoreHealth::Degraded { faults }));
    }

    /// The files are those of the last load. If it had no faults, what is served is what they say.
    fn confirm(&self) {
        if **self.health.load() == StoreHealth::Current {
            self.loads.current.renew();
        }
    }

    /// Whether the files are others than those of the last load, or that one could not read them.
    fn is_outdated(&self) -> bool {
        let last_seen = self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        files::list(&self.root, Hands::One).ok().is_none_or(|listing| last_seen.as_ref() != Some(&listing))
    }

    /// Follows changes of the files until the returned watch is dropped.
    ///
    /// # Errors
    ///
    /// If the operating system refuses to watch the directory.
    pub fn watch(self: &Arc<Self>) -> Result<FileWatch, notify::Error> {
        FileWatch::start(self.clone())
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many domains are loaded.
    #[must_use]
    pub fn domain_count(&self) -> usize {
        let current = self.current.load();
        current.domains.values().filter(|versioned| *versioned.domain != Domain::default()).count()
    }

    fn grants(&self, identity: &Identity) -> PrincipalGrants {
        let current = self.current.load();
        let Some(Versioned { revision, domain }) = current.domains.get(&identity.domain_id) else {
            return PrincipalGrants {
                revision: Revision::default(),
                grants: self.role_grants(identity, &Domain::default()),
            };
        };
        let mut grants = self.role_grants(identity, domain);
        match &identity.subject {
            Subject::Agency(id) => grants.extend(domain.agency_grants(id)),
            Subject::User(id) => {
                grants.extend(domain.user_grants(id));
                let asserted = identity.group_ids.iter().map(String::as_str);
                grants.extend(domain.groups_of(id).chain(asserted).flat_map(|id| domain.group_grants(id)));
            }
        }
        PrincipalGrants { revision: *revision, grants }
    }

    fn role_grants(&self, identity: &Identity, domain: &Domain) -> Vec<Grant> {
        let policy = |name: &str| domain.policies.get(name).or_else(|| self.system.get(name)).cloned();
        role_grants(identity, policy).collect()
    }
}

impl PolicyStore for DirectoryStore {
    fn revision(&self, domain_id: &str) -> Revision {
        self.current.load().domains.get(domain_id).map_or(Revision::default(), |versioned| versioned.revision)
    }

    fn load<'a>(&'a self, identity: &'a Identity) -> LoadFuture<'a> {
        Box::pin(std::future::ready(Ok(self.grants(identity))))
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn health(&self) -> StoreHealth {
        self.health.load().as_ref().clone()
    }

    fn counters(&self) -> StoreCounters {
        self.loads.counters(self.domain_count())
    }
}

impl Snapshot {
    fn revisions(&self) -> BTreeMap<&str, Revision> {
        self.domains.iter().map(|(id, versioned)| (id.as_str(), versioned.revision)).collect()
    }

    /// The snapshot that follows this one: domains that did not change keep their revision.
    fn next(&self, domains: HashMap<String, Domain>) -> Self {
        let mut next = self.domains.clone();
        for (id, versioned) in &mut next {
            if !domains.contains_key(id) {
                versioned.replace(Domain::default());
            }
        }
        for (id, domain) in domains {
            let unborn = || Versioned { revision: Revision::default(), domain: Arc::default() };
            next.entry(id).or_insert_with(unborn).replace(domain);
        }
        Self { domains: next }
    }
}

impl Versioned {
    fn replace(&mut self, domain: Domain) {
        if *self.domain != domain {
            self.revision = Revision(self.revision.0 + 1);
            self.domain = Arc::new(domain);
        }
    }
}
