//! The files of a policy directory: found, told apart, and read without tearing.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::policy;

/// The most bytes of a `grants.toml`: some hundred thousand grants.
const MAX_GRANTS_BYTES: usize = 16 * 1_024 * 1_024;

/// Every file of the directory with what tells one state of it from another. Ordered by path.
pub(super) type Listing = BTreeMap<PathBuf, Stamp>;

/// What changes when a file is written or replaced. The change time can't be set by whoever writes the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
    is_file: bool,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_file: metadata.is_file(),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }
}

/// What a path of the directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// `<domain_id>/grants.toml`
    Grants {
        /// The domain.
        domain_id: String,
    },
    /// `<domain_id>/policies/<name>.json`
    Policy {
        /// The domain.
        domain_id: String,
        /// The policy's name.
        name: String,
    },
}

/// Lists the files below `root`, three levels deep. Hidden entries and editors' backups (`x~`) are passed over:
/// Kubernetes keeps its own bookkeeping in hidden folders of a mounted volume.
pub(super) fn list(root: &Path) -> Result<Listing, Fault> {
    let mut listing = Listing::new();
    walk(root, Path::new(""), 3, &mut listing)
        .map_err(|(path, error)| Fault::of(path, format!("can't be read: {error}")))?;
    Ok(listing)
}

fn walk(root: &Path, below: &Path, levels: usize, listing: &mut Listing) -> Result<(), (PathBuf, io::Error)> {
    let folder = root.join(below);
    let at = |path: &Path| {
        let path = if path.as_os_str().is_empty() { root } else { path }.to_owned();
        move |error| (path, error)
    };
    for entry in fs::read_dir(&folder).map_err(at(below))? {
        let name = entry.map_err(at(below))?.file_name();
        let shown = name.to_string_lossy();
        if shown.starts_with('.') || shown.ends_with('~') {
            continue;
        }
        let path = below.join(&name);
        // Follows links: a mounted volume has nothing else.
        let metadata = fs::metadata(root.join(&path)).map_err(at(&path))?;
        if metadata.is_dir() && levels > 1 {
            walk(root, &path, levels - 1, listing)?;
        }
        listing.insert(path, Stamp::of(&metadata));
    }
    Ok(())
}

/// What each listed file is. Folders have no role; anything unexpected is a fault, since a policy at a wrong place
/// would silently have no effect.
pub(super) fn roles(listing: &Listing) -> (Vec<(PathBuf, Role)>, Vec<Fault>) {
    let (mut roles, mut faults) = (Vec::new(), Vec::new());
    for (path, stamp) in listing {
        match role(path, stamp.is_file) {
            Ok(None) => {}
            Ok(Some(role)) => roles.push((path.clone(), role)),
            Err(expected) => faults.push(Fault::of(path, expected)),
        }
    }
    (roles, faults)
}

fn role(path: &Path, is_file: bool) -> Result<Option<Role>, &'static str> {
    let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
    let parts = parts.ok_or("expected a name in UTF-8")?;
    match (parts.as_slice(), is_file) {
        ([domain_id], false) if domain_id.len() <= 128 => Ok(None),
        ([_], false) => Err("expected a domain id of at most 128 bytes"),
        ([_, "policies"], false) => Ok(None),
        ([domain_id, "grants.toml"], true) => Ok(Some(Role::Grants { domain_id: (*domain_id).to_owned() })),
        ([domain_id, "policies", file], true) => {
            let name = file.strip_suffix(".json").filter(|name| !name.is_empty());
            let name = name.ok_or("expected a policy document `<name>.json`")?;
            if name.chars().count() > 64 {
                return Err("expected a policy name of at most 64 characters");
            }
            let (domain_id, name) = ((*domain_id).to_owned(), name.to_owned());
            Ok(Some(Role::Policy { domain_id, name }))
        }
        ([_], true) => Err("expected a folder per domain: `<domain_id>/grants.toml`"),
        ([_, "policies", ..], _) => Err("expected a policy document `<name>.json`"),
        _ => Err("expected only `grants.toml` and the folder `policies` in a domain's folder"),
    }
}

/// Reads a file as text, at most as long as its role allows.
pub(super) fn read_text(root: &Path, path: &Path, role: &Role) -> Result<String, Fault> {
    let max_bytes = match role {
        Role::Grants { .. } => MAX_GRANTS_BYTES,
        Role::Policy { .. } => policy::MAX_BYTES,
    };
    let mut bytes = Vec::new();
    File::open(root.join(path))
        // One byte more tells a file that is too long from one that just fits.
        .and_then(|file| file.take(max_bytes as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::of(path, format!("can't be read: {error}")))?;
    if bytes.len() > max_bytes {
        return Err(Fault::of(path, format!("expected at most {max_bytes} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        Fault::of(
            path,
            format!("expected UTF-8, found another byte at offset {}", error.utf8_error().valid_up_to()),
        )
    })
}
