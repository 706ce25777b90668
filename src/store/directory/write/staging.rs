//! Where an export makes what it writes: a hidden folder within the directory, which is passed over when that is loaded.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{WriteError, at};
use crate::store::directory::files;

/// The folder, in the directory: to move something out of it is one step, on whatever file system.
const FOLDER: &str = ".ecs-authz-export";
/// The file that is locked for as long as an export lasts.
const LOCK: &str = ".ecs-authz-export.lock";

/// The folder, which is this export's alone. It goes with all that is left in it, whatever the export came to; after a
/// crash, the next one removes it.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
    /// Whether the directory was made for this export.
    is_new: bool,
    count: usize,
    _lock: File,
}

impl Staging {
    pub(super) fn begin(root: &Path) -> Result<Self, WriteError> {
        let is_new = !root.exists();
        fs::create_dir_all(root).map_err(at(root))?;
        let lock = lock(root)?;
        let staging = Self { root: root.to_owned(), is_new, count: 0, _lock: lock };
        let folder = root.join(FOLDER);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder)(error)),
            _ => fs::create_dir(&folder).map_err(at(&folder))?,
        }
        Ok(staging)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder where nothing is yet.
    pub(super) fn next_path(&mut self) -> PathBuf {
        self.count += 1;
        self.root.join(FOLDER).join(self.count.to_string())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is hidden, and the next export's to remove.
        let _hidden = fs::remove_dir_all(self.root.join(FOLDER));
        let _unlocked = fs::remove_file(self.root.join(LOCK));
        if self.is_new {
            let _has_domains = fs::remove_dir(&self.root);
        }
    }
}

fn lock(root: &Path) -> Result<File, WriteError> {
    let path = root.join(LOCK);
    loop {
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WriteError::Busy(root.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(at(&path)(cause)),
        }
        // The export before may have removed it since it was opened: then it keeps nobody out.
        let locked = files::identity_of(&file).map_err(at(&path))?;
        if files::identity(&path).is_ok_and(|standing| standing == locked) {
            return Ok(file);
        }
    }
}
