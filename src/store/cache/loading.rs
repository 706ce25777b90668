//! Loads that are on their way: those who miss the same entry at the same time wait for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::key::{Key, KeyRef};

/// The loads of all keys, each with what came of it as soon as it is there.
#[derive(Debug)]
pub(super) struct Loading<T> {
    by_key: Mutex<HashMap<Arc<Key>, Arc<OnceCell<T>>>>,
}

/// One who waits for a load. The last one to leave, or the first after it has ended, takes it off the list.
struct Waiting<'l, T> {
    loading: &'l Loading<T>,
    key: Arc<Key>,
    cell: Arc<OnceCell<T>>,
}

impl<T: Clone> Loading<T> {
    pub(super) fn new() -> Self {
        Self { by_key: Mutex::default() }
    }

    /// What comes of the load of a key. Of those who ask at the same time, one loads, and all have what came of it. Should
    /// that one give up waiting, another takes over.
    pub(super) async fn join(&self, key: KeyRef<'_>, load: impl Future<Output = T>) -> T {
        let waiting = self.wait(key);
        waiting.cell.get_or_init(|| load).await.clone()
    }

    fn wait(&self, key: KeyRef<'_>) -> Waiting<'_, T> {
        let key = Arc::new(key.to_key());
        let cell = self.by_key().entry(key.clone()).or_default().clone();
        Waiting { loading: self, key, cell }
    }
}

impl<T> Loading<T> {
    fn by_key(&self) -> MutexGuard<'_, HashMap<Arc<Key>, Arc<OnceCell<T>>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let mut by_key = self.loading.by_key();
        // One that ended is off the list, and another of the same key may be on it.
        let is_listed = by_key.get(&self.key).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // The list has it, and this one.
        let is_last = Arc::strong_count(&self.cell) == 2;
        if is_listed && (self.cell.initialized() || is_last) {
            by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::request::{Identity, Subject};
    use crate::store::Revision;

    fn identity() -> Identity {
        Identity {
            domain_id: "acme".into(),
            subject: Subject::User("alice".into()),
            project_id: None,
            group_ids: Vec::new(),
            role_names: Vec::new(),
        }
    }

    fn key(identity: &Identity) -> KeyRef<'_> {
        KeyRef { identity, timeline: 0, revision: Revision(1) }
    }

    #[tokio::test]
    async fn another_takes_over_from_who_gives_up() {
        let (loading, identity) = (Loading::new(), identity());
        let mut first = Box::pin(loading.join(key(&identity), pending()));
        let mut second = pin!(loading.join(key(&identity), ready(2)));
        poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(first);
        assert_eq!(second.await, 2);
        assert!(loading.by_key().is_empty());
    }

    #[tokio::test]
    async fn what_came_of_it_is_not_kept() {
        let (loading, identity) = (Loading::new(), identity());
        for number in 0..3 {
            assert_eq!(loading.join(key(&identity), ready(number)).await, number);
            assert!(loading.by_key().is_empty());
        }
        drop(loading.join(key(&identity), pending()));
        assert!(loading.by_key().is_empty());
    }
}
