//! The entries of the cache, found by key and left by age.
//!
//! A hash table in parts, each behind a lock of its own: a hit takes one for reading and reads one line of memory, that of
//! the entry. What it shares with others, its place and its policies, is likely at hand. Who was asked for is marked. A hand
//! goes round the entries of a part and takes the first that was not marked since it came by last, so whoever is in use
//! stays: the marks are all that a hit writes, and only the first of a round. Caches that note each hit in a list, to know
//! the exact order, cost a multiple of that.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use rapidhash::quality::RandomState;

use super::key::KeyRef;
use super::places::Place;
use super::sets::SharedSet;
use super::subject::CompactSubject;

/// What an entry takes in its part, in bytes: its slot, and its share of the index, which is between half full and full.
const ENTRY_BYTES: usize = size_of::<Option<Slot>>() + 10;
/// A part for each so many bytes of the cache.
const PART_BYTES: u64 = 1 << 20;
const MAX_PARTS: u64 = 64;

/// The entries.
#[derive(Debug)]
pub(super) struct Entries {
    /// A power of two of them.
    shards: Box<[Shard]>,
    hasher: RandomState,
    bytes: AtomicU64,
}

/// A part behind its lock, on lines of its own: the lock is written to with each hit.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<Part>);

#[derive(Debug, Default)]
struct Part {
    /// Positions in `slots`.
    index: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    /// Positions without an entry. The last one was left last: the hand has just passed it.
    free: Vec<u32>,
    hand: usize,
}

/// One entry, on a line of memory of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    place: Arc<Place>,
    set: Arc<SharedSet>,
    subject: CompactSubject,
    hash: ShortHash,
    was_asked: AtomicBool,
}

const _: () = assert!(size_of::<Option<Slot>>() == 64, "an entry takes one line");

/// As much of a hash as a part needs; the rest chose the part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ShortHash(u32);

impl ShortHash {
    fn of(hash: u64) -> Self {
        Self(hash as u32)
    }

    /// The table takes its bits from both ends.
    fn spread(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}

impl Entries {
    /// Entries of a cache of that many bytes.
    pub(super) fn new(max_bytes: u64) -> Self {
        let count = (max_bytes / PART_BYTES).clamp(1, MAX_PARTS).next_power_of_two();
        // The seed is random; keys are compared as a whole, so whoever found two with one hash would slow them down and no
        // more.
        let shards = (0..count).map(|_| Shard::default()).collect();
        Self { shards, hasher: RandomState::default(), bytes: AtomicU64::new(0) }
    }

    /// What `take` takes of the set of a key, if it has an entry.
    pub(super) fn get<T>(&self, key: KeyRef<'_>, take: impl FnOnce(&Arc<SharedSet>) -> T) -> Option<T> {
        let hash = self.hasher.hash_one(key);
        let part = self.shard(hash)?.read();
        let slot = part.find(ShortHash::of(hash), key)?;
        if !slot.was_asked.load(Ordering::Relaxed) {
            slot.was_asked.store(true, Ordering::Relaxed);
        }
        Some(take(&slot.set))
    }

    /// Adds an entry, unless the key has one by now.
    pub(super) fn insert(&self, key: KeyRef<'_>, place: Arc<Place>, set: Arc<SharedSet>) {
        let hash = self.hasher.hash_one(key);
        let (subject, was_asked) = (CompactSubject::new(&key.identity.subject), AtomicBool::new(false));
        // Before the lock, so that it is freed behind it.
        let slot = Slot { place, set, subject, hash: ShortHash::of(hash), was_asked };
        let Some(shard) = self.shard(hash) else { return };
        let mut part = shard.write();
        if part.find(slot.hash, key).is_none() {
            self.bytes.fetch_add(slot.bytes(), Ordering::Relaxed);
            part.add(slot);
        }
    }

    /// Lets go of an entry that was not in use lately: of the part of this key, or if it has none, of another. Tells whether
    /// there was one.
    pub(super) fn evict(&self, near: KeyRef<'_>) -> bool {
        let first = self.index(self.hasher.hash_one(near));
        let mut shards = self.shards.iter().cycle().skip(first).take(self.shards.len());
        // Freed behind the lock.
        let slot = shards.find_map(|shard| shard.write().evict());
        let bytes = slot.as_ref().map(Slot::bytes);
        self.bytes.fetch_sub(bytes.unwrap_or(0), Ordering::Relaxed);
        bytes.is_some()
    }

    /// What an entry of this key takes besides its place and its set, in bytes.
    pub(super) fn bytes_of(key: KeyRef<'_>) -> u64 {
        bytes_with(&CompactSubject::new(&key.identity.subject))
    }

    /// What all entries take, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().index.len()).sum()
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get(self.index(hash))
    }

    fn index(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }
}

fn bytes_with(subject: &CompactSubject) -> u64 {
    u64::try_from(ENTRY_BYTES + subject.heap_bytes()).unwrap_or(u64::MAX)
}

impl Shard {
    fn read(&self) -> RwLockReadGuard<'_, Part> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Part> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn find(&self, hash: ShortHash, key: KeyRef<'_>) -> Option<&Slot> {
        let is_it = |position: &u32| self.slot(*position).is_some_and(|slot| slot.is(hash, key));
        self.slot(*self.index.find(hash.spread(), is_it)?)
    }

    fn slot(&self, position: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(position).ok()?)?.as_ref()
    }

    fn add(&mut self, slot: Slot) {
        let hash = slot.hash;
        let position = match self.free.pop() {
            Some(position) => position,
            None => {
                // INVARIANT: memory ends before positions do.
                let Ok(position) = u32::try_from(self.slots.len()) else { return };
                self.slots.push(None);
                position
            }
        };
        let Some(place) = self.slots.get_mut(position as usize) else { return };
        *place = Some(slot);
        let slots = &self.slots;
        let rehash = |position: &u32| {
            let slot = slots.get(*position as usize).and_then(Option::as_ref);
            slot.map_or(0, |slot| slot.hash.spread())
        };
        self.index.insert_unique(hash.spread(), position, rehash);
    }

    fn evict(&mut self) -> Option<Slot> {
        if self.index.is_empty() {
            return None;
        }
        // In the first round marks are taken away, so there is one in the second.
        for _ in 0..=2 * self.slots.len() {
            let position = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let place = self.slots.get_mut(position)?;
            let is_left = place.as_mut().is_some_and(|slot| !std::mem::take(slot.was_asked.get_mut()));
            if let Some(slot) = place.take_if(|_| is_left) {
                self.forget(position as u32, slot.hash);
                return Some(slot);
            }
        }
        None
    }

    fn forget(&mut self, position: u32, hash: ShortHash) {
        if let Ok(entry) = self.index.find_entry(hash.spread(), |other| *other == position) {
            entry.remove();
        }
        self.free.push(position);
    }
}

impl Slot {
    fn is(&self, hash: ShortHash, key: KeyRef<'_>) -> bool {
        self.hash == hash && self.subject.is(&key.identity.subject) && self.place.is(key)
    }

    fn bytes(&self) -> u64 {
        bytes_with(&self.subject)
    }
}
