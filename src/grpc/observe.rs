//! Counts the calls of a listener, and traces those that ask for more than health or reflection. The code of an answer is
//! in its headers, or in the trailers that end it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use crate::metrics::{Call, Calls};
use crate::traces::{self, Scoped, TracedCall, Tracer};

/// The services of gRPC itself: `grpc.health.v1` and `grpc.reflection`. Probes and tools call them, and nobody looks for those
/// calls.
const UNSEEN: &str = "grpc.";

/// Counts and traces the calls of a service.
#[derive(Debug, Clone)]
pub struct ObserveCalls {
    /// Where they are counted.
    pub calls: Arc<Calls>,
    /// What records them.
    pub tracer: Tracer,
}

/// A service whose calls are counted and traced.
#[derive(Debug, Clone)]
pub struct ObservedService<S> {
    observe: ObserveCalls,
    inner: S,
}

impl<S> Layer<S> for ObserveCalls {
    type Service = ObservedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObservedService { observe: self.clone(), inner }
    }
}

impl ObserveCalls {
    fn trace(&self, call: &Call, headers: &HeaderMap) -> TracedCall {
        match call.method().filter(|method| !method.starts_with(UNSEEN)) {
            Some(method) => self.tracer.begin(method, headers),
            None => TracedCall::unseen(),
        }
    }
}

impl<S, B, A> Service<Request<B>> for ObservedService<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Body,
{
    type Response = Response<ObservedBody<A>>;
    type Error = S::Error;
    type Future = ObservedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.observe.calls.begin(request.uri().path());
        let traced = self.observe.trace(&call, request.headers());
        ObservedFuture { future: traced.scope(self.inner.call(request)), call: Some(call) }
    }
}

pin_project! {
    /// The way to the headers of an answer.
    #[derive(Debug)]
    pub struct ObservedFuture<F: Future> {
        #[pin]
        future: Scoped<F>,
        call: Option<Call>,
    }
}

impl<F, A, E> Future for ObservedFuture<F>
where
    F: Future<Output = Result<Response<A>, E>>,
    A: Body,
{
    type Output = Result<Response<ObservedBody<A>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (head, body) = match ready!(this.future.as_mut().poll(context)) {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let mut call = this.call.take().zip(traces::take_call(this.future));
        if body.is_end_stream()
            && let Some(call) = call.take()
        {
            end(call, &head.headers);
        }
        Poll::Ready(Ok(Response::from_parts(head, ObservedBody { body, call })))
    }
}

pin_project! {
    /// The rest of an answer.
    #[derive(Debug)]
    pub struct ObservedBody<A> {
        #[pin]
        body: A,
        call: Option<(Call, TracedCall)>,
    }
}

impl<A: Body> Body for ObservedBody<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        let last = match &frame {
            Some(Ok(frame)) => frame.trailers_ref(),
            Some(Err(_)) => None,
            None => Some(&HeaderMap::new()),
        };
        if let Some(trailers) = last
            && let Some(call) = this.call.take()
        {
            end(call, trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends with the code in the last headers of an answer.
fn end((call, traced): (Call, TracedCall), headers: &HeaderMap) {
    let code =
        headers.get(Status::GRPC_STATUS).map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()));
    call.end(code);
    traced.end(code);
}
