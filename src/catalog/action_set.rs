//! A set over the closed table of actions: one bit an action.

use super::ActionId;

/// A set of actions of one catalog. Membership is one bit test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionSet {
    words: Box<[u64]>,
}

const BITS: usize = u64::BITS as usize;

impl ActionSet {
    /// The empty set over a catalog of `action_count` actions.
    #[must_use]
    pub fn empty(action_count: usize) -> Self {
        Self { words: vec![0; action_count.div_ceil(BITS)].into() }
    }

    /// Adds an action. An action of another, larger catalog is not added.
    pub fn insert(&mut self, action: ActionId) {
        if let Some(word) = self.words.get_mut(action.index() / BITS) {
            *word |= 1 << (action.index() % BITS);
        }
    }

    /// Adds all actions of another set over the same catalog.
    pub fn extend(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    /// Whether no action is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether the action is in the set.
    #[must_use]
    pub fn contains(&self, action: ActionId) -> bool {
        let word = self.words.get(action.index() / BITS).copied().unwrap_or(0);
        word >> (action.index() % BITS) & 1 == 1
    }

    /// The actions of the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = ActionId> {
        let last = u16::try_from(self.words.len() * BITS).unwrap_or(u16::MAX);
        (0..last).map(ActionId::new).filter(|action| self.contains(*action))
    }

    /// The bytes that the set holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val::<[u64]>(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted_and_nothing_else() {
        let mut set = ActionSet::empty(130);
        for index in [0, 63, 64, 129] {
            set.insert(ActionId::new(index));
        }
        let held: Vec<usize> = set.iter().map(ActionId::index).collect();
        assert_eq!(held, [0, 63, 64, 129]);
        assert!(!set.contains(ActionId::new(60_000)));
        let mut both = ActionSet::empty(130);
        assert!(both.is_empty() && !set.is_empty());
        both.insert(ActionId::new(1));
        both.extend(&set);
        assert_eq!(both.iter().map(ActionId::index).collect::<Vec<_>>(), [0, 1, 63, 64, 129]);
    }
}
