//! Reads the files of one domain.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rapidhash::quality::RandomState;
use sha2::{Digest as _, Sha256};

use super::{Domain, Keep, Reading};
use crate::policy::system::SystemPolicies;
use crate::policy::{CompiledPolicy, Compiler, Document, Grant, shorten, system, warnings};
use crate::store::content::{DomainContent, GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::directory::fault::{Fault, Place};
use crate::store::directory::files::Role;
use crate::store::directory::grants::{self, GrantsFile};

/// The files of one domain.
#[derive(Default)]
pub(super) struct DomainFiles {
    policies: Vec<PolicyFile>,
    grants: Option<TextFile>,
}

struct TextFile {
    path: PathBuf,
    text: String,
}

/// The file of a policy.
pub(super) struct PolicyFile {
    name: String,
    file: TextFile,
}

/// The policy that a file holds, and what there is to say of it.
pub(super) struct ReadPolicy {
    file: PolicyFile,
    compiled: Option<CompiledPolicy>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

/// Reads the files of one domain.
pub(super) struct DomainReader<'a> {
    domain_id: String,
    system: &'a SystemPolicies,
    names: HashSet<String, RandomState>,
    policies: Vec<ReadPolicy>,
    grants: Option<TextFile>,
    domain: Domain,
    content: Option<DomainContent>,
    reading: Reading,
}

impl DomainFiles {
    pub(super) fn take(&mut self, path: PathBuf, role: Role, text: String) {
        let file = TextFile { path, text };
        match role {
            Role::Grants { .. } => self.grants = Some(file),
            Role::Policy { name, .. } => self.policies.push(PolicyFile { name, file }),
        }
    }
}

impl PolicyFile {
    /// Reads the policy. `is_policy` tells whether the domain has one of a name.
    pub(super) fn read(self, compiler: &mut Compiler<'_>, is_policy: impl Fn(&str) -> bool) -> ReadPolicy {
        let Self { name, file: TextFile { path, text } } = &self;
        let (mut faults, mut doubts) = (Vec::new(), Vec::new());
        if system::is_system_policy(name) {
            let expected = "expected another name: a system policy has this one, in whatever letter case";
            faults.push(Fault::of(path, expected));
        }
        let compiled = match Document::parse(text) {
            Ok(document) => {
                let policy = compiler.compile(name, &document);
                let warnings = warnings(&document, &policy, compiler, is_policy).into_iter();
                doubts.extend(
                    warnings.map(|warning| Fault::of(path, warning.doubt).at(Place::JsonPath(warning.path))),
                );
                Some(policy)
            }
            Err(errors) => {
                let errors = errors.into_iter();
                faults
                    .extend(errors.map(|error| Fault::of(path, error.fault).at(Place::JsonPath(error.path))));
                None
            }
        };
        ReadPolicy { file: self, compiled, faults, warnings: doubts }
    }
}

impl<'a> DomainReader<'a> {
    /// A reader of a domain, and the policies that others read for it.
    pub(super) fn new(
        domain_id: String,
        files: DomainFiles,
        system: &'a SystemPolicies,
        keep: Keep,
    ) -> (Self, Vec<PolicyFile>) {
        let DomainFiles { policies, grants } = files;
        let reader = Self {
            domain_id,
            system,
            names: policies.iter().map(|policy| policy.name.clone()).collect(),
            policies: Vec::with_capacity(policies.len()),
            grants,
            domain: Domain::default(),
            content: (keep == Keep::Contents).then(DomainContent::default),
            reading: Reading::default(),
        };
        (reader, policies)
    }

    /// Whether a policy of this name exists. One with faults of its own is no unknown policy.
    pub(super) fn is_policy(&self, name: &str) -> bool {
        self.system.contains_key(name) || self.names.contains(name)
    }

    /// Takes a policy of the domain that was read. They come in the order of the files.
    pub(super) fn take(&mut self, policy: ReadPolicy) {
        self.policies.push(policy);
    }

    /// The domain.
    pub(super) fn read(mut self) -> Reading {
        self.domain.digest = self.digest();
        for policy in std::mem::take(&mut self.policies) {
            self.policy(policy);
        }
        let Some(TextFile { path, text }) = self.grants.take() else {
            let expected = "expected a file `grants.toml`: an empty one if the domain has no grants";
            self.reading.faults.push(Fault::of(self.domain_id, expected));
            return self.reading;
        };
        match grants::parse(&path, &text, |name| self.is_policy(name)) {
            Ok(file) => {
                if let Some(content) = &mut self.content {
                    content.take_grants(&file);
                }
                self.grants(&path, file);
            }
            Err(faults) => self.reading.faults.extend(faults),
        }
        self.reading.contents.extend(self.content.map(|content| (self.domain_id.clone(), content)));
        self.reading.domains.insert(self.domain_id, self.domain);
        self.reading
    }

    /// Of all files: what tells one revision from the next.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let policies = self.policies.iter().map(|policy| &policy.file.file);
        for TextFile { path, text } in self.grants.iter().chain(policies) {
            // Lengths keep two files from looking like another two.
            for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        digest.finalize().into()
    }

    fn policy(&mut self, policy: ReadPolicy) {
        let ReadPolicy { file: PolicyFile { name, file }, compiled, faults, warnings } = policy;
        self.reading.policy_count += 1;
        self.reading.faults.extend(faults);
        self.reading.warnings.extend(warnings);
        if let Some(policy) = compiled {
            self.domain.policies.insert(name.clone(), Arc::new(policy));
        }
        if let Some(content) = &mut self.content {
            content.policies.insert(name, file.text);
        }
    }

    fn grants(&mut self, path: &Path, file: GrantsFile) {
        let groups: HashSet<String> = file.groups.iter().map(|group| group.id.clone()).collect();
        for group in file.groups {
            for member in group.members {
                self.domain.groups_by_user.entry(member).or_default().push(group.id.clone());
            }
        }
        self.reading.grant_count += file.grants.len();
        for GrantEntry { subject, policy: name, scope } in file.grants {
            self.warn_of_grant(path, &groups, &subject, &scope);
            let policy = self.domain.policies.get(&name).or_else(|| self.system.get(name.as_str()));
            let Some(policy) = policy.cloned() else {
                // The policy has faults of its own, so the directory is not loaded.
                continue;
            };
            let grant = Grant { policy, scope: scope.into() };
            self.domain.grants.entry(subject).or_default().push(grant);
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

impl DomainContent {
    fn take_grants(&mut self, file: &GrantsFile) {
        for group in &file.groups {
            self.groups.insert(group.id.clone(), group.members.iter().cloned().collect());
        }
        self.grants.extend(file.grants.iter().cloned());
    }
}
