//! Reads a policy directory as a whole: domains, or every fault.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::fault::{Fault, Place};
use super::files::{self, Kind, Listing, Role, Unread};
use super::grants::{self, GrantsFile};
use crate::catalog::Catalog;
use crate::policy::system::SystemPolicies;
use crate::policy::{CompiledPolicy, Document, DocumentError, Grant, shorten, system, warnings};
use crate::store::content::{DomainContent, GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::plan::Contents;

mod rehearsal;

/// How often a directory that changes while it is read is read again.
const MAX_ATTEMPTS: usize = 5;

/// What was read from a directory.
#[derive(Debug, Default)]
pub struct Reading {
    /// The domains, complete only if there are no faults.
    pub domains: HashMap<String, Domain>,
    /// What keeps the directory from being loaded.
    pub faults: Vec<Fault>,
    /// What is allowed and yet may be a slip of the pen.
    pub warnings: Vec<Fault>,
    /// Whether the operating system kept some file from us.
    is_partial: bool,
    /// How many policy documents were read.
    pub policy_count: usize,
    /// How many grants were read.
    pub grant_count: usize,
    /// The domains as they are written, if they are kept.
    pub contents: Contents,
}

/// Whether a reading keeps what was written besides what it compiles to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Compiled,
    Contents,
}

/// The policies, groups and grants of one domain.
#[derive(Debug, Default)]
pub struct Domain {
    /// Policies by name.
    pub policies: BTreeMap<String, Arc<CompiledPolicy>>,
    groups_by_user: HashMap<String, Vec<String>>,
    grants: HashMap<SubjectEntry, Vec<Grant>>,
    /// Of all files of the domain: what tells one revision from the next.
    digest: [u8; 32],
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Domain {
    pub(super) fn user_grants(&self, id: &str) -> impl Iterator<Item = Grant> + use<> {
        self.grants_of(SubjectEntry::User(id.to_owned()))
    }

    pub(super) fn agency_grants(&self, id: &str) -> impl Iterator<Item = Grant> + use<> {
        self.grants_of(SubjectEntry::Agency(id.to_owned()))
    }

    pub(super) fn group_grants(&self, id: &str) -> impl Iterator<Item = Grant> + use<> {
        self.grants_of(SubjectEntry::Group(id.to_owned()))
    }

    pub(super) fn groups_of(&self, user_id: &str) -> impl Iterator<Item = &str> {
        self.groups_by_user.get(user_id).into_iter().flatten().map(String::as_str)
    }

    fn grants_of(&self, subject: SubjectEntry) -> impl Iterator<Item = Grant> + use<> {
        self.grants.get(&subject).cloned().unwrap_or_default().into_iter()
    }
}

/// Reads the directory. The listing is what was read, whole; without one, it is worth another try.
///
/// Files that change meanwhile are read again: half of an old state and half of a new one is neither. Writers
/// should still replace files by renaming, since a file can be half-written for longer than we look.
pub(super) fn read(
    root: &Path,
    catalog: &Catalog,
    system: &SystemPolicies,
    keep: Keep,
) -> (Option<Listing>, Reading) {
    let mut before = match files::list(root) {
        Ok(listing) => listing,
        Err(fault) => return (None, Reading { faults: vec![fault], ..Default::default() }),
    };
    for _ in 0..MAX_ATTEMPTS {
        let reading = Reader { root, catalog, system, keep, reading: Reading::default() }.read(&before);
        match files::list(root) {
            Ok(after) if after == before => {
                // What could not be read this time may be the next time, and what was just written may be written
                // again unseen: there is no state to keep to.
                let is_final = !reading.is_partial && files::is_settled(&before);
                return (is_final.then_some(before), reading);
            }
            Ok(after) => before = after,
            Err(fault) => return (None, Reading { faults: vec![fault], ..Default::default() }),
        }
    }
    (None, Reading { faults: vec![files::restless(root)], ..Default::default() })
}

impl Reading {
    /// Reads a directory to report on it.
    ///
    /// # Errors
    ///
    /// If the built-in policies do not compile, which a test rules out.
    pub fn of(root: &Path, catalog: &Catalog) -> Result<Self, Vec<DocumentError>> {
        let system = system::compile(catalog)?;
        Ok(read(root, catalog, &system, Keep::Compiled).1)
    }

    /// Reads a directory and keeps what is written in it.
    ///
    /// # Errors
    ///
    /// If the built-in policies do not compile, which a test rules out.
    pub fn with_contents(root: &Path, catalog: &Catalog) -> Result<Self, Vec<DocumentError>> {
        let system = system::compile(catalog)?;
        Ok(read(root, catalog, &system, Keep::Contents).1)
    }
}

impl DomainContent {
    fn take_grants(&mut self, file: &GrantsFile) {
        for group in &file.groups {
            self.groups.insert(group.id.clone(), group.members.iter().cloned().collect());
        }
        self.grants.extend(file.grants.iter().cloned());
    }
}

struct Reader<'a> {
    root: &'a Path,
    catalog: &'a Catalog,
    system: &'a SystemPolicies,
    keep: Keep,
    reading: Reading,
}

/// The files of one domain.
#[derive(Default)]
struct DomainFiles {
    policies: Vec<(PathBuf, String, String)>,
    grants: Option<(PathBuf, String)>,
    digest: Sha256,
}

impl DomainFiles {
    fn take(&mut self, path: PathBuf, role: Role, text: String) {
        // Lengths keep two files from looking like another two.
        for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
            self.digest.update((part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
        match role {
            Role::Grants { .. } => self.grants = Some((path, text)),
            Role::Policy { name, .. } => self.policies.push((path, name, text)),
        }
    }

    /// The names of the policies.
    fn names(&self) -> HashSet<String> {
        self.policies.iter().map(|(_, name, _)| name.clone()).collect()
    }
}

impl Reader<'_> {
    fn read(mut self, listing: &Listing) -> Reading {
        let (roles, faults) = files::roles(listing);
        self.reading.faults = faults;
        let mut domains: BTreeMap<String, DomainFiles> = BTreeMap::new();
        // A folder is a domain, even an empty one: it is missed by nobody if it is reported.
        let folders =
            listing.iter().filter(|(path, stamp)| path.iter().count() == 1 && stamp.kind() == Kind::Folder);
        for domain_id in folders.filter_map(|(path, _)| path.to_str()) {
            domains.entry(domain_id.to_owned()).or_default();
        }
        for (path, role) in roles {
            self.file(&mut domains, path, role);
        }
        if domains.is_empty() {
            let expected = "expected a folder per domain: `<domain_id>/grants.toml`, found none";
            self.reading.faults.push(Fault::of(self.root, expected));
        }
        for (domain_id, files) in domains {
            self.domain(domain_id, files);
        }
        self.reading.faults.sort_by(|a, b| a.file.cmp(&b.file));
        self.reading
    }

    fn file(&mut self, domains: &mut BTreeMap<String, DomainFiles>, path: PathBuf, role: Role) {
        let text = match files::read_text(self.root, &path, &role) {
            Ok(text) => text,
            Err(Unread::Content(fault)) => return self.reading.faults.push(fault),
            Err(Unread::Io(fault)) => {
                self.reading.is_partial = true;
                return self.reading.faults.push(fault);
            }
        };
        let (Role::Grants { domain_id } | Role::Policy { domain_id, .. }) = &role;
        domains.entry(domain_id.clone()).or_default().take(path, role, text);
    }

    fn domain(&mut self, domain_id: String, files: DomainFiles) {
        let (system, names) = (self.system, files.names());
        let mut domain = Domain { digest: files.digest.finalize().into(), ..Default::default() };
        let mut content = (self.keep == Keep::Contents).then(DomainContent::default);
        // A policy with faults of its own is no unknown policy.
        let is_policy = |name: &str| system.contains_key(name) || names.contains(name);
        for (path, name, text) in files.policies {
            self.reading.policy_count += 1;
            if let Some(policy) = self.policy(&path, &name, &text, is_policy) {
                domain.policies.insert(name.clone(), Arc::new(policy));
            }
            if let Some(content) = &mut content {
                content.policies.insert(name, text);
            }
        }
        let Some((path, text)) = files.grants else {
            let expected = "expected a file `grants.toml`: an empty one if the domain has no grants";
            return self.reading.faults.push(Fault::of(domain_id, expected));
        };
        match grants::parse(&path, &text, is_policy) {
            Ok(file) => {
                if let Some(content) = &mut content {
                    content.take_grants(&file);
                }
                self.grants(&path, &mut domain, file);
            }
            Err(faults) => self.reading.faults.extend(faults),
        }
        self.reading.contents.extend(content.map(|content| (domain_id.clone(), content)));
        self.reading.domains.insert(domain_id, domain);
    }

    fn policy(
        &mut self,
        path: &Path,
        name: &str,
        text: &str,
        is_policy: impl Fn(&str) -> bool,
    ) -> Option<CompiledPolicy> {
        if system::is_system_policy(name) {
            let expected = "expected another name: a system policy has this one, in whatever letter case";
            self.reading.faults.push(Fault::of(path, expected));
        }
        let compiled = Document::parse(text).map(|document| {
            let policy = CompiledPolicy::compile(name, &document, self.catalog);
            let warnings = warnings(&document, &policy, self.catalog, is_policy).into_iter();
            self.reading.warnings.extend(
                warnings.map(|warning| Fault::of(path, warning.doubt).at(Place::JsonPath(warning.path))),
            );
            policy
        });
        match compiled {
            Ok(policy) => Some(policy),
            Err(errors) => {
                let faults = errors
                    .into_iter()
                    .map(|error| Fault::of(path, error.fault).at(Place::JsonPath(error.path)));
                self.reading.faults.extend(faults);
                None
            }
        }
    }

    fn grants(&mut self, path: &Path, domain: &mut Domain, file: GrantsFile) {
        let groups: HashSet<String> = file.groups.iter().map(|group| group.id.clone()).collect();
        for group in file.groups {
            for member in group.members {
                domain.groups_by_user.entry(member).or_default().push(group.id.clone());
            }
        }
        self.reading.grant_count += file.grants.len();
        for GrantEntry { subject, policy: name, scope } in file.grants {
            self.warn_of_grant(path, &groups, &subject, &scope);
            let policy = domain.policies.get(&name).or_else(|| self.system.get(name.as_str()));
            let Some(policy) = policy.cloned() else {
                // The policy has faults of its own, so the directory is not loaded.
                continue;
            };
            let grant = Grant { policy, scope: scope.into() };
            domain.grants.entry(subject).or_default().push(grant);
        }
    }

    fn warn_of_grant(
        &mut self,
        path: &Path,
        groups: &HashSet<String>,
        subject: &SubjectEntry,
        scope: &ScopeEntry,
    ) {
        if let SubjectEntry::Group(id) = subject
            && !groups.contains(id)
        {
            let id = shorten(id);
            let warning = format!("group `{id}` has no members here: only requests that name it are in it");
            self.reading.warnings.push(Fault::of(path, warning));
        }
        if matches!(scope, ScopeEntry::Domain) {
            let warning = "the scope \"domain\" is for global services: such a grant never applies to ECS";
            self.reading.warnings.push(Fault::of(path, warning));
        }
    }
}
