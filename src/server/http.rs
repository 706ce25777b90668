//! The HTTP listener: health and metrics, for few who ask often.
//!
//! A client that does not finish asking, or has nothing more to ask, is sent away soon, and there are few places: whoever
//! holds them keeps neither the calls of gRPC from files and memory, nor the server from stopping.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Connection;
use super::drain::{Phase, PhaseWatch};
use super::incoming::Incoming;
use super::limits::Places;

/// How long a client may take for the head of a request, from the end of the one before or from when it came.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The most bytes of the head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// The most connections.
const MAX_CONNECTIONS: usize = 256;
/// How long requests are answered once the server closes.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Serves until the server closes.
pub(super) async fn serve(incoming: Incoming, routes: Router, phase: PhaseWatch) -> io::Result<()> {
    let mut incoming = incoming.at_most(Places::of(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut closes = pin!(phase.reaches(Phase::Closing));
    loop {
        tokio::select! {
            () = &mut closes => break,
            arrival = incoming.next() => {
                let (routes, closes) = (routes.clone(), phase.reaches(Phase::Closing));
                arrival.serve(&mut connections, move |connection, _seat| serve_one(connection, routes, closes));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
    drop(incoming);
    let all = async { while connections.join_next().await.is_some() {} };
    let _cut_short = timeout(CLOSE_TIME, all).await;
    Ok(())
}

async fn serve_one(connection: Connection, routes: Router, closes: impl Future<Output = ()>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD_BYTES);
    let served = server.serve_connection(TokioIo::new(connection), TowerToHyperService::new(routes));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = closes => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of HTTP could not be served");
    }
}
