//! The files of a policy directory: found, told apart, and read without tearing.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::fault::Fault;
use super::hands::Hands;
use crate::policy;
use crate::store::name::{id_fault, is_invisible, policy_name_fault};

/// The most bytes of a `grants.toml`: some hundred thousand grants.
const MAX_GRANTS_BYTES: usize = 16 * 1_024 * 1_024;

/// The coarsest grain of time stamps that common file systems have.
const GRAIN_SECONDS: i64 = 2;

/// Every file of the directory with what tells one state of it from another. Ordered by path.
pub(super) type Listing = BTreeMap<PathBuf, Stamp>;

/// What changes when a file is written or replaced. The change time can't be set by whoever writes the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Identity,
    kind: Kind,
    bytes: u64,
    changed: (i64, i64),
}

/// A file or folder, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A pipe, a socket, a device: reading one may never end.
    Other,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: Identity { device: metadata.dev(), inode: metadata.ino() },
            kind: Kind::of(metadata),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

impl Kind {
    fn of(metadata: &Metadata) -> Self {
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Self::File,
            (_, true) => Self::Folder,
            _ => Self::Other,
        }
    }
}

/// The folder that stands at a path now.
pub(super) fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|metadata| Stamp::of(&metadata).identity)
}

/// The file that is open, wherever it stands now.
pub(super) fn identity_of(file: &File) -> io::Result<Identity> {
    file.metadata().map(|metadata| Stamp::of(&metadata).identity)
}

/// Whether every change is long enough ago to be seen in the stamps. Time stamps have grains: what is written again
/// within one of them looks the same.
pub(super) fn is_settled(listing: &Listing) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let newest = listing.values().map(|stamp| stamp.changed.0).max().unwrap_or(0);
    newest.saturating_add(GRAIN_SECONDS) < i64::try_from(now).unwrap_or(i64::MAX)
}

/// The fault of files that are never the same twice.
pub(super) fn restless(root: &Path) -> Fault {
    Fault::of(
        root,
        "the files keep changing: replace them by renaming, several at once by renaming their folder",
    )
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
pub(super) fn list(root: &Path, hands: Hands) -> Result<Listing, Fault> {
    let listed = || {
        // With the root itself: another one may stand at its path.
        let metadata = fs::metadata(root).map_err(|error| (root.to_owned(), error))?;
        let domains = entries(root, Path::new(""))?;
        let of_domain = |(): &mut (), domain: (PathBuf, Stamp)| {
            let mut listed = Vec::new();
            walk(root, domain, 2, &mut listed).map(|()| listed)
        };
        let mut listed = vec![(PathBuf::new(), Stamp::of(&metadata))];
        for of_domain in hands.map(domains, || (), of_domain) {
            listed.append(&mut of_domain?);
        }
        Ok(listed)
    };
    // They come in their order, so that few of them are compared.
    let listed = listed().map(Listing::from_iter);
    listed.map_err(|(path, error): Unlisted| Fault::of(path, format!("can't be read: {error}")))
}

/// What can't be listed, and why.
type Unlisted = (PathBuf, io::Error);

/// Whether a directory is not there, or has nothing in it but what is passed over.
#[must_use]
pub fn holds_nothing(root: &Path) -> bool {
    match root.read_dir() {
        Ok(entries) => entries
            .into_iter()
            .all(|entry| entry.is_ok_and(|entry| is_passed_over(&entry.file_name().to_string_lossy()))),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether the name is one of a hidden entry or of an editor's backup.
pub(super) fn is_passed_over(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~')
}

/// Lists an entry and what is below it, so many levels deep, in the order of paths.
fn walk(
    root: &Path,
    (path, stamp): (PathBuf, Stamp),
    levels: usize,
    listed: &mut Vec<(PathBuf, Stamp)>,
) -> Result<(), Unlisted> {
    let below = match (stamp.kind, levels) {
        (Kind::Folder, 1..) => entries(root, &path)?,
        _ => Vec::new(),
    };
    listed.push((path, stamp));
    below.into_iter().try_for_each(|entry| walk(root, entry, levels - 1, listed))
}

/// The entries of a folder, in order.
fn entries(root: &Path, folder: &Path) -> Result<Vec<(PathBuf, Stamp)>, Unlisted> {
    let at = |path: &Path| {
        let path = if path.as_os_str().is_empty() { root } else { path }.to_owned();
        move |error| (path, error)
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(root.join(folder)).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name();
        if is_passed_over(&name.to_string_lossy()) {
            continue;
        }
        let path = folder.join(&name);
        let metadata = metadata(&entry).map_err(at(&path))?;
        entries.push((path, Stamp::of(&metadata)));
    }
    // All are in one folder, so bytes tell their order.
    entries.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
    Ok(entries)
}

/// What an entry is, or what a link leads to: a mounted volume has nothing but links. What is no link need not be looked for
/// again from the root on.
fn metadata(entry: &DirEntry) -> io::Result<Metadata> {
    if entry.file_type()?.is_symlink() { fs::metadata(entry.path()) } else { entry.metadata() }
}

/// What each listed file is. Folders have no role; anything unexpected is a fault, since a policy at a wrong place
/// would silently have no effect.
pub(super) fn roles(listing: &Listing) -> (Vec<(PathBuf, Role)>, Vec<Fault>) {
    let (mut roles, mut faults) = (Vec::new(), Vec::new());
    for (path, stamp) in listing.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
        match role(path, stamp.kind) {
            Ok(None) => {}
            Ok(Some(role)) => roles.push((path.clone(), role)),
            Err(expected) => faults.push(Fault::of(path, expected)),
        }
    }
    (roles, faults)
}

/// What a path is, or what was expected at its place.
pub(super) fn role(path: &Path, kind: Kind) -> Result<Option<Role>, &'static str> {
    let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
    let parts = parts.ok_or("expected a name in UTF-8")?;
    match (parts.as_slice(), kind) {
        (_, Kind::Other) => Err("expected a file or a folder"),
        ([domain_id], Kind::Folder) if domain_id.contains(is_invisible) => {
            Err("expected a domain id without invisible characters")
        }
        ([domain_id], Kind::Folder) => id_fault(domain_id).is_none().then_some(None).ok_or(
            "expected a domain id of at most 128 bytes, without control characters or blanks at its ends",
        ),
        ([_, "policies"], Kind::Folder) => Ok(None),
        ([domain_id, "grants.toml"], Kind::File) => {
            Ok(Some(Role::Grants { domain_id: (*domain_id).to_owned() }))
        }
        ([domain_id, "policies", file], Kind::File) => {
            let name = file.strip_suffix(".json").ok_or("expected a policy document `<name>.json`")?;
            if let Some(expected) = policy_name_fault(name) {
                return Err(expected);
            }
            Ok(Some(Role::Policy { domain_id: (*domain_id).to_owned(), name: name.to_owned() }))
        }
        ([_], Kind::File) => Err("expected a folder per domain: `<domain_id>/grants.toml`"),
        ([_, "policies", ..], _) => Err("expected a policy document `<name>.json`"),
        _ => Err("expected only `grants.toml` and the folder `policies` in a domain's folder"),
    }
}

impl Role {
    pub(super) fn domain_id(&self) -> &str {
        let (Self::Grants { domain_id } | Self::Policy { domain_id, .. }) = self;
        domain_id
    }

    fn max_bytes(&self) -> usize {
        match self {
            Self::Grants { .. } => MAX_GRANTS_BYTES,
            Self::Policy { .. } => policy::MAX_BYTES,
        }
    }
}

/// The fault of a file that is longer than its role allows.
pub(super) fn size_fault(path: &Path, role: &Role, bytes: usize) -> Option<Fault> {
    let max_bytes = role.max_bytes();
    (bytes > max_bytes).then(|| Fault::of(path, format!("expected at most {max_bytes} bytes, found more")))
}

/// Why a file has no text.
pub(super) enum Unread {
    /// The operating system did not give it to us: the next try may.
    Io(Fault),
    /// What it holds is no text of its role.
    Content(Fault),
}

/// Reads a file as text, at most as long as its role allows.
pub(super) fn read_text(root: &Path, path: &Path, role: &Role) -> Result<String, Unread> {
    let bytes = read_bytes(&root.join(path), role.max_bytes())
        .map_err(|error| Unread::Io(Fault::of(path, format!("can't be read: {error}"))))?;
    if let Some(fault) = size_fault(path, role, bytes.len()) {
        return Err(Unread::Content(fault));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Unread::Content(Fault::of(path, format!("expected UTF-8, found another byte at offset {offset}")))
    })
}

/// The room in which the standard library looks for the end of a file. With less, it begins with a small read.
const END_BYTES: usize = 32;

/// Reads at most one byte more than allowed, which tells a file that is too long from one that just fits.
fn read_bytes(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Opening must not wait: since it was listed, the file may have become a pipe that nobody writes to.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file any more"));
    }
    // With room for all of it, and for seeing that it has ended, it takes few reads.
    let expected = usize::try_from(metadata.len()).unwrap_or(max_bytes).min(max_bytes);
    let mut bytes = Vec::with_capacity(expected + END_BYTES);
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
