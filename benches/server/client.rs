//! A client of gRPC on bare HTTP/2, which costs its process less than any server costs its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::try_join_all;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request};
use prost::bytes::{Buf as _, Bytes, BytesMut};
use tokio::net::TcpStream;

use super::Outcome;
use super::histogram::Histogram;
use super::plan::{BATCH, Load, Method};
use super::receive::whole;
use super::workload::Workload;

/// Large enough that no answer waits for it.
const WINDOW_BYTES: u32 = 16 << 20;
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Connections to one server.
pub(super) struct Client {
    connections: Vec<SendRequest<Bytes>>,
    addr: String,
}

impl Client {
    pub(super) async fn connect(addr: &str, connections: usize) -> Outcome<Self> {
        let connect = async |_| {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let mut settings = client::Builder::new();
            settings.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (send, connection) = settings.handshake(stream).await?;
            tokio::spawn(connection);
            Outcome::Ok(send)
        };
        let connections = try_join_all((0..connections).map(connect)).await?;
        Ok(Self { connections, addr: addr.to_owned() })
    }

    /// Sends messages of a batch each, several at once, and sees to it that each is answered.
    pub(super) async fn send_all(&self, messages: impl Iterator<Item = Bytes>) -> Outcome<()> {
        let (messages, head) = (RefCell::new(messages), self.head(Method::Batch(BATCH))?);
        let worker = async |connection: &SendRequest<Bytes>| {
            loop {
                let Some(message) = messages.borrow_mut().next() else { return Outcome::Ok(()) };
                unary(connection, &head, message).await?;
            }
        };
        let workers = self.connections.iter().flat_map(|connection| [connection; 4]);
        try_join_all(workers.map(worker)).await?;
        Ok(())
    }

    /// Makes calls from the first number to the last one, as many at once as the load says.
    pub(super) async fn make(&self, load: Load, workload: &Workload, calls: Calls) -> Outcome<Measured> {
        let run = Run { workload, head: self.head(load.method)?, calls, measured: RefCell::default() };
        match load.method {
            Method::Stream => {
                let streams =
                    self.connections.iter().map(|connection| run.stream(connection, load.in_flight));
                try_join_all(streams).await?;
            }
            Method::Authorize | Method::Check | Method::Batch(_) => {
                let workers = (0..load.in_flight).flat_map(|_| &self.connections);
                try_join_all(workers.map(|connection| run.call(connection))).await?;
            }
        }
        Ok(run.measured.into_inner())
    }

    fn head(&self, method: Method) -> Outcome<Request<()>> {
        let uri = format!("http://{}{}", self.addr, method.path());
        let head = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        Ok(head.header("user-agent", "grpc-bench/1").body(())?)
    }
}

/// Numbers of calls that are still to be made.
pub(super) struct Calls {
    next: Cell<usize>,
    end: usize,
}

impl Calls {
    pub(super) const fn new(first: usize, count: usize) -> Self {
        Self { next: Cell::new(first), end: first + count }
    }

    fn take(&self) -> Option<usize> {
        let next = self.next.get();
        self.next.set(next + 1);
        (next < self.end).then_some(next)
    }
}

/// What calls took, and what was answered.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) times: Histogram,
    pub(super) compared: usize,
    pub(super) denied: usize,
    /// Of all messages together.
    pub(super) answer_bytes: usize,
}

struct Run<'w> {
    workload: &'w Workload,
    head: Request<()>,
    calls: Calls,
    measured: RefCell<Measured>,
}

impl Run<'_> {
    /// One call after the other.
    async fn call(&self, connection: &SendRequest<Bytes>) -> Outcome<()> {
        while let Some(number) = self.calls.take() {
            let message = self.workload.message(number)?;
            let began = Instant::now();
            let answer = unary(connection, &self.head, message).await?;
            self.finish(number, &answer, |_| Some(began))?;
        }
        Ok(())
    }

    /// One stream, on which some requests are always under way.
    async fn stream(&self, connection: &SendRequest<Bytes>, in_flight: usize) -> Outcome<()> {
        let (response, mut requests) =
            connection.clone().ready().await?.send_request(self.head.clone(), false)?;
        let mut began = HashMap::new();
        let mut send = |began: &mut HashMap<usize, Instant>| {
            let Some(number) = self.calls.take() else { return Outcome::Ok(false) };
            let message = self.workload.message(number)?;
            began.insert(self.workload.position(number), Instant::now());
            requests.send_data(message, false)?;
            Ok(true)
        };
        for _ in 0..in_flight {
            send(&mut began)?;
        }
        let response = response.await?;
        let (mut body, mut received) = (response.into_body(), BytesMut::new());
        while !began.is_empty() {
            let chunk = body.data().await.ok_or("the stream ended before its answers")??;
            body.flow_control().release_capacity(chunk.len())?;
            received.extend_from_slice(&chunk);
            while let Some(message) = next_message(&mut received)? {
                self.finish(0, &message, |request| began.remove(&request?))?;
                send(&mut began)?;
            }
        }
        requests.send_data(Bytes::new(), true)?;
        end(&mut body).await
    }

    fn finish(
        &self,
        number: usize,
        answer: &[u8],
        began: impl FnOnce(Option<usize>) -> Option<Instant>,
    ) -> Outcome<()> {
        let compared = self.workload.compare(number, answer)?;
        let began = began(compared.message).ok_or("an answer to a request that was not made")?;
        let mut measured = self.measured.borrow_mut();
        measured.times.record(u64::try_from(began.elapsed().as_nanos())?);
        measured.compared += compared.decisions;
        measured.denied += compared.denied;
        measured.answer_bytes += answer.len();
        Ok(())
    }
}

/// The message that a call is answered with. Anything but one message and the status OK is a fault.
async fn unary(connection: &SendRequest<Bytes>, head: &Request<()>, message: Bytes) -> Outcome<Bytes> {
    let (response, mut request) = connection.clone().ready().await?.send_request(head.clone(), false)?;
    request.send_data(message, true)?;
    let response = response.await?;
    if let Some(code) = response.headers().get("grpc-status") {
        return Err(format!("a call ended with {code:?}: {:?}", response.headers()).into());
    }
    let mut body = response.into_body();
    let mut received = whole(&mut body).await?;
    end(&mut body).await?;
    let answer = next_message(&mut received)?.ok_or("an answer without a message")?;
    if received.is_empty() { Ok(answer) } else { Err("an answer with more than a message".into()) }
}

/// Takes a message, if it is there as a whole.
fn next_message(received: &mut BytesMut) -> Outcome<Option<Bytes>> {
    let Some((&[compressed, a, b, c, d], rest)) = received.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    if compressed != 0 {
        return Err("a message is compressed".into());
    }
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    if rest.len() < length {
        return Ok(None);
    }
    received.advance(PREFIX_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

async fn end(body: &mut RecvStream) -> Outcome<()> {
    let trailers: HeaderMap = body.trailers().await?.ok_or("a call ended without a status")?;
    match trailers.get("grpc-status").map(|code| code.as_bytes()) {
        Some(b"0") => Ok(()),
        code => Err(format!("a call ended with {code:?}: {trailers:?}").into()),
    }
}
