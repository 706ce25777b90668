//! All that an entry of the cache depends on.

use crate::request::Identity;
use crate::store::Revision;

/// Who asks, and which state of the domain's policies the answer is from.
///
/// INVARIANT: holds every input of an entry. Keys are compared by whole values, not by hashes: two principals never share
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyRef<'a> {
    pub(super) identity: &'a Identity,
    pub(super) timeline: u64,
    pub(super) revision: Revision,
}

/// A [`KeyRef`] that outlives the request.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    identity: Identity,
    timeline: u64,
    revision: Revision,
}

impl KeyRef<'_> {
    pub(super) fn to_key(self) -> Key {
        let Self { identity, timeline, revision } = self;
        Key { identity: identity.clone(), timeline, revision }
    }
}
