//! The service on the wire. The calls that decide are read and answered in place; tonic serves the others.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body as HttpBody;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use super::{Authorize, Patience, Terms};
use crate::decision_log::Rpc;
use crate::grpc::in_place::{Answering, BytesCodec, Unary, unary};
use crate::grpc::protobuf::Encoded;
use crate::grpc::servers::authorization_service_server::{AuthorizationServiceServer, SERVICE_NAME};
use crate::grpc::{peer, stream};

/// The paths of the calls that decide.
const AUTHORIZE: &str = "/ecs.authz.v1.AuthorizationService/Authorize";
const BATCH_AUTHORIZE: &str = "/ecs.authz.v1.AuthorizationService/BatchAuthorize";
const STREAM_AUTHORIZE: &str = "/ecs.authz.v1.AuthorizationService/StreamAuthorize";

/// Serves `AuthorizationService`.
#[derive(Debug, Clone)]
pub struct AuthorizeServer {
    authorize: Arc<Authorize>,
    others: AuthorizationServiceServer<Authorize>,
}

impl AuthorizeServer {
    pub(super) fn new(authorize: Authorize) -> Self {
        let (max_message_bytes, authorize) = (authorize.limits.max_message_bytes, Arc::new(authorize));
        let others = AuthorizationServiceServer::from_arc(authorize.clone());
        Self { authorize, others: others.max_decoding_message_size(max_message_bytes) }
    }
}

impl NamedService for AuthorizeServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for AuthorizeServer
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let authorize = self.authorize.clone();
        let most = authorize.limits.max_message_bytes;
        match request.uri().path() {
            AUTHORIZE => Box::pin(async move { Ok(unary(request, most, One(authorize)).await) }),
            BATCH_AUTHORIZE => Box::pin(async move { Ok(unary(request, most, Batch(authorize)).await) }),
            STREAM_AUTHORIZE => Box::pin(async move {
                let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(most);
                Ok(grpc.streaming(Stream(authorize), request).await)
            }),
            _ => self.others.call(request),
        }
    }
}

/// `Authorize`.
#[derive(Clone)]
struct One(Arc<Authorize>);

impl Unary for One {
    async fn answer(self, request: Request<Bytes>) -> Result<Encoded, Status> {
        self.0.authorize(request).await
    }
}

/// `BatchAuthorize`.
#[derive(Clone)]
struct Batch(Arc<Authorize>);

impl Unary for Batch {
    async fn answer(self, request: Request<Bytes>) -> Result<Encoded, Status> {
        self.0.batch_authorize(request).await
    }
}

/// `StreamAuthorize`.
struct Stream(Arc<Authorize>);

impl Service<Request<Streaming<Bytes>>> for Stream {
    type Response = Response<stream::Answers>;
    type Error = Status;
    type Future = Ready<Result<Response<stream::Answers>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let authorize = self.0.clone();
        let terms = Terms::of(&request, Rpc::StreamAuthorize, Patience::UntilDeadline, &authorize.limits);
        let departure = peer::departure(&request);
        let answers = stream::answers(authorize, request.into_inner(), terms, departure);
        ready(Ok(Response::new(answers)))
    }
}
