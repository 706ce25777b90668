//! One connection of whatever kind, and who is at its other end.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::limits::Place;
use crate::grpc::departure::{Notice, departure};
use crate::grpc::peer::{Link, Peer};
use crate::grpc::untaken::Untaken;

/// How long a client may take for its first bytes. HTTP/2 probes no connection on which it has not begun.
pub(super) const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// The bytes with which HTTP/2 begins (RFC 9113, 3.4). A request of HTTP/1.1 is longer.
const PREFACE_BYTES: usize = 24;

/// A connection that is ready to be served.
pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    peer: Peer,
    untaken: Untaken,
    /// Until the first bytes are there.
    preface: Option<Preface>,
    /// While the client takes nothing of what is written.
    stall: Option<Pin<Box<Sleep>>>,
    place: Place,
}

/// The wait for the first bytes.
struct Preface {
    overdue: Pin<Box<Sleep>>,
    missing_bytes: usize,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Connection {
    /// In the clear, from whomever.
    pub(super) fn plain(stream: TcpStream, place: Place) -> Self {
        let peer = Peer::remote(stream.peer_addr().ok(), None);
        Self::new(stream, peer, place)
    }

    /// Over TLS, after the handshake, from whom the certificate says.
    pub(super) fn protected(stream: TlsStream<TcpStream>, place: Place) -> Self {
        let (tcp, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        let peer = Peer::remote(tcp.peer_addr().ok(), certificate);
        Self::new(stream, peer, place)
    }

    /// From this machine.
    pub(super) fn local(stream: UnixStream, place: Place) -> Self {
        Self::new(stream, Peer::Local, place)
    }

    fn new(stream: impl Duplex + 'static, peer: Peer, place: Place) -> Self {
        let preface = Preface { overdue: Box::pin(sleep(PREFACE_TIMEOUT)), missing_bytes: PREFACE_BYTES };
        let stream = Box::new(stream);
        let untaken = Untaken::default();
        Self { stream, peer, untaken, preface: Some(preface), stall: None, place }
    }

    /// Tells when a message has been ready for longer than a client may leave it.
    pub(super) fn leaves_a_message(&self) -> impl Future<Output = Duration> + use<> {
        let (untaken, most) = (self.untaken.clone(), self.place.most_untaken);
        async move {
            untaken.is_overdue(most).await;
            most
        }
    }

    /// What its calls know of it, and what tells them that it is to go.
    pub(super) fn link(&self) -> (Link, Notice) {
        let (notice, departure) = departure();
        (Link::new(self.peer.clone(), departure, self.untaken.clone()), notice)
    }

    /// Ends a connection whose client takes nothing of what is written for too long. HTTP/2's probes do not: hyper says
    /// farewell when there is no answer, and waits until that is written.
    fn limit_stall<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let most = self.place.most_stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(most)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Some of the first bytes were read, or none are left to be.
    fn has_read(&mut self, bytes: usize) {
        self.preface = self.preface.take().and_then(|Preface { overdue, missing_bytes }| {
            let missing_bytes =
                missing_bytes.checked_sub(bytes).filter(|missing| *missing > 0 && bytes > 0)?;
            Some(Preface { overdue, missing_bytes })
        });
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(preface) = &mut self.preface else { return polled };
        if polled.is_ready() {
            self.has_read(buffer.filled().len() - before);
        } else if preface.overdue.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

/// Nothing is written from several places at once, although the system could. Where that can be, h2 copies no message of 256
/// bytes or more next to those that are ready: it writes each by itself, with a call of the system for each. Where it can't,
/// it copies those of less than 1,024 bytes, as decisions are, and writes 16 KiB of them at once.
impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit_stall(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limit_stall(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.limit_stall(cx, shut)
    }
}
