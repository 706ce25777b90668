//! The signals of a server.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGHUP: to read again what may have changed.
    Reload,
    /// To stop.
    Stop(Stop),
}

/// Who asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// SIGTERM: what runs the service. Clients are still to learn of it.
    Terminate,
    /// SIGINT: a person at a terminal, who waits.
    Interrupt,
}

/// The signals that are listened to. None ends the process by itself any more.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::Stop(Stop::Terminate),
            Some(()) = self.interrupt.recv() => Signal::Stop(Stop::Interrupt),
            Some(()) = self.hangup.recv() => Signal::Reload,
            else => pending().await,
        }
    }

    /// The next signal to stop. One to reload stays for [`Self::next`]: what changed during a reload is to be read, too.
    pub(super) async fn stop(&mut self) -> Stop {
        tokio::select! {
            Some(()) = self.terminate.recv() => Stop::Terminate,
            Some(()) = self.interrupt.recv() => Stop::Interrupt,
            else => pending().await,
        }
    }
}
