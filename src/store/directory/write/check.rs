//! Whether a plan can be carried out in a directory, found before anything is written.

use std::io;
use std::path::{Path, PathBuf};

use super::fate::Fate;
use super::{Fault, Faults, OpenError, WriteError, at};
use crate::catalog::Catalog;
use crate::store::directory::files::is_passed_over;
use crate::store::directory::read::Reading;
use crate::store::plan::{Contents, Plan, Step};

/// Checks that the directory could be loaded once a plan is carried out that makes it hold the wanted content.
///
/// # Errors
///
/// All that would keep it from being loaded, or from being written as planned.
pub fn check_export(
    root: &Path,
    plan: &Plan,
    wanted: &Contents,
    catalog: &Catalog,
) -> Result<(), WriteError> {
    let written = plan.domains.keys().filter_map(|id| wanted.get(id).map(|content| (id.as_str(), content)));
    let mut faults = Reading::rehearse(written, catalog)
        .map_err(|errors| WriteError::System(OpenError::System(errors)))?;
    let places = plan.domains.iter().flat_map(|(domain_id, steps)| places(domain_id, steps));
    faults.extend(places.filter(|place| root.join(place).is_symlink()).map(|place| {
        Fault::of(
            place,
            "is a link: expected a file or folder, since a link would be replaced and not followed",
        )
    }));
    if !leaves_a_domain(root, plan, wanted).map_err(at(root))? {
        faults.push(Fault::of(root, "no domain would be left, and a directory without any is not loaded"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort_by(|a, b| a.file.cmp(&b.file));
    faults.dedup();
    Err(WriteError::Unloadable { root: root.to_owned(), faults: Faults(faults) })
}

/// What steps replace or remove, in the directory, with the folders on the way.
fn places(domain_id: &str, steps: &[Step]) -> Vec<PathBuf> {
    let folder = PathBuf::from(domain_id);
    let policies = folder.join("policies");
    let mut places: Vec<PathBuf> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Policy { name, .. } => Some(policies.join(format!("{name}.json"))),
            _ => None,
        })
        .collect();
    if Plan::changes_grants(steps) {
        places.push(folder.join("grants.toml"));
    }
    places.extend([policies, folder]);
    places
}

fn leaves_a_domain(root: &Path, plan: &Plan, wanted: &Contents) -> io::Result<bool> {
    if plan.domains.keys().any(|id| wanted.contains_key(id)) {
        return Ok(true);
    }
    for entry in root.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let stays = || -> io::Result<bool> {
            Ok(!plan.domains.contains_key(&name) || Fate::of(&root.join(&name), None)? == Fate::Emptied)
        };
        if !is_passed_over(&name) && stays()? {
            return Ok(true);
        }
    }
    Ok(false)
}
