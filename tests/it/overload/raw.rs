//! A client of gRPC that has no deadlines, patience or limits of its own: what it is told to send is sent.

use std::net::SocketAddr;

use ecs_authz::grpc::pb;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, Response};
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::Code;

pub(super) const AUTHORIZE: &str = "/ecs.authz.v1.AuthorizationService/Authorize";

/// A connection.
pub(super) struct Raw {
    requests: SendRequest<Bytes>,
}

impl Raw {
    pub(super) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &Builder::new()).await
    }

    pub(super) async fn connect_with(addr: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { requests }
    }

    /// Begins a call, and answers what its message is to be sent on, and what its answer will be.
    pub(super) async fn begin(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), h2::Error> {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.requests.clone().ready().await?.send_request(request.body(()).unwrap(), false)
    }

    /// The code of a call's answer.
    pub(super) async fn call(
        &mut self,
        path: &str,
        message: &impl Message,
        headers: &[(&str, &str)],
    ) -> Code {
        let (answer, mut stream) = self.begin(path, headers).await.expect("a stream");
        stream.send_data(framed(message), true).expect("a message");
        code(answer.await.expect("an answer")).await
    }

    pub(super) async fn authorize(
        &mut self,
        request: &pb::AuthorizeRequest,
        headers: &[(&str, &str)],
    ) -> Code {
        self.call(AUTHORIZE, request, headers).await
    }
}

/// A message as gRPC frames it.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &body].concat().into()
}

/// The code of an answer, which is in its headers or its trailers.
pub(super) async fn code(answer: Response<RecvStream>) -> Code {
    let of = |headers: &HeaderMap| headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    if let Some(code) = of(answer.headers()) {
        return code;
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data.expect("data").len();
        body.flow_control().release_capacity(length).expect("capacity");
    }
    let trailers = body.trailers().await.expect("trailers").expect("trailers");
    of(&trailers).expect("a code")
}
