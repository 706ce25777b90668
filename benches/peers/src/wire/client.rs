//! The load generator: calls on bare HTTP/2, of gRPC and of plain HTTP. Every answer is compared.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use futures_util::future::try_join_all;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::histogram::Histogram;
use crate::receive::whole;

/// Large enough that no answer waits for it.
const WINDOW_BYTES: u32 = 16 << 20;
/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A call that takes longer is a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call, and the answers that it is to get.
pub(crate) struct Call {
    pub(crate) head: Request<()>,
    pub(crate) body: Bytes,
    /// What is asked, for people.
    pub(crate) name: String,
    pub(crate) expected: Vec<bool>,
}

/// Reads the answers out of what a call returned, by the call's number.
pub(crate) type Reader = Box<dyn Fn(usize, &Reply) -> Outcome<Vec<bool>>>;

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Without its prefix where it is a message of gRPC.
    pub(crate) body: Bytes,
}

/// Calls of one kind.
pub(crate) struct Workload {
    pub(crate) calls: Vec<Call>,
    pub(crate) kind: Kind,
    pub(crate) read: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything but one message and the status OK is a fault.
    Grpc,
    Http,
}

/// How many calls at once, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    /// Whatever comes first.
    pub(crate) calls: usize,
    pub(crate) limit: Duration,
}

/// What a load took.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) calls: usize,
    /// Of the time of a call, in nanoseconds.
    pub(crate) median: u64,
}

/// Makes calls, the first again after the last.
pub(crate) async fn run(addr: &str, workload: &Workload, load: Load) -> Outcome<Measured> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(connect(addr).await?);
    }
    let run = Run {
        workload,
        next: Cell::new(0),
        calls: load.calls,
        until: Instant::now() + load.limit,
        times: RefCell::default(),
        made: Cell::new(0),
    };
    let workers = (0..load.streams).flat_map(|_| &connections);
    try_join_all(workers.map(|connection| run.work(connection))).await?;
    Ok(Measured { calls: run.made.get(), median: run.times.borrow().quantile(0.5) })
}

async fn connect(addr: &str) -> Outcome<SendRequest<Bytes>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut settings = client::Builder::new();
    settings.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (send, connection) = settings.handshake(stream).await?;
    // It ends with its connection, and a fault of it shows in the calls.
    drop(tokio::spawn(connection));
    Ok(send)
}

struct Run<'w> {
    workload: &'w Workload,
    next: Cell<usize>,
    calls: usize,
    until: Instant,
    times: RefCell<Histogram>,
    made: Cell<usize>,
}

impl Run<'_> {
    /// One call after the other.
    async fn work(&self, connection: &SendRequest<Bytes>) -> Outcome<()> {
        while self.next.get() < self.calls && Instant::now() < self.until {
            let number = self.next.replace(self.next.get() + 1) % self.workload.calls.len().max(1);
            let call = self.workload.calls.get(number).ok_or("there are no calls")?;
            let began = Instant::now();
            let reply =
                tokio::time::timeout(PATIENCE, exchange(connection, call, self.workload.kind)).await??;
            self.times.borrow_mut().record(u64::try_from(began.elapsed().as_nanos())?);
            self.made.set(self.made.get() + 1);
            let found = (self.workload.read)(number, &reply)?;
            if found != call.expected {
                let Call { name, expected, .. } = call;
                return Err(format!("{name}: answered {found:?} and not {expected:?}").into());
            }
        }
        Ok(())
    }
}

async fn exchange(connection: &SendRequest<Bytes>, call: &Call, kind: Kind) -> Outcome<Reply> {
    let is_empty = call.body.is_empty();
    let (response, mut request) =
        connection.clone().ready().await?.send_request(call.head.clone(), is_empty)?;
    if !is_empty {
        request.send_data(call.body.clone(), true)?;
    }
    let response = response.await?;
    let status = response.status().as_u16();
    let head = response.headers().clone();
    let mut body = response.into_body();
    let received = whole(&mut body).await?;
    if kind == Kind::Http {
        return Ok(Reply { status, body: received.freeze() });
    }
    // Without a message, the status is among the headers.
    let trailers = body.trailers().await?.unwrap_or(head);
    Ok(Reply { status, body: message(received.freeze(), &trailers)? })
}

/// The one message of an answer.
fn message(mut received: Bytes, trailers: &HeaderMap) -> Outcome<Bytes> {
    let code = trailers.get("grpc-status").map(|code| code.as_bytes());
    if code != Some(b"0") {
        return Err(format!("a call ended with {trailers:?}").into());
    }
    let Some(&[0, a, b, c, d]) = received.first_chunk::<PREFIX_BYTES>() else {
        return Err("an answer that is no message".into());
    };
    received.advance(PREFIX_BYTES);
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
    if received.len() == length { Ok(received) } else { Err("an answer that is not one message".into()) }
}

/// The head of a call of gRPC.
pub(crate) fn grpc_head(path: &str) -> Outcome<Request<()>> {
    let head = Request::post(format!("http://127.0.0.1{path}")).header("content-type", "application/grpc");
    Ok(head.header("te", "trailers").header("user-agent", "grpc-bench/1").body(())?)
}

/// A message as gRPC frames it.
pub(crate) fn frame(message: &impl prost::Message) -> Outcome<Bytes> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.encoded_len())?.to_be_bytes());
    message.encode(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_one_message_and_ok_is_a_fault() {
        let ok: HeaderMap = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        let is_read = |bytes: &'static [u8], trailers: &HeaderMap| message(bytes.into(), trailers).is_ok();
        assert!(is_read(&[0, 0, 0, 0, 1, 7], &ok));
        assert!(!is_read(&[0, 0, 0, 0, 1, 7, 7], &ok));
        assert!(!is_read(&[0, 0, 0, 0, 2, 7], &ok));
        assert!(!is_read(&[1, 0, 0, 0, 1, 7], &ok));
        assert!(!is_read(&[], &ok));
        assert!(!is_read(&[0, 0, 0, 0, 1, 7], &HeaderMap::new()));
        let denied = [("grpc-status".parse().unwrap(), "7".parse().unwrap())].into_iter().collect();
        assert!(!is_read(&[0, 0, 0, 0, 1, 7], &denied));
    }
}
