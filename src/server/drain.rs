//! How a server stops, in phases: it says that it will, it closes its listeners and tells connections to go, and it ends.

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic_health::ServingStatus;

use super::RunningServer;

/// How long health says NOT_SERVING to those who watch it once listeners have closed: then their watches, which would never
/// end, are ended.
const WATCH_GRACE: Duration = Duration::from_millis(500);
/// How long the last records may be written, and the last spans sent, where calls took all the time to stop.
const RECORDS_GRACE: Duration = Duration::from_secs(1);

/// How far a server is on its way from its start to its end. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Whoever asks how it is is told that it stops; everything else is as ever.
    Leaving,
    /// The listeners of gRPC are closed, its connections told to go. Calls in flight are answered. HTTP is as ever.
    Draining,
    /// No call is in flight. HTTP ends too.
    Closing,
}

/// Tells how far the server is.
#[derive(Debug, Clone)]
pub(super) struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    pub(super) fn of(phase: &watch::Sender<Phase>) -> Self {
        Self(phase.subscribe())
    }

    /// Whether it is past serving.
    pub(super) fn is_stopping(&self) -> bool {
        *self.0.borrow() > Phase::Serving
    }

    /// Completes when the server is that far, or is gone.
    pub(super) fn reaches(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.0.clone();
        async move {
            let _gone = receiver.wait_for(|current| *current >= phase).await;
        }
    }
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// All calls were answered.
    Complete,
    /// The time to stop was over before all calls and connections ended.
    CutShort,
}

impl RunningServer {
    /// Says that it will stop: health is NOT_SERVING, `/readyz` a 503. Everything else goes on, so that clients can go
    /// elsewhere before anything is closed.
    pub async fn leave(&mut self) {
        if *self.phase.borrow() > Phase::Serving {
            return;
        }
        self.phase.send_replace(Phase::Leaving);
        // Whatever it was about to say, it has said.
        let _ended = (&mut self.health_report).await;
        self.health.announce(ServingStatus::NotServing).await;
    }

    /// Stops: says so, closes the listeners of gRPC, answers calls in flight for at most `limit`, and closes HTTP.
    ///
    /// # Errors
    ///
    /// If a listener failed.
    pub async fn stop(self, limit: Duration) -> io::Result<Drain> {
        self.stop_until(limit, pending()).await
    }

    /// Stops, and cuts that short if `hurry` completes.
    ///
    /// # Errors
    ///
    /// If a listener failed.
    pub async fn stop_until(mut self, limit: Duration, hurry: impl Future<Output = ()>) -> io::Result<Drain> {
        let started = Instant::now();
        self.leave().await;
        let outcome = tokio::select! {
            outcome = self.drain() => outcome.map(|()| Drain::Complete),
            () = sleep(limit) => Ok(Drain::CutShort),
            () = hurry => Ok(Drain::CutShort),
        };
        // What is left of connections is cut.
        self.listeners.shutdown().await;
        self.http.shutdown().await;
        self.workers.stop().await;
        let rest = match outcome {
            Ok(Drain::Complete) => limit.saturating_sub(started.elapsed()),
            Ok(Drain::CutShort) | Err(_) => Duration::ZERO,
        };
        let rest = rest.max(RECORDS_GRACE);
        tokio::join!(self.decision_log.drain(rest), self.tracer.drain(rest));
        outcome
    }

    async fn drain(&mut self) -> io::Result<()> {
        self.phase.send_replace(Phase::Draining);
        let end_watches = async {
            sleep(WATCH_GRACE).await;
            self.health.end_watches().await;
        };
        {
            let mut ended = pin!(all(&mut self.listeners));
            tokio::select! {
                outcome = &mut ended => outcome?,
                () = end_watches => ended.await?,
            }
        }
        self.phase.send_replace(Phase::Closing);
        all(&mut self.http).await
    }
}

async fn all(listeners: &mut JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = listeners.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}
