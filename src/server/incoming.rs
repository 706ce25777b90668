//! Connections as they come in, on a port or a socket, in the clear or over TLS.
//!
//! Nobody waits for somebody else's handshake, and an error of one connection, or too many open files, does not end the
//! listener (CVE-2024-47609).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep, timeout};

use super::StartError;
use super::connection::Connection;
use super::limits::{Place, Places};
use super::socket::Socket;
use super::tls::Tls;

/// How long a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most clients that shake hands at once. For one more, the one that takes longest is given up: clients that never
/// finish keep nobody else out.
const MAX_HANDSHAKES: usize = 512;
/// How long nothing is accepted after a fault of ours, such as too many open files, which is not over at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Connections that are ready to be served. The listener closes with it.
pub(super) struct Incoming {
    listener: Listener,
    tls: Option<Arc<Tls>>,
    handshakes: JoinSet<Option<Connection>>,
    /// The handshakes, the oldest first. Some may be over.
    oldest: VecDeque<AbortHandle>,
    pause: Option<Pin<Box<Sleep>>>,
    places: Places,
}

enum Listener {
    Port(TcpListener),
    Socket(Socket),
}

impl Incoming {
    /// Listens on a port.
    pub(super) async fn on_port(
        addr: SocketAddr,
        tls: Option<Arc<Tls>>,
    ) -> Result<(Self, SocketAddr), StartError> {
        let bind = async {
            let listener = TcpListener::bind(addr).await?;
            let bound = listener.local_addr()?;
            Ok((Self::new(Listener::Port(listener), tls), bound))
        };
        bind.await.map_err(|cause| StartError::Bind { addr, cause })
    }

    /// Listens on a socket of this machine.
    pub(super) fn on_socket(path: &Path) -> Result<Self, StartError> {
        let socket = Socket::bind(path);
        let socket = socket.map_err(|cause| StartError::Socket { path: path.to_owned(), cause })?;
        Ok(Self::new(Listener::Socket(socket), None))
    }

    fn new(listener: Listener, tls: Option<Arc<Tls>>) -> Self {
        let places = Places::default();
        Self { listener, tls, handshakes: JoinSet::new(), oldest: VecDeque::new(), pause: None, places }
    }

    /// Closes connections at once for which there is no place.
    pub(super) fn at_most(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// The next connection.
    pub(super) async fn next(&mut self) -> Connection {
        poll_fn(|cx| self.poll_connection(cx)).await
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        loop {
            while let Poll::Ready(Some(over)) = self.handshakes.poll_join_next(cx) {
                if let Ok(Some(connection)) = over {
                    return Poll::Ready(connection);
                }
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let accepted = match ready!(self.listener.poll_accept(cx)) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.pause = pause_after(&error);
                    continue;
                }
            };
            // Closed, not left waiting: whoever calls may go elsewhere at once.
            let Some(place) = self.places.take() else { continue };
            match (accepted, self.tls.clone()) {
                (Accepted::Local(stream), _) => return Poll::Ready(Connection::local(stream, place)),
                (Accepted::Remote(stream), None) => return Poll::Ready(Connection::plain(stream, place)),
                (Accepted::Remote(stream), Some(tls)) => self.shake_hands(stream, tls, place),
            }
        }
    }

    fn shake_hands(&mut self, stream: TcpStream, tls: Arc<Tls>, place: Place) {
        if self.oldest.len() >= MAX_HANDSHAKES {
            self.oldest.retain(|handshake| !handshake.is_finished());
        }
        if self.oldest.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        self.oldest.push_back(self.handshakes.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => return Some(Connection::protected(stream, place)),
                // Anybody can cause it, so it is not worth more.
                Ok(Err(error)) => tracing::debug!(%error, "a client did not get through the TLS handshake"),
                Err(_) => tracing::debug!("a client took too long for the TLS handshake"),
            }
            None
        }));
    }
}

/// A connection that is gone before it is accepted concerns nobody. Anything else is a fault of this machine.
fn pause_after(error: &io::Error) -> Option<Pin<Box<Sleep>>> {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind()) {
        return None;
    }
    tracing::error!(%error, "no connection can be accepted: trying again");
    Some(Box::pin(sleep(PAUSE)))
}

enum Accepted {
    Local(UnixStream),
    Remote(TcpStream),
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(match self {
            Self::Port(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.map(|(stream, _)| {
                    // Else small answers wait for acknowledgements. A connection that is gone already fails by itself.
                    let _gone = stream.set_nodelay(true);
                    Accepted::Remote(stream)
                })
            }
            Self::Socket(socket) => {
                let accepted = ready!(socket.poll_accept(cx));
                accepted.map(Accepted::Local)
            }
        })
    }
}
