//! Counts the calls of a listener. The code of an answer is in its headers, or in the trailers that end it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Code;
use tower_layer::Layer;
use tower_service::Service;

use super::{Call, Calls};

/// Counts the calls of a service.
#[derive(Debug, Clone)]
pub struct CountCalls(pub Arc<Calls>);

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub struct CountedService<S> {
    calls: Arc<Calls>,
    inner: S,
}

impl<S> Layer<S> for CountCalls {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountedService { calls: self.0.clone(), inner }
    }
}

impl<S, B, A> Service<Request<B>> for CountedService<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Body,
{
    type Response = Response<CountedBody<A>>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = Some(self.calls.begin(request.uri().path()));
        CountedFuture { future: self.inner.call(request), call }
    }
}

pin_project! {
    /// The way to the headers of an answer.
    #[derive(Debug)]
    pub struct CountedFuture<F> {
        #[pin]
        future: F,
        call: Option<Call>,
    }
}

impl<F, A, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<A>, E>>,
    A: Body,
{
    type Output = Result<Response<CountedBody<A>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (head, body) = match ready!(this.future.poll(context)) {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let mut call = this.call.take();
        if body.is_end_stream()
            && let Some(call) = call.take()
        {
            call.end(&head.headers);
        }
        Poll::Ready(Ok(Response::from_parts(head, CountedBody { body, call })))
    }
}

pin_project! {
    /// The rest of an answer.
    #[derive(Debug)]
    pub struct CountedBody<A> {
        #[pin]
        body: A,
        call: Option<Call>,
    }
}

impl<A: Body> Body for CountedBody<A> {
    type Data = A::Data;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        let end = match &frame {
            Some(Ok(frame)) => frame.trailers_ref(),
            Some(Err(_)) => None,
            None => Some(&HeaderMap::new()),
        };
        if let Some(trailers) = end
            && let Some(call) = this.call.take()
        {
            call.end(trailers);
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

impl Call {
    /// Ends with the code in the last headers of an answer.
    fn end(mut self, headers: &HeaderMap) {
        self.code =
            headers.get("grpc-status").map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()));
    }
}
