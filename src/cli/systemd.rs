//! What systemd is told of a service that it started (`Type=notify`, `notify-reload`), see sd_notify(3). Where `NOTIFY_SOCKET`
//! is not set, nobody is told anything.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use sd_notify::NotifyState;
use tokio::time::sleep;

use crate::server::Pulse;

/// How many messages may wait to be taken. What is more is not told: whoever should listen does not.
const MAX_WAITING: usize = 16;

/// Tells systemd, in order and from a thread of its own: a socket that nobody reads is full at some time, and then holds up
/// whoever writes to it.
#[derive(Debug, Clone)]
pub(super) struct Systemd(Option<SyncSender<Vec<NotifyState<'static>>>>);

impl Systemd {
    /// Takes up the socket, if there is one.
    pub(super) fn start() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (tell, told) = sync_channel::<Vec<NotifyState<'static>>>(MAX_WAITING);
        thread::spawn(move || {
            for states in told {
                if let Err(error) = sd_notify::notify(&states) {
                    warn(&error);
                }
            }
        });
        Self(Some(tell))
    }

    /// It serves: after the start, and after a reload.
    pub(super) fn ready(&self) {
        self.tell(vec![NotifyState::Ready]);
    }

    /// It reads again what may have changed. systemd tells by the time that this answers its own signal.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(vec![NotifyState::Reloading, now]),
            Err(error) => warn(&error),
        }
    }

    /// It was told to stop, and takes its time.
    pub(super) fn stopping(&self) {
        self.tell(vec![NotifyState::Stopping]);
    }

    /// Tells again and again that the program is alive, where the unit asks for it (`WatchdogSec`). A worker that hangs keeps
    /// it from being told.
    pub(super) fn keep_watchdog(&self, pulse: Pulse) {
        let Some(limit) = sd_notify::watchdog_enabled() else { return };
        let systemd = self.clone();
        tokio::spawn(async move {
            loop {
                pulse.beat().await;
                systemd.tell(vec![NotifyState::Watchdog]);
                sleep(limit / 2).await;
            }
        });
    }

    fn tell(&self, states: Vec<NotifyState<'static>>) {
        // One that does not fit is one that nobody takes.
        let _untold = self.0.as_ref().map(|tell| tell.try_send(states));
    }
}

fn warn(error: &io::Error) {
    tracing::warn!(%error, "systemd can't be told how the service is");
}
