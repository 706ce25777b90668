//! The services of a gRPC listener. A call goes to the one that its path names.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use crate::grpc::in_place::Answering;

/// Services, each with its name. Clones share them. The body of a call is a `B`.
pub(super) struct Services<B>(Arc<[Named<B>]>);

/// Services that are not served yet.
pub(super) struct ServicesBuilder<B>(Vec<Named<B>>);

/// A service and its name, such as `grpc.health.v1.Health`.
type Named<B> = (&'static str, Box<dyn Serve<B>>);

/// A service that is shared.
trait Serve<B>: Send + Sync {
    fn answer(&self, call: Request<B>) -> Answering;
}

impl<S, B> Serve<B> for S
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future = Answering>,
    S: Clone + Send + Sync,
{
    fn answer(&self, call: Request<B>) -> Answering {
        // Services of gRPC are always ready.
        self.clone().call(call)
    }
}

impl<B> ServicesBuilder<B> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// One more. Those that are called most come first.
    pub(super) fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible, Future = Answering>,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        self.0.push((S::NAME, Box::new(service)));
        self
    }

    pub(super) fn build(self) -> Services<B> {
        Services(self.0.into())
    }
}

impl<B> Clone for Services<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Service<Request<B>> for Services<B> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Request<B>) -> Answering {
        let name = service_name(call.uri().path());
        match self.0.iter().find(|(other, _)| Some(*other) == name) {
            Some((_, service)) => service.answer(call),
            None => Box::pin(ready(Ok(Status::unimplemented("").into_http()))),
        }
    }
}

/// The service in a path, `/SERVICE/METHOD` (gRPC over HTTP/2, Requests).
fn service_name(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(service, _)| service)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells its name.
    #[derive(Clone)]
    struct Known;

    impl NamedService for Known {
        const NAME: &'static str = "acme.v1.Known";
    }

    impl Service<Request<()>> for Known {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Answering;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            Box::pin(ready(Ok(Status::ok("known").into_http())))
        }
    }

    #[tokio::test]
    async fn a_call_goes_to_the_service_that_its_path_names() {
        let services = ServicesBuilder::new().with(Known).build();
        let status_of = async |path: &str| {
            let call = Request::builder().uri(path).body(()).unwrap();
            let answer = services.clone().call(call).await.unwrap();
            assert_eq!(answer.status(), http::StatusCode::OK, "{path}");
            answer.headers()["grpc-status"].to_str().unwrap().to_owned()
        };
        assert_eq!(status_of("/acme.v1.Known/Method").await, "0");
        for unknown in [
            "/",
            "/acme.v1.Known",
            "/acme.v1.Know/Method",
            "/acme.v1.Known2/Method",
            "//acme.v1.Known/Method",
            "/ACME.v1.Known/Method",
        ] {
            assert_eq!(status_of(unknown).await, "12", "{unknown}");
        }
    }
}
