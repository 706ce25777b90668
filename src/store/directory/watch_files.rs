//! Follows the files of a policy directory.
//!
//! Events of the file system only wake the thread; what counts is the listing. It is loaded once it has not changed
//! for [`QUIET`], so that a writer who replaces several files one after the other is not caught in between. The
//! listing is looked at every [`RESCAN`] as well: a directory that was replaced, or a file system without events,
//! sends none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::{self, Identity};
use super::hands::Hands;
use super::{Change, DirectoryStore, Faults, MAX_SHOWN};

/// How long the files must be unchanged before they are loaded.
const QUIET: Duration = Duration::from_millis(500);
/// How often the files are looked at without an event.
const RESCAN: Duration = Duration::from_secs(2);
/// How long the files may go on changing before that is a fault.
const RESTLESS: Duration = Duration::from_secs(10);

/// Loads the directory whenever its files change, for as long as this lives.
#[derive(Debug)]
pub struct FileWatch {
    _alive: Arc<()>,
}

impl FileWatch {
    pub(super) fn start(store: Arc<DirectoryStore>) -> Result<Self, notify::Error> {
        // One pending wake is as good as many.
        let (wake, wakes) = sync_channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event)) {
                let _already_pending = wake.try_send(());
            }
        })?;
        let mut follower = Follower { store, watcher, watched: None, last_faults: None };
        follower.watch_root()?;
        let alive = Arc::new(());
        let is_alive = Arc::downgrade(&alive);
        thread::Builder::new()
            .name("policy-files".to_owned())
            .spawn(move || follower.run(&wakes, &is_alive))
            .map_err(notify::Error::io)?;
        Ok(Self { _alive: alive })
    }
}

/// Our own reading causes events too.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

struct Follower {
    store: Arc<DirectoryStore>,
    watcher: RecommendedWatcher,
    /// The directory that is watched: another one may stand at its path by now.
    watched: Option<Identity>,
    last_faults: Option<Faults>,
}

impl Follower {
    fn run(mut self, wakes: &Receiver<()>, is_alive: &Weak<()>) {
        while is_alive.strong_count() > 0 {
            // A fault of ours must not end the thread: policies would go stale without a sign.
            if catch_unwind(AssertUnwindSafe(|| self.follow())).is_err() {
                self.store.degrade("loading the policies panicked: this is a bug of ecs-authz");
            }
            let _woken_or_not = wakes.recv_timeout(RESCAN);
        }
    }

    fn follow(&mut self) {
        if !self.store.is_outdated() {
            self.store.confirm();
            return;
        }
        if let Err(error) = self.watch_root() {
            tracing::warn!(%error, "changes of the policy directory are seen late");
        }
        if self.settle() {
            let outcome = self.store.reload();
            self.log(outcome);
        } else {
            let fault = files::restless(self.store.root());
            self.store.degrade(&fault);
            self.log(Err(Faults(vec![fault])));
        }
    }

    /// Watches the directory that stands at the path now.
    fn watch_root(&mut self) -> Result<(), notify::Error> {
        let root = self.store.root();
        let identity = files::identity(root).map_err(notify::Error::io)?;
        if self.watched.as_ref() == Some(&identity) {
            return Ok(());
        }
        // The old one may be gone, and its watch with it.
        let _gone = self.watcher.unwatch(root);
        self.watcher.watch(root, RecursiveMode::Recursive)?;
        self.watched = Some(identity);
        Ok(())
    }

    /// Waits until the files are quiet. Answers whether they are.
    fn settle(&self) -> bool {
        let limit = Instant::now() + RESTLESS;
        let mut before = files::list(self.store.root(), Hands::One);
        while Instant::now() < limit {
            thread::sleep(QUIET);
            let after = files::list(self.store.root(), Hands::One);
            if after == before {
                return true;
            }
            before = after;
        }
        false
    }

    /// Logs a change once, and the same faults once.
    fn log(&mut self, outcome: Result<Change, Faults>) {
        let faults = match outcome {
            Err(faults) => faults,
            Ok(change) => {
                let is_mended = self.last_faults.take().is_some();
                if change == Change::Loaded || is_mended {
                    let (root, domains) = (self.store.root().display(), self.store.domain_count());
                    tracing::info!(directory = %root, domains, "policies loaded");
                }
                return;
            }
        };
        if self.last_faults.as_ref() != Some(&faults) {
            for fault in faults.lines(MAX_SHOWN) {
                tracing::error!(fault, "policies not loaded, the last good ones stay");
            }
        }
        self.last_faults = Some(faults);
    }
}
