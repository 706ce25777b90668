//! Connections as they come in, on a port or a socket, in the clear or over TLS.
//!
//! They are accepted in one place and dealt out to where they are served: their handshakes are made there already, so that
//! what they cost is spread as the connections are.
//!
//! Nobody waits for somebody else's handshake, and an error of one connection, or too many open files, does not end the
//! listener (CVE-2024-47609).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::unix::net::UnixStream as StdUnixStream;
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
use super::workers::{Dealer, Seat};

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
    dealer: Dealer,
    handshakes: JoinSet<Option<Arrival>>,
    /// The handshakes, the oldest first. Some may be over.
    oldest: VecDeque<AbortHandle>,
    pause: Option<Pin<Box<Sleep>>>,
    places: Places,
}

/// A connection that has come, to be served where it was dealt to.
pub(super) struct Arrival {
    stream: Arrived,
    seat: Seat,
}

/// It belongs to no runtime yet, or to the one that its handshake was made on.
enum Arrived {
    Local(StdUnixStream, Place),
    Plain(StdTcpStream, Place),
    Protected(Box<Connection>),
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
        let (dealer, places) = (Dealer::here(), Places::default());
        let (handshakes, oldest) = (JoinSet::new(), VecDeque::new());
        Self { listener, tls, dealer, handshakes, oldest, pause: None, places }
    }

    /// Closes connections at once for which there is no place.
    pub(super) fn at_most(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// Deals them out. Else they stay where they are accepted.
    pub(super) fn dealt_by(self, dealer: Dealer) -> Self {
        Self { dealer, ..self }
    }

    /// The next connection.
    pub(super) async fn next(&mut self) -> Arrival {
        poll_fn(|cx| self.poll_connection(cx)).await
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Arrival> {
        loop {
            while let Poll::Ready(Some(over)) = self.handshakes.poll_join_next(cx) {
                if let Ok(Some(arrival)) = over {
                    return Poll::Ready(arrival);
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
            let seat = self.dealer.deal();
            let stream = match (accepted, self.tls.clone()) {
                (Accepted::Local(stream), _) => Arrived::Local(stream, place),
                (Accepted::Remote(stream), None) => Arrived::Plain(stream, place),
                (Accepted::Remote(stream), Some(tls)) => {
                    self.shake_hands(stream, tls, place, seat);
                    continue;
                }
            };
            return Poll::Ready(Arrival { stream, seat });
        }
    }

    fn shake_hands(&mut self, stream: StdTcpStream, tls: Arc<Tls>, place: Place, seat: Seat) {
        if self.oldest.len() >= MAX_HANDSHAKES {
            self.oldest.retain(|handshake| !handshake.is_finished());
        }
        if self.oldest.len() >= MAX_HANDSHAKES
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let runtime = seat.runtime();
        let handshake = async move {
            let connection = protected(stream, &tls, place).await?;
            Some(Arrival { stream: Arrived::Protected(connection.into()), seat })
        };
        self.oldest.push_back(self.handshakes.spawn_on(handshake, &runtime));
    }
}

/// A connection after its handshake. It belongs to the runtime that this runs on.
async fn protected(stream: StdTcpStream, tls: &Tls, place: Place) -> Option<Connection> {
    let handshake = async { tls.acceptor().accept(TcpStream::from_std(stream)?).await };
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => return Some(Connection::protected(stream, place)),
        // Anybody can cause it, so it is not worth more.
        Ok(Err(error)) => tracing::debug!(%error, "a client did not get through the TLS handshake"),
        Err(_) => tracing::debug!("a client took too long for the TLS handshake"),
    }
    None
}

impl Arrival {
    /// Serves it where it was dealt to, among these tasks.
    pub(super) fn serve<F>(
        self,
        tasks: &mut JoinSet<()>,
        serve: impl FnOnce(Connection, Seat) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let Self { stream, seat } = self;
        let runtime = seat.runtime();
        let served = async move {
            match stream.open() {
                Ok(connection) => serve(connection, seat).await,
                Err(error) => tracing::error!(%error, "a connection can't be served"),
            }
        };
        tasks.spawn_on(served, &runtime);
    }
}

impl Arrived {
    /// The connection. From now on it belongs to the runtime that this is called on.
    fn open(self) -> io::Result<Connection> {
        Ok(match self {
            Self::Local(stream, place) => Connection::local(UnixStream::from_std(stream)?, place),
            Self::Plain(stream, place) => Connection::plain(TcpStream::from_std(stream)?, place),
            Self::Protected(connection) => *connection,
        })
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

/// As the runtime of the listener has let go of it.
enum Accepted {
    Local(StdUnixStream),
    Remote(StdTcpStream),
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Poll::Ready(match self {
            Self::Port(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.and_then(|(stream, _)| {
                    // Else small answers wait for acknowledgements. A connection that is gone already fails by itself.
                    let _gone = stream.set_nodelay(true);
                    stream.into_std().map(Accepted::Remote)
                })
            }
            Self::Socket(socket) => {
                let accepted = ready!(socket.poll_accept(cx));
                accepted.and_then(UnixStream::into_std).map(Accepted::Local)
            }
        })
    }
}
