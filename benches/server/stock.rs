//! Null servers: gRPC as tonic serves it, and nothing decided. What they cost is what any service written with these
//! libraries costs at least.
//!
//! - `stock` is what tonic's own examples are: `#[tokio::main]`, every message decoded by prost, an answer encoded by it.
//! - `same-build` is the same service on the runtime that `serve` decides on, so that a comparison with it shows what deciding
//!   costs, not what runtimes do.
//!
//! The service does what tonic's generator makes of a proto, by hand: ours may be generated otherwise. The two boxes of each call
//! that a generated service has are left out, in favour of the null server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ecs_authz::grpc::pb;
use ecs_authz::grpc::wire::envoy::service::auth::v3::check_response::HttpResponse;
use ecs_authz::grpc::wire::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use ecs_authz::grpc::wire::google::rpc;
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::Outcome;
use super::plan::Method;

/// With it, an answer has 411 bytes, as those of `serve` to the mix have on average. One text costs less than the many that they
/// are of.
const TEXT_BYTES: usize = 406;

/// `#[tokio::main]`
#[tokio::main]
pub(super) async fn stock() -> Outcome<()> {
    serve().await
}

/// One thread does everything.
#[tokio::main(flavor = "current_thread")]
pub(super) async fn same_build() -> Outcome<()> {
    serve().await
}

async fn serve() -> Outcome<()> {
    // As `Server::serve` binds it, which does not tell the port.
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let addr = incoming.local_addr()?;
    writeln!(io::stdout(), "ready on {addr}, and decides nothing")?;
    let authorize = Constant::<pb::AuthorizeRequest>::new();
    let router = Server::builder().add_service(authorize).add_service(Constant::<CheckRequest>::new());
    Ok(router.serve_with_incoming(incoming).await?)
}

/// A message that a method is called with.
trait Question: Message + Default + 'static {
    const SERVICE: &'static str;
    const METHOD: Method;
    type Answer: Message + Clone + 'static;

    fn answer() -> Self::Answer;
}

impl Question for pb::AuthorizeRequest {
    const SERVICE: &'static str = "ecs.authz.v1.AuthorizationService";
    const METHOD: Method = Method::Authorize;
    type Answer = pb::AuthorizeResponse;

    fn answer() -> Self::Answer {
        pb::AuthorizeResponse {
            decision: pb::Decision::Allow.into(),
            message: "x".repeat(TEXT_BYTES),
            ..Default::default()
        }
    }
}

impl Question for CheckRequest {
    const SERVICE: &'static str = "envoy.service.auth.v3.Authorization";
    const METHOD: Method = Method::Check;
    type Answer = CheckResponse;

    fn answer() -> Self::Answer {
        CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..Default::default()
        }
    }
}

/// Answers every question of a kind alike.
struct Constant<Q: Question>(Arc<Q::Answer>);

impl<Q: Question> Constant<Q> {
    fn new() -> Self {
        Self(Arc::new(Q::answer()))
    }
}

impl<Q: Question> Clone for Constant<Q> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q: Question> NamedService for Constant<Q> {
    const NAME: &'static str = Q::SERVICE;
}

impl<Q: Question> UnaryService<Q> for Constant<Q> {
    type Response = Q::Answer;
    type Future = Ready<Result<Response<Q::Answer>, Status>>;

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(Q::Answer::clone(&self.0))))
    }
}

impl<Q: Question> Service<http::Request<Body>> for Constant<Q> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != Q::METHOD.path() {
            return Box::pin(ready(Ok(Status::unimplemented("decisions alone").into_http())));
        }
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Q::Answer, Q>::default());
            Ok(grpc.unary(service, request).await)
        })
    }
}
