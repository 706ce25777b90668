//! Reads a policy directory as a whole: domains, or every fault.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::Fault;
use super::files::{self, Kind, Listing, Role, Unread};
use super::hands::Hands;
use crate::catalog::Catalog;
use crate::policy::system::SystemPolicies;
use crate::policy::{CompiledPolicy, Compiler, DocumentError, Grant, system};
use crate::store::content::SubjectEntry;
use crate::store::plan::Contents;
use domain::{DomainFiles, DomainReader, PolicyFile};

mod domain;
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
    hands: Hands,
) -> (Option<Listing>, Reading) {
    let mut before = match files::list(root, hands) {
        Ok(listing) => listing,
        Err(fault) => return (None, Reading { faults: vec![fault], ..Default::default() }),
    };
    for _ in 0..MAX_ATTEMPTS {
        let reading =
            Reader { root, catalog, system, keep, hands, reading: Reading::default() }.read(&before);
        match files::list(root, hands) {
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
        Ok(read(root, catalog, &system, Keep::Compiled, Hands::All).1)
    }

    /// Reads a directory and keeps what is written in it.
    ///
    /// # Errors
    ///
    /// If the built-in policies do not compile, which a test rules out.
    pub fn with_contents(root: &Path, catalog: &Catalog) -> Result<Self, Vec<DocumentError>> {
        let system = system::compile(catalog)?;
        Ok(read(root, catalog, &system, Keep::Contents, Hands::All).1)
    }
}

impl Reading {
    fn extend(&mut self, other: Self) {
        self.domains.extend(other.domains);
        self.faults.extend(other.faults);
        self.warnings.extend(other.warnings);
        self.is_partial |= other.is_partial;
        self.policy_count += other.policy_count;
        self.grant_count += other.grant_count;
        self.contents.extend(other.contents);
    }
}

struct Reader<'a> {
    root: &'a Path,
    catalog: &'a Catalog,
    system: &'a SystemPolicies,
    keep: Keep,
    hands: Hands,
    reading: Reading,
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
        let root = self.root;
        let read =
            |(): &mut (), (path, role): (PathBuf, Role)| (files::read_text(root, &path, &role), path, role);
        for (text, path, role) in self.hands.map(roles, || (), read) {
            match text {
                Ok(text) => domains.entry(role.domain_id().to_owned()).or_default().take(path, role, text),
                Err(Unread::Content(fault)) => self.reading.faults.push(fault),
                Err(Unread::Io(fault)) => {
                    self.reading.is_partial = true;
                    self.reading.faults.push(fault);
                }
            }
        }
        if domains.is_empty() {
            let expected = "expected a folder per domain: `<domain_id>/grants.toml`, found none";
            self.reading.faults.push(Fault::of(self.root, expected));
        }
        self.domains(domains);
        self.reading.faults.sort_by(|a, b| a.file.cmp(&b.file));
        self.reading
    }

    /// Reads what is in the files: first all policies, wherever they are, then each domain.
    fn domains(&mut self, domains: BTreeMap<String, DomainFiles>) {
        let (system, keep, catalog) = (self.system, self.keep, self.catalog);
        let (mut readers, mut policies) = (Vec::new(), Vec::new());
        for (index, (domain_id, files)) in domains.into_iter().enumerate() {
            let (reader, own) = DomainReader::new(domain_id, files, system, keep);
            readers.push(reader);
            policies.extend(own.into_iter().map(|policy| (index, policy)));
        }
        let read = |compiler: &mut Compiler<'_>, (index, policy): (usize, PolicyFile)| {
            let reader: Option<&DomainReader<'_>> = readers.get(index);
            (index, policy.read(compiler, |name| reader.is_some_and(|reader| reader.is_policy(name))))
        };
        for (index, policy) in self.hands.map(policies, || Compiler::new(catalog), read) {
            if let Some(reader) = readers.get_mut(index) {
                reader.take(policy);
            }
        }
        let readings = self.hands.map(readers, || (), |(), reader| reader.read());
        readings.into_iter().for_each(|reading| self.reading.extend(reading));
    }
}
