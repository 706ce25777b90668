//! Follows the files of a policy directory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use notify_debouncer_mini::notify::{self, RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{DebounceEventResult, Debouncer, new_debouncer};

use super::{DirectoryStore, Faults};

/// How long the files must be quiet before they are loaded.
const QUIET: Duration = Duration::from_millis(200);
/// How often the files are looked at without an event: a directory that was replaced, or a file system without
/// events, sends none.
const RESCAN: Duration = Duration::from_secs(30);

/// Loads the directory whenever its files change, for as long as this lives.
#[derive(Debug)]
pub struct FileWatch {
    /// Its end closes the channel, which ends the thread.
    _events: Debouncer<RecommendedWatcher>,
}

impl FileWatch {
    pub(super) fn start(store: Arc<DirectoryStore>) -> Result<Self, notify::Error> {
        let (send, receive) = channel();
        let mut events = new_debouncer(QUIET, send)?;
        events.watcher().watch(store.root(), RecursiveMode::Recursive)?;
        thread::Builder::new()
            .name("policy-files".to_owned())
            .spawn(move || follow(&store, &receive))
            .map_err(notify::Error::io)?;
        Ok(Self { _events: events })
    }
}

fn follow(store: &DirectoryStore, events: &Receiver<DebounceEventResult>) {
    let mut last_faults = None;
    loop {
        match events.recv_timeout(RESCAN) {
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // A fault of ours must not end the thread: policies would go stale without a sign.
        let followed = catch_unwind(AssertUnwindSafe(|| {
            if store.is_outdated() {
                reload(store, &mut last_faults);
            }
        }));
        if followed.is_err() {
            store.degrade("loading the policies panicked: this is a bug of ecs-authz");
        }
    }
}

/// Loads and logs: a change once, and the same faults once.
fn reload(store: &DirectoryStore, last_faults: &mut Option<Faults>) {
    match store.reload() {
        Ok(()) => {
            *last_faults = None;
            tracing::info!(directory = %store.root().display(), domains = store.domain_count(), "policies loaded");
        }
        Err(faults) => {
            if last_faults.as_ref() != Some(&faults) {
                for fault in &faults.0 {
                    tracing::error!(%fault, "policies not loaded, the last good ones stay");
                }
            }
            *last_faults = Some(faults);
        }
    }
}
