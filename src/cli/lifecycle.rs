//! A server from when it is ready to its end: what signals make it do.
//!
//! SIGHUP makes it read again what may have changed. SIGTERM makes it stop in phases: it says that it stops and goes on, until
//! its clients have gone elsewhere; then it closes its listeners and answers the calls in flight; then it ends. SIGINT skips the
//! first phase. Each further signal to stop ends the phase that it meets.

use std::io;

use tokio::time::sleep;

use super::signals::{Signal, Signals, Stop};
use super::systemd::Systemd;
use super::{CommandError, SUCCESS};
use crate::config::ShutdownConfig;
use crate::server::{Drain, RunningServer};

/// Serves until a signal ends it.
pub(super) async fn run(
    mut server: RunningServer,
    mut signals: Signals,
    shutdown: ShutdownConfig,
) -> Result<u8, CommandError> {
    let systemd = Systemd::start();
    systemd.ready();
    systemd.keep_watchdog(server.pulse());
    let told = serve(&mut server, &mut signals, &systemd).await;
    systemd.stopping();
    let left = match told {
        Ok(Stop::Terminate) => leave(&mut server, &mut signals, shutdown).await,
        Ok(Stop::Interrupt) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = left {
        let limit = shutdown.limit();
        tokio::join!(server.decision_log.drain(limit), server.tracer.drain(limit));
        return Err(CommandError::Listener(error));
    }
    tracing::info!("stopping: the listeners close, calls in flight are answered");
    let hurry = async {
        signals.stop().await;
    };
    if server.stop_until(shutdown.limit(), hurry).await.map_err(CommandError::Listener)? == Drain::CutShort {
        tracing::warn!("stopped with calls or connections still open");
    }
    Ok(SUCCESS)
}

/// Until it is told to stop. A listener that ends by itself is an error.
async fn serve(
    server: &mut RunningServer,
    signals: &mut Signals,
    systemd: &Systemd,
) -> Result<Stop, io::Error> {
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            error = server.ended() => return Err(error),
        };
        match signal {
            Signal::Stop(stop) => return Ok(stop),
            Signal::Reload => {
                tracing::info!("reading certificates, policies and the decision log's file again");
                systemd.reloading();
                tokio::select! {
                    () = server.reload() => systemd.ready(),
                    stop = signals.stop() => return Ok(stop),
                }
            }
        }
    }
}

/// The first phase of the end: whoever asks is told, and everything is answered.
async fn leave(
    server: &mut RunningServer,
    signals: &mut Signals,
    shutdown: ShutdownConfig,
) -> Result<(), io::Error> {
    server.leave().await;
    tracing::info!(delay_seconds = shutdown.delay_seconds, "stopping: health says so, calls are still taken");
    tokio::select! {
        () = sleep(shutdown.delay()) => Ok(()),
        _skipped = signals.stop() => Ok(()),
        error = server.ended() => Err(error),
    }
}
