//! A plan is carried out in a policy directory.
//!
//! Everything is written beside its place first and moved there at once, within less time than a server that follows the
//! directory waits for it to be quiet. Files that are not part of the plan are not touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::policy::system::is_system_policy;
use crate::policy::{Document, DocumentError};
use crate::store::content::{DomainContent, GrantEntry, ScopeEntry, SubjectEntry};
use crate::store::name::{id_fault, policy_name_fault};
use crate::store::plan::{Contents, Plan, Sign, Step};

/// Why a plan was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What is to be written could not be loaded again. Nothing was written.
    #[error("what is in the database can't be in files:\n{}", .0.join("\n"))]
    Unloadable(Vec<String>),
    /// A file can't be written. What was moved before stays; the same plan again does the rest.
    #[error("`{}` can't be written: {cause}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// A file that stands ready beside its place.
struct Staged {
    beside: PathBuf,
    place: PathBuf,
}

/// Carries out a plan that makes the directory hold the wanted content. `step` is told how many files stand ready.
///
/// # Errors
///
/// If the content can't be in files, or a file can't be written.
pub fn write(
    root: &Path,
    plan: &Plan,
    wanted: &Contents,
    mut step: impl FnMut(usize),
) -> Result<(), WriteError> {
    let faults: Vec<String> = plan.domains.keys().flat_map(|id| faults(id, wanted.get(id))).collect();
    if !faults.is_empty() {
        return Err(WriteError::Unloadable(faults));
    }
    let mut staged = Vec::new();
    for (domain_id, steps) in &plan.domains {
        if let Some(content) = wanted.get(domain_id) {
            stage(&root.join(domain_id), steps, content, &mut staged)?;
        }
    }
    // After all are written: the first takes the others along. A name must not come before its content.
    for (count, Staged { beside, .. }) in (1..).zip(&staged) {
        File::open(beside).and_then(|file| file.sync_all()).map_err(at(beside))?;
        step(count);
    }
    for Staged { beside, place } in &staged {
        fs::rename(beside, place).map_err(at(place))?;
    }
    for (domain_id, steps) in &plan.domains {
        remove(&root.join(domain_id), steps, wanted.get(domain_id))?;
    }
    Ok(())
}

/// What would keep the directory from being loaded.
fn faults(domain_id: &str, content: Option<&DomainContent>) -> Vec<String> {
    let mut faults = Vec::new();
    let is_folder = !domain_id.starts_with('.') && !domain_id.ends_with('~') && !domain_id.contains('/');
    if !is_folder || id_fault(domain_id).is_some() {
        faults.push(format!("the domain `{}`: it can't be the name of a folder", domain_id.escape_debug()));
    }
    for (name, text) in content.iter().flat_map(|content| &content.policies) {
        let of = format!("{domain_id}: policy `{}`", name.escape_debug());
        if is_system_policy(name) {
            faults.push(format!("{of}: a system policy has this name"));
        }
        faults.extend(policy_name_fault(name).map(|fault| format!("{of}: {fault}")));
        let errors: Vec<DocumentError> = Document::parse(text).err().unwrap_or_default();
        faults.extend(errors.iter().map(|error| format!("{of}: {error}")));
    }
    faults
}

fn stage(
    folder: &Path,
    steps: &[Step],
    content: &DomainContent,
    staged: &mut Vec<Staged>,
) -> Result<(), WriteError> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies).map_err(at(&policies))?;
    let written = steps.iter().filter_map(|step| match step {
        Step::Policy { sign: Sign::Add | Sign::Change, name, document } => Some((name, document)),
        _ => None,
    });
    for (name, document) in written {
        staged.push(stage_file(&policies, &format!("{name}.json"), document)?);
    }
    let is_other = steps.iter().any(|step| !matches!(step, Step::Policy { .. }));
    if is_other || !folder.join("grants.toml").exists() {
        staged.push(stage_file(folder, "grants.toml", &grants_file(content))?);
    }
    Ok(())
}

/// Writes a file under a name that is passed over when the directory is loaded.
fn stage_file(folder: &Path, name: &str, text: &str) -> Result<Staged, WriteError> {
    let beside = folder.join(format!(".{name}.new~"));
    fs::write(&beside, text).map_err(at(&beside))?;
    Ok(Staged { beside, place: folder.join(name) })
}

/// Removes what is not wanted, and the folder of a domain that has nothing left.
fn remove(folder: &Path, steps: &[Step], content: Option<&DomainContent>) -> Result<(), WriteError> {
    let policies = folder.join("policies");
    for step in steps {
        if let Step::Policy { sign: Sign::Remove, name, .. } = step {
            let place = policies.join(format!("{name}.json"));
            fs::remove_file(&place).map_err(at(&place))?;
        }
    }
    if content.is_none() {
        let grants = folder.join("grants.toml");
        fs::remove_file(&grants).map_err(at(&grants))?;
        // A folder with files of other people's stays.
        let _of_others = fs::remove_dir(&policies).and_then(|()| fs::remove_dir(folder));
    }
    Ok(())
}

fn at(path: &Path) -> impl Fn(io::Error) -> WriteError {
    move |cause| WriteError::Io { path: path.to_owned(), cause }
}

/// A domain's `grants.toml`, in an order of its own, so that the same content is the same file.
fn grants_file(content: &DomainContent) -> String {
    let groups = content.groups.iter().map(|(id, members)| {
        let members: Value = members.iter().cloned().map(Value::String).collect::<Vec<_>>().into();
        format!("[[group]]\nid = {}\nmembers = {members}\n", text(id))
    });
    let grants = content.grants.iter().map(|GrantEntry { subject, policy, scope }| {
        let subject = match subject {
            SubjectEntry::Group(id) => format!("{{ group = {} }}", text(id)),
            SubjectEntry::User(id) => format!("{{ user = {} }}", text(id)),
            SubjectEntry::Agency(id) => format!("{{ agency = {} }}", text(id)),
        };
        let scope = match scope {
            ScopeEntry::Project(id) => format!("{{ project = {} }}", text(id)),
            ScopeEntry::EnterpriseProject(id) => format!("{{ enterprise_project = {} }}", text(id)),
            ScopeEntry::AllProjects => "\"all_projects\"".to_owned(),
            ScopeEntry::Domain => "\"domain\"".to_owned(),
        };
        format!("[[grant]]\nsubject = {subject}\npolicy = {}\nscope = {scope}\n", text(policy))
    });
    groups.chain(grants).collect::<Vec<_>>().join("\n")
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}
