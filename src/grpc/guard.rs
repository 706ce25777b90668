//! What surrounds every call of a listener: when it came, how long it may take in all, and that a fault in it harms no other.
//!
//! What an answer consists of is followed until it is written: see [`untaken`](super::untaken).
//!
//! A panic unwinds to here and no further: the call is `INTERNAL`, which is no decision, and the connection goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::intake::{Intake, IntakeBody};
use super::status::CallError;
use super::untaken::Untaken;
use super::{deadline, peer};
use crate::metrics::Calls;

/// When a call came: its time runs from then, however long it waited for its turn. Each request carries it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) at: Instant,
    /// How long its caller waits, if that is told.
    pub(super) asked: Option<Duration>,
}

/// Guards the calls of a service.
#[derive(Debug, Clone)]
pub struct GuardCalls {
    calls: Arc<Calls>,
    limit: Duration,
    intake: Arc<Intake>,
}

/// A service whose calls are guarded.
#[derive(Debug, Clone)]
pub struct GuardedService<S> {
    guard: GuardCalls,
    inner: S,
}

impl GuardCalls {
    /// A call may take so long from its headers to its answer's, its message included, which has to find a place, and no longer than
    /// its caller waits. Panics are counted.
    #[must_use]
    pub fn new(calls: Arc<Calls>, limit: Duration, intake: Arc<Intake>) -> Self {
        Self { calls, limit, intake }
    }
}

impl<S> Layer<S> for GuardCalls {
    type Service = GuardedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GuardedService { guard: self.clone(), inner }
    }
}

impl<S, B> Service<Request<B>> for GuardedService<S>
where
    S: Service<Request<IntakeBody<B>>, Response = Response<Body>>,
{
    type Response = Response<GuardedBody>;
    type Error = S::Error;
    type Future = GuardedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (at, asked) = (Instant::now(), deadline::asked(request.headers()));
        request.extensions_mut().insert(Arrived { at, asked });
        let path = request.uri().path_and_query().cloned();
        let untaken = peer::link(request.extensions()).map(|link| link.untaken.clone());
        let GuardCalls { calls, limit, intake } = self.guard.clone();
        let request = request.map(|body| IntakeBody::new(body, intake));
        let future = catch_unwind(AssertUnwindSafe(|| self.inner.call(request))).ok();
        GuardedFuture {
            future,
            deadline: at + asked.map_or(limit, |asked| asked.min(limit)),
            overdue: None,
            calls,
            path,
            untaken,
        }
    }
}

pin_project! {
    /// The way to an answer.
    #[derive(Debug)]
    pub struct GuardedFuture<F> {
        // None if there was a panic before there was a future.
        #[pin]
        future: Option<F>,
        deadline: Instant,
        // None before it has waited: most calls never do.
        #[pin]
        overdue: Option<Sleep>,
        calls: Arc<Calls>,
        path: Option<PathAndQuery>,
        // None on a connection that nobody watches.
        untaken: Option<Untaken>,
    }
}

impl<F, E> Future for GuardedFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<GuardedBody>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut guarded = |answer: Response<Body>, calls: &Arc<Calls>, path: &mut Option<PathAndQuery>| {
            let (path, untaken) = (path.take(), this.untaken.take());
            answer.map(|body| GuardedBody { body: Some(body), calls: calls.clone(), path, untaken })
        };
        // What a call shares with others is made for it: locks are used after a panic, places are left, counts are whole.
        let polled =
            this.future.as_pin_mut().map(|future| catch_unwind(AssertUnwindSafe(|| future.poll(context))));
        match polled {
            Some(Ok(Poll::Ready(answer))) => {
                Poll::Ready(answer.map(|answer| guarded(answer, this.calls, this.path)))
            }
            Some(Ok(Poll::Pending)) => {
                ready!(deadline::poll_overdue(this.overdue, *this.deadline, context));
                Poll::Ready(Ok(guarded(answer(CallError::DeadlineExceeded), this.calls, this.path)))
            }
            None | Some(Err(_)) => {
                tell(this.calls, this.path.as_ref());
                Poll::Ready(Ok(guarded(answer(CallError::Panicked), this.calls, this.path)))
            }
        }
    }
}

pin_project! {
    /// The rest of an answer, which for a stream is made while it is sent.
    #[derive(Debug)]
    pub struct GuardedBody {
        // None after a panic.
        #[pin]
        body: Option<Body>,
        calls: Arc<Calls>,
        path: Option<PathAndQuery>,
        untaken: Option<Untaken>,
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(context))) {
            Ok(polled) => polled.map_ok(|frame| follow(frame, this.untaken.as_ref())),
            Err(_) => {
                tell(this.calls, this.path.as_ref());
                this.body.set(None);
                let mut trailers = HeaderMap::new();
                let written = Status::from(CallError::Panicked).add_header(&mut trailers);
                Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// What is ready, until it is written.
fn follow(frame: Frame<Bytes>, untaken: Option<&Untaken>) -> Frame<Bytes> {
    match untaken {
        Some(untaken) => frame.map_data(|bytes| untaken.follow(bytes)),
        None => frame,
    }
}

/// The hook of panics has told what and where.
fn tell(calls: &Calls, path: Option<&PathAndQuery>) {
    calls.panicked();
    let method = path.map_or("", PathAndQuery::path);
    tracing::error!(method, "a call panicked: it ends with INTERNAL, others go on");
}

fn answer(error: CallError) -> Response<Body> {
    Status::from(error).into_http()
}
