//! One connection of whatever kind, and who is at its other end.

use std::convert::Infallible;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::grpc::peer::Peer;

/// A connection that is ready to be served.
pub(super) struct Connection {
    stream: Box<dyn Duplex>,
    peer: Peer,
    tie: Option<Tie>,
}

/// The connection's end of what ties it to whoever may cut it. Nothing is ever sent: what tells is that an end is dropped.
struct Tie {
    cut: oneshot::Receiver<Infallible>,
    _gone: oneshot::Sender<Infallible>,
}

/// Whoever drops this cuts the connection, however many calls are on it.
pub(super) struct Lifeline {
    _cut: oneshot::Sender<Infallible>,
}

/// Completes when the connection is gone.
pub(super) type Gone = oneshot::Receiver<Infallible>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Connection {
    /// In the clear, from whomever.
    pub(super) fn plain(stream: TcpStream) -> Self {
        let peer = Peer::remote(stream.peer_addr().ok(), None);
        Self::new(stream, peer)
    }

    /// Over TLS, after the handshake, from whom the certificate says.
    pub(super) fn protected(stream: TlsStream<TcpStream>) -> Self {
        let (tcp, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        let peer = Peer::remote(tcp.peer_addr().ok(), certificate);
        Self::new(stream, peer)
    }

    /// From this machine.
    pub(super) fn local(stream: UnixStream) -> Self {
        Self::new(stream, Peer::Local)
    }

    fn new(stream: impl Duplex + 'static, peer: Peer) -> Self {
        Self { stream: Box::new(stream), peer, tie: None }
    }

    /// Ties the connection to a lifeline, and tells when it is gone.
    pub(super) fn tie(&mut self) -> (Lifeline, Gone) {
        let (lifeline, cut) = oneshot::channel();
        let (gone, is_gone) = oneshot::channel();
        self.tie = Some(Tie { cut, _gone: gone });
        (Lifeline { _cut: lifeline }, is_gone)
    }

    /// Fails once the connection is cut. Whoever waits to read or to write is woken then.
    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(tie) = &mut self.tie else { return Ok(()) };
        let is_cut = tie.cut.is_terminated() || Pin::new(&mut tie.cut).poll(cx).is_ready();
        if is_cut { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
