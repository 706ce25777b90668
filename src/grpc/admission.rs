//! Who may call a service: calls of others are refused before anything of them is read.

use std::convert::Infallible;
use std::future::ready;
use std::task::{Context, Poll};

use http::{Extensions, HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::in_place::Answering;
use super::status::CallError;

/// Who knows whom to let in.
pub trait Admission {
    /// Lets a call in, and may leave with it who calls.
    ///
    /// # Errors
    ///
    /// If the call is refused.
    fn admit(&self, headers: &HeaderMap, known: &mut Extensions) -> Result<(), CallError>;
}

/// A service for those who are let in.
#[derive(Debug, Clone)]
pub struct Admitted<S, A> {
    service: S,
    admission: A,
}

impl<S, A> Admitted<S, A> {
    /// This service, for those whom `admission` lets in.
    #[must_use]
    pub fn new(service: S, admission: A) -> Self {
        Self { service, admission }
    }
}

impl<S: NamedService, A> NamedService for Admitted<S, A> {
    const NAME: &'static str = S::NAME;
}

impl<S, A, B> Service<Request<B>> for Admitted<S, A>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future = Answering>,
    A: Admission,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, call: Request<B>) -> Answering {
        let (mut head, body) = call.into_parts();
        match self.admission.admit(&head.headers, &mut head.extensions) {
            Ok(()) => self.service.call(Request::from_parts(head, body)),
            Err(refusal) => Box::pin(ready(Ok(Status::from(refusal).into_http()))),
        }
    }
}
