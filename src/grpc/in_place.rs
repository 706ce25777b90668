//! Calls that are read and answered in place: their handlers get the bytes of a message, and give those of an answer.
//!
//! A call of one message mostly comes with all of it in one frame: then it is taken from there, and its answer goes out as it
//! was written. tonic answers every other call, by the same handler: what comes in many frames, is compressed, malformed or
//! too long, and streams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Response as HttpResponse, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{GRPC_CONTENT_TYPE, MetadataMap};
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tower_service::Service;

use super::protobuf::Encoded;

/// What is in front of a message: whether it is compressed, and its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX_BYTES: usize = Encoded::PREFIX_BYTES;

/// How messages are compressed, if they are.
static ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The way to the answer of a call, whichever method it is of.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

/// A method of one message each way.
pub(super) trait Unary: Clone + Send + 'static {
    /// Answers a call of it.
    fn answer(self, request: Request<Bytes>) -> impl Future<Output = Result<Encoded, Status>> + Send;
}

/// Reads and answers a call.
pub(super) async fn unary<B>(
    request: http::Request<B>,
    max_message_bytes: usize,
    method: impl Unary,
) -> HttpResponse<Body>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let (head, body) = request.into_parts();
    let read = match head.headers.contains_key(&ENCODING) {
        true => Err(Replayed { frames: VecDeque::new(), rest: body }),
        false => read(body, max_message_bytes).await,
    };
    match read {
        Ok(message) => {
            let metadata = MetadataMap::from_headers(head.headers);
            let answer = method.answer(Request::from_parts(metadata, head.extensions, message)).await;
            answer.map_or_else(Status::into_http, answered)
        }
        Err(replayed) => {
            let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(max_message_bytes);
            Box::pin(grpc.unary(ByTonic(method), http::Request::from_parts(head, replayed))).await
        }
    }
}

/// The only message of a body, if it came in one frame and there is nothing else; or all that came, to be read again.
async fn read<B>(mut body: B, max_message_bytes: usize) -> Result<Bytes, Replayed<B>>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let first = next_frame(&mut body).await;
    let message = first.as_ref().and_then(|frame| sole_message(frame.as_ref().ok()?.data_ref()?));
    let Some(message) = message.filter(|message| message.len() <= max_message_bytes) else {
        return Err(Replayed { frames: [first].into(), rest: body });
    };
    // The end comes with the message, or behind it.
    while !body.is_end_stream() {
        match next_frame(&mut body).await {
            None => break,
            Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
            other => return Err(Replayed { frames: [first, other].into(), rest: body }),
        }
    }
    Ok(message)
}

async fn next_frame<B: HttpBody + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// The message in a frame that has all of it and no more.
fn sole_message(frame: &Bytes) -> Option<Bytes> {
    let [0, len @ ..] = *frame.first_chunk::<PREFIX_BYTES>()? else { return None };
    let message = frame.slice(PREFIX_BYTES..);
    (u32::try_from(message.len()) == Ok(u32::from_be_bytes(len))).then_some(message)
}

/// A body whose first frames were looked at.
struct Replayed<B: HttpBody> {
    frames: VecDeque<Option<Result<Frame<Bytes>, B::Error>>>,
    rest: B,
}

impl<B: HttpBody> Unpin for Replayed<B> where B: Unpin {}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Replayed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

/// An answer that goes well.
fn answered(message: Encoded) -> HttpResponse<Body> {
    let mut response = HttpResponse::new(Body::new(Answer(Part::Message(message.into_frame()))));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// What is sent of an answer that goes well.
struct Answer(Part);

/// What is sent next.
enum Part {
    Message(Bytes),
    Trailers,
    Nothing,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match std::mem::replace(&mut self.0, Part::Nothing) {
            Part::Message(message) => {
                self.0 = Part::Trailers;
                Some(Ok(Frame::data(message)))
            }
            Part::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Part::Nothing => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Part::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        // With a length, there would be a header that gRPC does not have.
        SizeHint::default()
    }
}

/// A method as tonic calls it.
struct ByTonic<M>(M);

impl<M: Unary> Service<Request<Bytes>> for ByTonic<M> {
    type Response = Response<Encoded>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Encoded>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async { method.answer(request).await.map(Response::new) })
    }
}

/// Leaves messages as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Encoded;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, message: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.as_ref().len());
        buffer.put_slice(message.as_ref());
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
