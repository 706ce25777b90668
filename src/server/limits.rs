//! What bounds the clients of the gRPC listeners: what is configured, and what is fixed on purpose.
//!
//! HTTP/2 is bounded by h2, which hyper leads to:
//!
//! | attack | what ends it |
//! |---|---|
//! | streams that are reset at once (CVE-2023-44487) | `max_pending_resets` |
//! | streams that the server must reset (CVE-2025-8671) | `max_error_resets` |
//! | headers without end (RUSTSEC-2024-0332) | `max_header_list_bytes`; h2 counts the CONTINUATION frames by it |
//! | PINGs and SETTINGS without end | h2 reads no more before its answer to the last one is written |
//! | DATA frames with next to nothing in them | h2's budget of them |
//! | a message that does not come | the time of a call |
//! | messages on all streams that are nearly whole | `max_received_bytes`, of all connections |
//! | silence | keepalive |
//! | answers that are not read | [`Places`], for as long as keepalive |
//! | answers for which there is no room | `answer_timeout_seconds`, see [`untaken`](crate::grpc::untaken) |
//! | a connection on which no HTTP/2 begins | [`PREFACE_TIMEOUT`](super::connection::PREFACE_TIMEOUT) |
//!
//! The oldest versions with all of that are in `deny.toml`.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_layer::Stack;

use crate::config::LimitsConfig;
use crate::grpc::guard::{GuardCalls, GuardedService};
use crate::grpc::intake::Intake;
use crate::grpc::limits::CallLimits;
use crate::grpc::observe::{ObserveCalls, ObservedService};
use crate::slots::{Slot, Slots};

/// How much longer than a decision a call may take: for a message that comes slowly. It ends those that never come.
const MESSAGE_TIME: Duration = Duration::from_secs(3);
/// How much a client may send of one message, and of all of a connection, before it is read: what HTTP/2 libraries grant.
/// Windows that were smaller than a message would cost a round trip for each window.
const STREAM_WINDOW_BYTES: u32 = 1_024 * 1_024;
const CONNECTION_WINDOW_BYTES: u32 = 1_024 * 1_024;
/// The largest frame of HTTP/2: the least that the protocol allows, for larger ones let one stream keep the others waiting.
const MAX_FRAME_BYTES: u32 = 16 * 1_024;

/// The places for connections, and how long a client may take nothing of what is written to it, or leave what is ready.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) slots: Arc<Slots>,
    most_stall: Duration,
    most_untaken: Duration,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) most_stall: Duration,
    pub(super) most_untaken: Duration,
    _slot: Slot<Arc<Slots>>,
}

impl Default for Places {
    /// For listeners that are not for everybody: those of metrics and of administrators.
    fn default() -> Self {
        Self::new(&LimitsConfig::default())
    }
}

impl Places {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let most_stall =
            Duration::from_secs(limits.keepalive_interval_seconds + limits.keepalive_timeout_seconds);
        let most_untaken = Duration::from_secs(limits.answer_timeout_seconds);
        Self { slots: Arc::new(Slots::new(limits.max_connections)), most_stall, most_untaken }
    }

    /// So many, for a listener that is not for everybody.
    pub(super) fn of(max_connections: usize) -> Self {
        Self::new(&LimitsConfig { max_connections, ..LimitsConfig::default() })
    }

    /// One, if it is free.
    pub(super) fn take(&self) -> Option<Place> {
        let Self { slots, most_stall, most_untaken } = self;
        Some(Place {
            most_stall: *most_stall,
            most_untaken: *most_untaken,
            _slot: Slots::take(slots.clone())?,
        })
    }
}

/// What surrounds the services of a listener: all that happens in a call is observed.
pub(super) type Layers = Stack<GuardCalls, ObserveCalls>;
/// Services with that around them.
pub(super) type Surrounded<S> = ObservedService<GuardedService<S>>;

/// What one call may be, and how many at once on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallBounds {
    pub(super) max_streams: u32,
    /// The most time from a call's headers to its answer's.
    pub(super) time: Duration,
}

impl CallBounds {
    /// Of the services that decide.
    pub(super) fn of_decisions(limits: &LimitsConfig) -> Self {
        Self { max_streams: limits.max_streams_per_connection, time: limits.decision_budget() + MESSAGE_TIME }
    }
}

/// The limits of calls that ask for a decision. All listeners must share them.
pub(super) fn of_decisions(limits: &LimitsConfig) -> CallLimits {
    CallLimits {
        max_message_bytes: limits.max_message_bytes,
        budget: limits.decision_budget(),
        decisions: Arc::new(Slots::new(limits.max_concurrent_decisions)),
    }
}

/// The limits of connections.
pub(super) type Http2 = http2::Builder<TokioExecutor>;

/// HTTP/2 within these limits. Of what it writes of itself, clients of gRPC do not need the date.
pub(super) fn http2(limits: &LimitsConfig, calls: CallBounds) -> Http2 {
    let mut http2 = Http2::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(calls.max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(limits.max_header_list_bytes)
        .keep_alive_interval(Duration::from_secs(limits.keepalive_interval_seconds))
        .keep_alive_timeout(Duration::from_secs(limits.keepalive_timeout_seconds))
        .max_pending_accept_reset_streams(limits.max_pending_resets)
        .max_local_error_reset_streams(limits.max_error_resets);
    http2
}

/// What all calls pass through: they are counted and traced, and bound to these limits.
pub(super) fn layers(limits: &LimitsConfig, calls: CallBounds, observe: ObserveCalls) -> Layers {
    let intake = Intake::new(limits.max_received_bytes, limits.max_message_bytes);
    Stack::new(GuardCalls::new(observe.calls.clone(), calls.time, Arc::new(intake)), observe)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::panic::resume_unwind;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::{Request, Response};
    use tokio::sync::watch;
    use tonic::body::Body;
    use tonic::server::NamedService;
    use tonic::transport::Endpoint;
    use tonic::{Code, Status};
    use tonic_health::pb::health_client::HealthClient;
    use tower_service::Service;

    use super::super::connections::{self, GrpcServer, MaxAge};
    use super::super::drain::{Phase, PhaseWatch};
    use super::super::incoming::Incoming;
    use super::super::services::ServicesBuilder;
    use super::*;
    use crate::catalog::Catalog;
    use crate::metrics::Metrics;
    use crate::traces::Tracer;

    /// A service that fails as the service that it is asked for says.
    #[derive(Debug, Clone)]
    struct Faulty;

    impl NamedService for Faulty {
        const NAME: &'static str = "grpc.health.v1.Health";
    }

    impl<B> Service<Request<B>> for Faulty {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<B>) -> Self::Future {
            match request.headers().get("fault").map(http::HeaderValue::as_bytes) {
                Some(b"at once") => resume_unwind(Box::new("planted")),
                Some(b"later") => Box::pin(async { resume_unwind(Box::new("planted")) }),
                Some(b"never ends") => Box::pin(std::future::pending()),
                _ => Box::pin(async { Ok(Status::not_found("sound").into_http()) }),
            }
        }
    }

    #[tokio::test]
    async fn a_fault_ends_one_call_and_no_connection() {
        let metrics = Metrics::new(Arc::new(Catalog::published().unwrap()), []);
        let bounds = CallBounds { max_streams: 8, time: Duration::from_millis(50) };
        let observe = ObserveCalls { calls: metrics.calls.clone(), tracer: Tracer::off() };
        let limits = LimitsConfig::default();
        let server = GrpcServer::new(&limits, bounds, observe, ServicesBuilder::new().with(Faulty));
        let (incoming, addr) = Incoming::on_port(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let (phase, _) = watch::channel(Phase::Serving);
        let phase = PhaseWatch::of(&phase);
        tokio::spawn(async { connections::serve(incoming, server, MaxAge::Unlimited, phase).await });
        let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let cases = [
            ("at once", Code::Internal),
            ("later", Code::Internal),
            ("never ends", Code::DeadlineExceeded),
            ("none", Code::NotFound),
        ];
        for (fault, expected) in cases.into_iter().chain(cases) {
            let mut request = tonic::Request::new(tonic_health::pb::HealthCheckRequest::default());
            request.metadata_mut().insert("fault", fault.parse().unwrap());
            let status = client.check(request).await.unwrap_err();
            assert_eq!(status.code(), expected, "{fault}: {status:?}");
        }
    }
}
