//! Where principals are: all of a key but the subject. Many principals have it in common, and it is stored once for them.
//!
//! A place is kept by the entries that have it, and gone with the last of them. Looked up on a miss only, so one lock is
//! enough; a hit compares its texts, which are those of many hits.

use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashTable;
use rapidhash::quality::RandomState;

use super::key::KeyRef;
use crate::request::Identity;
use crate::store::Revision;

/// What a place takes besides itself and its texts, in bytes: its place in the table and what its allocations cost.
const OVERHEAD_BYTES: usize = 96;
/// What a text takes besides its bytes and their address.
const TEXT_OVERHEAD_BYTES: usize = 12;

/// All places that are in use.
#[derive(Debug)]
pub(super) struct Places {
    table: Mutex<Table>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Table {
    by_hash: HashTable<Listed>,
    bytes: u64,
}

#[derive(Debug)]
struct Listed {
    hash: u64,
    place: Weak<Place>,
}

/// What an identity has besides its subject, at a revision.
#[derive(Debug)]
pub(super) struct Place {
    domain_id: Box<str>,
    project_id: Option<Box<str>>,
    group_ids: Box<[Box<str>]>,
    role_names: Box<[Box<str>]>,
    timeline: u64,
    revision: Revision,
    hash: u64,
    bytes: u64,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), hasher: RandomState::default() })
    }

    /// The place of a key: the one that is in use, or a new one.
    pub(super) fn share(self: &Arc<Self>, key: KeyRef<'_>) -> Arc<Place> {
        let hash = self.hash(key);
        // Freed behind the lock, which the end of a place takes.
        let mut others = Vec::new();
        let mut table = self.table();
        for place in table.by_hash.iter_hash(hash).filter_map(|listed| listed.place.upgrade()) {
            if place.is(key) {
                return place;
            }
            others.push(place);
        }
        let place = Arc::new(Place::new(key, hash, self.clone()));
        table.bytes += place.bytes;
        let listed = Listed { hash, place: Arc::downgrade(&place) };
        table.by_hash.insert_unique(hash, listed, |listed| listed.hash);
        place
    }

    /// What all places hold, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.table().bytes
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, KeyRef { identity, timeline, revision }: KeyRef<'_>) -> u64 {
        let Identity { domain_id, subject: _, project_id, group_ids, role_names } = identity;
        self.hasher.hash_one((domain_id, project_id, group_ids, role_names, timeline, revision))
    }
}

impl Place {
    fn new(key: KeyRef<'_>, hash: u64, places: Arc<Places>) -> Self {
        let KeyRef { identity, timeline, revision } = key;
        let Identity { domain_id, subject: _, project_id, group_ids, role_names } = identity;
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let texts = project_id.iter().chain(group_ids).chain(role_names).chain([domain_id]);
        let texts = texts.map(|text| TEXT_OVERHEAD_BYTES + text.len());
        let lists = (group_ids.len() + role_names.len()) * size_of::<Box<str>>();
        let bytes = OVERHEAD_BYTES + size_of::<Self>() + lists + texts.sum::<usize>();
        Self {
            domain_id: domain_id.as_str().into(),
            project_id: project_id.as_deref().map(Into::into),
            group_ids: boxed(group_ids),
            role_names: boxed(role_names),
            timeline,
            revision,
            hash,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            places,
        }
    }

    /// Whether it is the place of this key, byte for byte.
    pub(super) fn is(&self, KeyRef { identity, timeline, revision }: KeyRef<'_>) -> bool {
        let Identity { domain_id, subject: _, project_id, group_ids, role_names } = identity;
        self.revision == revision
            && self.timeline == timeline
            && *self.domain_id == **domain_id
            && self.project_id.as_deref() == project_id.as_deref()
            && are(&self.group_ids, group_ids)
            && are(&self.role_names, role_names)
    }
}

fn are(own: &[Box<str>], texts: &[String]) -> bool {
    own.len() == texts.len() && own.iter().zip(texts).all(|(own, text)| **own == **text)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.table();
        table.bytes -= self.bytes;
        // Since its last user left, another of the same key may have come.
        let own: *const Self = self;
        if let Ok(listed) = table.by_hash.find_entry(self.hash, |listed| listed.place.as_ptr() == own) {
            listed.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Subject;

    fn identity(project: &str, user: &str) -> Identity {
        Identity {
            domain_id: "acme".into(),
            subject: Subject::User(user.into()),
            project_id: Some(project.into()),
            group_ids: vec!["x".into()],
            role_names: Vec::new(),
        }
    }

    fn key(identity: &Identity, revision: u64) -> KeyRef<'_> {
        KeyRef { identity, timeline: 0, revision: Revision(revision) }
    }

    #[test]
    fn users_of_a_project_have_one_place_until_the_last_of_them_leaves() {
        let places = Places::new();
        let (alice, bob, elsewhere) =
            (identity("prod", "alice"), identity("prod", "bob"), identity("test", "alice"));
        let place = places.share(key(&alice, 1));
        assert!(Arc::ptr_eq(&place, &places.share(key(&bob, 1))));
        let one = places.bytes();
        assert!(!Arc::ptr_eq(&place, &places.share(key(&alice, 2))));
        let other = places.share(key(&elsewhere, 1));
        assert!(!Arc::ptr_eq(&place, &other));
        assert_eq!(places.bytes(), 2 * one);
        drop((place, other));
        assert_eq!((places.bytes(), places.table().by_hash.len()), (0, 0));
    }

    #[test]
    fn places_come_and_go_on_many_threads() {
        let places = Places::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2_000 {
                        let identity = identity(&(round % 3).to_string(), "alice");
                        assert!(places.share(key(&identity, 1)).is(key(&identity, 1)));
                    }
                });
            }
        });
        assert_eq!((places.bytes(), places.table().by_hash.len()), (0, 0));
    }
}
