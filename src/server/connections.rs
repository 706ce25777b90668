//! The connections of a gRPC listener: each is served by itself, with an age of its own, and all end with the server.
//!
//! A connection that has its age, or whose server stops, is told to go (GOAWAY): its calls are answered, new ones come on
//! another connection. One that is still there after its grace, such as for a watch of health that never ends, is cut. The
//! age has a part of chance, so that connections that came together, as after a restart, do not all come again together.
//!
//! So is one whose client does not take what is ready for it: it has as much time again for its calls.
//!
//! hyper serves them, without tonic's server around it. That one knows an age too, but one for all connections, and with a
//! grace it cuts them without telling before; and what it does for each call costs more than our decision.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming as IncomingBody;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_layer::Layer as _;
use tower_service::Service;

use super::connection::Connection;
use super::drain::{Phase, PhaseWatch};
use super::incoming::{Arrival, Incoming};
use super::limits::{CallBounds, Http2, Surrounded, http2, layers};
use super::services::{Services, ServicesBuilder};
use super::workers::Seat;
use crate::config::{ConnectionsConfig, LimitsConfig};
use crate::grpc::intake::IntakeBody;
use crate::grpc::observe::ObserveCalls;
use crate::grpc::peer::Link;

/// How much of the age is left to chance, to either side.
const JITTER: f64 = 0.1;
/// How long connections are taken while others are told to go, before the listener closes: who has just come, or shakes
/// hands, is told to go as well, and not reset.
const ACCEPT_GRACE: Duration = Duration::from_millis(100);

/// What a listener serves: its services, and what connections and calls are bound to before they get there.
#[derive(Clone)]
pub(super) struct GrpcServer {
    http2: Http2,
    calls: Calls,
}

/// What answers calls.
type Calls = Surrounded<Services<Received>>;
/// The body of a call.
type Received = IntakeBody<IncomingBody>;

impl GrpcServer {
    /// Services within these limits. Their calls are counted and traced.
    pub(super) fn new(
        limits: &LimitsConfig,
        calls: CallBounds,
        observe: ObserveCalls,
        services: ServicesBuilder<Received>,
    ) -> Self {
        let layers = layers(limits, calls, observe);
        Self { http2: http2(limits, calls), calls: layers.layer(services.build()) }
    }

    /// Serves a connection until its client has gone, or it has gone because it was told to.
    async fn serve(self, connection: Connection, link: Link, told: impl Future<Output = ()>) {
        let linked = Linked { calls: self.calls, link: Arc::new(link) };
        let mut served = pin!(self.http2.serve_connection(TokioIo::new(connection), linked));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = told => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection could not be served");
        }
    }
}

/// The calls of one connection. Each learns what is known of it.
struct Linked {
    calls: Calls,
    link: Arc<Link>,
}

impl hyper::service::Service<Request<IncomingBody>> for Linked {
    type Response = <Calls as Service<Request<IncomingBody>>>::Response;
    type Error = Infallible;
    type Future = <Calls as Service<Request<IncomingBody>>>::Future;

    fn call(&self, mut call: Request<IncomingBody>) -> Self::Future {
        call.extensions_mut().insert(self.link.clone());
        self.calls.clone().call(call)
    }
}

/// How long a connection lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum MaxAge {
    /// As long as the client likes.
    Unlimited,
    /// Until it has this age. Then its calls have a time to end.
    Limited { age: Duration, grace: Duration },
}

impl MaxAge {
    pub(super) fn new(config: &ConnectionsConfig) -> Self {
        let limited = |age| Self::Limited { age, grace: config.max_age_grace() };
        config.max_age().map_or(Self::Unlimited, limited)
    }

    /// The age of one connection, by a number of chance from zero to one.
    fn of_one(self, chance: f64) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::Limited { age, grace } => {
                Self::Limited { age: age.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0)), grace }
            }
        }
    }

    /// Completes when the connection is to go.
    async fn is_reached(self) {
        match self {
            Self::Unlimited => pending().await,
            Self::Limited { age, grace: _ } => sleep(age).await,
        }
    }

    /// Completes when it is to be cut.
    async fn is_over(self) {
        match self {
            Self::Unlimited => pending().await,
            Self::Limited { age, grace } => sleep(age + grace).await,
        }
    }
}

/// Serves until the server drains, and then until all connections have ended. Dropped, it cuts them.
pub(super) async fn serve(
    mut incoming: Incoming,
    server: GrpcServer,
    max_age: MaxAge,
    phase: PhaseWatch,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let serve = |connections: &mut JoinSet<()>, arrival: Arrival| {
        let (server, max_age) = (server.clone(), max_age.of_one(fastrand::f64()));
        let drains = phase.reaches(Phase::Draining);
        arrival
            .serve(connections, move |connection, seat| serve_one(connection, seat, server, max_age, drains));
    };
    let mut drains = pin!(phase.reaches(Phase::Draining));
    loop {
        tokio::select! {
            () = &mut drains => break,
            arrival = incoming.next() => serve(&mut connections, arrival),
            Some(_ended) = connections.join_next() => {}
        }
    }
    let mut closes = pin!(sleep(ACCEPT_GRACE));
    loop {
        tokio::select! {
            () = &mut closes => break,
            arrival = incoming.next() => serve(&mut connections, arrival),
        }
    }
    drop(incoming);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Serves one connection to its end.
async fn serve_one(
    connection: Connection,
    seat: Seat,
    server: GrpcServer,
    max_age: MaxAge,
    drains: impl Future<Output = ()>,
) {
    let (link, notice) = connection.link();
    let leaves_a_message = connection.leaves_a_message();
    let (goes, is_to_go) = oneshot::channel::<Infallible>();
    let told = async {
        tokio::select! {
            () = drains => {}
            () = max_age.is_reached() => {}
            _dropped = is_to_go => {}
        }
        notice.give();
        drop(seat);
    };
    let left_for_long = async move {
        let grace = leaves_a_message.await;
        tracing::debug!("a connection whose client does not take what is ready is told to go");
        drop(goes);
        sleep(grace).await;
    };
    // Dropped, however this ends, it cuts what is left.
    tokio::select! {
        () = server.serve(connection, link, told) => {}
        () = max_age.is_over() => tracing::debug!("a connection that did not end in time is cut"),
        () = left_for_long => tracing::debug!("a connection whose client does not take what is ready is cut"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let age = |age| MaxAge::Limited { age: Duration::from_secs(age), grace: Duration::from_secs(7) };
        assert_eq!(age(100).of_one(0.0), age(90));
        assert_eq!(age(100).of_one(0.5), age(100));
        assert_eq!(age(100).of_one(1.0), age(110));
        assert_eq!(MaxAge::Unlimited.of_one(1.0), MaxAge::Unlimited);
    }
}
