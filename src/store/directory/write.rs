//! A plan is carried out in a policy directory that can be loaded at every moment meanwhile.
//!
//! All that is written is made in a hidden folder first and moved to its place by renaming, within less time than a server
//! that follows the directory waits for it to be quiet. An export that was interrupted is simply run again. Files that are
//! not part of the plan are not touched.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use super::render::grants_file;
use super::{Fault, Faults, OpenError};
use crate::catalog::Catalog;
use crate::store::content::DomainContent;
use crate::store::plan::{Contents, Plan, Sign, Step};
use fate::Fate;
use staging::Staging;

pub use check::check_export;

mod check;
mod fate;
mod staging;

/// Why a plan was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The directory could not be loaded any more. Nothing was written.
    #[error("`{}` can't hold what is wanted; nothing was written:\n{faults}", .root.display())]
    Unloadable {
        /// The directory.
        root: PathBuf,
        /// All that is wrong.
        faults: Faults,
    },
    /// Somebody else writes. Nothing was written.
    #[error("another export writes to `{}`: run this one when that has ended", .0.display())]
    Busy(PathBuf),
    /// A file can't be written. What was moved before stays; the same again does the rest.
    #[error("`{}` can't be written: {cause}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// There is nothing to check it with.
    #[error(transparent)]
    System(OpenError),
}

/// A directory that nobody else exports to.
#[derive(Debug)]
pub struct Export {
    staging: Staging,
    /// The files that were made, to be on the disk before they are moved.
    made: Vec<PathBuf>,
    /// What is moved to its place, in an order in which no grant is without its policy.
    arriving: Vec<Move>,
    /// What is moved out of the directory after that.
    leaving: Vec<Move>,
}

#[derive(Debug)]
struct Move {
    from: PathBuf,
    to: PathBuf,
}

impl Export {
    /// Begins to export to a directory, which is made if there is none. To be called before the plan is: no other export
    /// changes the directory from now on.
    ///
    /// # Errors
    ///
    /// If another export has begun, or the directory can't be written to.
    pub fn begin(root: &Path) -> Result<Self, WriteError> {
        let staging = Staging::begin(root)?;
        Ok(Self { staging, made: Vec::new(), arriving: Vec::new(), leaving: Vec::new() })
    }

    /// Carries out a plan that makes the directory hold the wanted content. `step` is told how many files stand ready.
    ///
    /// # Errors
    ///
    /// If the directory could not be loaded with it, or a file can't be written.
    pub fn write(
        mut self,
        plan: &Plan,
        wanted: &Contents,
        catalog: &Catalog,
        mut step: impl FnMut(usize),
    ) -> Result<(), WriteError> {
        let root = self.staging.root().to_owned();
        check_export(&root, plan, wanted, catalog)?;
        for (domain_id, steps) in &plan.domains {
            let folder = root.join(domain_id);
            match Fate::of(&folder, wanted.get(domain_id)).map_err(at(&folder))? {
                Fate::Made(content) => self.make(folder, content)?,
                Fate::Changed(content) => self.change(&folder, steps, content)?,
                Fate::Emptied => self.change(&folder, steps, &DomainContent::default())?,
                Fate::Removed => self.take_away(folder),
            }
        }
        // After all are written: the first takes the others along. A name must not come before its content.
        for (count, path) in (1..).zip(&self.made) {
            File::open(path).and_then(|file| file.sync_all()).map_err(at(path))?;
            step(count);
        }
        // Arriving first: there is no moment without any domain.
        for Move { from, to } in &self.arriving {
            fs::rename(from, to).map_err(at(to))?;
        }
        for Move { from, to } in &self.leaving {
            fs::rename(from, to).map_err(at(from))?;
        }
        Ok(())
    }

    /// A domain that is not there yet arrives as a whole.
    fn make(&mut self, folder: PathBuf, content: &DomainContent) -> Result<(), WriteError> {
        let made = self.staging.next_path();
        let policies = made.join("policies");
        fs::create_dir_all(&policies).map_err(at(&policies))?;
        for (name, document) in &content.policies {
            self.make_file(policies.join(format!("{name}.json")), document)?;
        }
        self.make_file(made.join("grants.toml"), &grants_file(content))?;
        self.arriving.push(Move { from: made, to: folder });
        Ok(())
    }

    /// Of a domain that is there, its new policies arrive before the grants, and the old ones leave after them.
    fn change(&mut self, folder: &Path, steps: &[Step], content: &DomainContent) -> Result<(), WriteError> {
        let policies = folder.join("policies");
        for step in steps {
            let Step::Policy { sign, name, document } = step else { continue };
            let place = policies.join(format!("{name}.json"));
            match sign {
                Sign::Add | Sign::Change => {
                    fs::create_dir_all(&policies).map_err(at(&policies))?;
                    self.replace(place, document)?;
                }
                Sign::Remove => self.take_away(place),
            }
        }
        if Plan::changes_grants(steps) {
            self.replace(folder.join("grants.toml"), &grants_file(content))?;
        }
        Ok(())
    }

    /// A file that is replaced keeps its mode and, as far as we may give it away, its owner.
    fn replace(&mut self, place: PathBuf, text: &str) -> Result<(), WriteError> {
        let made = self.staging.next_path();
        self.make_file(made.clone(), text)?;
        if let Ok(before) = place.metadata() {
            let _may_not = chown(&made, Some(before.uid()), Some(before.gid()));
            fs::set_permissions(&made, before.permissions()).map_err(at(&made))?;
        }
        self.arriving.push(Move { from: made, to: place });
        Ok(())
    }

    fn make_file(&mut self, path: PathBuf, text: &str) -> Result<(), WriteError> {
        fs::write(&path, text).map_err(at(&path))?;
        self.made.push(path);
        Ok(())
    }

    fn take_away(&mut self, place: PathBuf) {
        let to = self.staging.next_path();
        self.leaving.push(Move { from: place, to });
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> WriteError {
    move |cause| WriteError::Io { path: path.to_owned(), cause }
}
