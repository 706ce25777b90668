//! How a call that lasts learns that its connection is told to go: for its age, or because the server stops.

use tokio::sync::watch;

/// Tells the calls of a connection. Dropped, it has told them too.
#[derive(Debug)]
pub struct Notice(watch::Sender<bool>);

/// What a call is told by. Each has one of its own.
#[derive(Debug, Clone)]
pub struct Departure(watch::Receiver<bool>);

/// A notice to the calls of one connection.
#[must_use]
pub fn departure() -> (Notice, Departure) {
    let (notice, told) = watch::channel(false);
    (Notice(notice), Departure(told))
}

impl Notice {
    /// Tells them.
    pub fn give(&self) {
        self.0.send_replace(true);
    }
}

impl Departure {
    /// Completes when the connection is told to go.
    pub(super) async fn told(mut self) {
        let _gone = self.0.wait_for(|told| *told).await;
    }

    /// Whether it has been.
    pub(super) fn was_told(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}
