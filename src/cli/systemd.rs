//! What systemd is told of a service that it started (`Type=notify-reload`), see sd_notify(3). Where `NOTIFY_SOCKET` is not
//! set, nobody is told anything.

use std::io;

use sd_notify::NotifyState;
use tokio::time::sleep;

/// It serves: after the start, and after a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads again what may have changed. systemd tells by the time that this answers its own signal.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn(&error),
    }
}

/// It was told to stop, and takes its time.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells again and again that the program is alive, where the unit asks for it (`WatchdogSec`).
pub(super) fn keep_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    tokio::spawn(async move {
        loop {
            tell(&[NotifyState::Watchdog]);
            sleep(limit / 2).await;
        }
    });
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn(&error);
    }
}

fn warn(error: &io::Error) {
    tracing::warn!(%error, "systemd can't be told how the service is");
}
