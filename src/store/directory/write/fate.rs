//! What becomes of a domain's folder.

use std::io;
use std::path::Path;

use crate::store::content::DomainContent;
use crate::store::directory::files::is_passed_over;

/// What an export does with the folder of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'c> {
    /// It is not there yet.
    Made(&'c DomainContent),
    /// Some of its files change.
    Changed(&'c DomainContent),
    /// It is not wanted, and stays without anything that counts: there are files of other people's in it.
    Emptied,
    /// It is not wanted, and nobody else needs it.
    Removed,
}

impl<'c> Fate<'c> {
    pub(super) fn of(folder: &Path, wanted: Option<&'c DomainContent>) -> io::Result<Self> {
        Ok(match wanted {
            Some(content) if folder.symlink_metadata().is_ok() => Self::Changed(content),
            Some(content) => Self::Made(content),
            None if has_others(folder)? || has_others(&folder.join("policies"))? => Self::Emptied,
            None => Self::Removed,
        })
    }
}

/// Whether a folder has files of other people's. Those that are not passed over are the domain's, or it would have faults.
fn has_others(folder: &Path) -> io::Result<bool> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if is_passed_over(&entry?.file_name().to_string_lossy()) {
            return Ok(true);
        }
    }
    Ok(false)
}
