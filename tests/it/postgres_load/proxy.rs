//! The way to a database, on which a test can make everything slow, silent or broken.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    /// What is sent arrives nowhere, and no connection ends.
    Silent,
    /// Each answer takes this much longer.
    Slow(Duration),
}

/// On which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// On which changes have been asked for.
    Listener,
    /// All others.
    Readers,
}

/// Forwards connections to a server.
pub(super) struct Proxy {
    pub(super) addr: SocketAddr,
    way: watch::Sender<Way>,
    lines: Arc<Mutex<Vec<Arc<Line>>>>,
    acceptor: JoinHandle<()>,
}

/// What a half of a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Questions,
    Answers,
}

/// A connection.
struct Line {
    /// Changes have been asked for on it.
    listens: AtomicBool,
    /// Something was swallowed, so whatever follows would make no sense.
    is_dead: AtomicBool,
    is_cut: watch::Sender<bool>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut();
    }
}

impl Proxy {
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let way = watch::Sender::new(Way::Open);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let accept = {
            let (way, lines) = (way.subscribe(), lines.clone());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let line = Arc::new(Line {
                        listens: AtomicBool::new(false),
                        is_dead: AtomicBool::new(false),
                        is_cut: watch::Sender::new(false),
                    });
                    lines.lock().expect("the lines").push(line.clone());
                    tokio::spawn(line.forward(client, server, way.clone()));
                }
            }
        };
        Self { addr, way, lines, acceptor: tokio::spawn(accept) }
    }

    pub(super) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Ends all connections.
    pub(super) fn cut(&self) {
        for line in self.lines.lock().expect("the lines").drain(..) {
            line.is_cut.send_replace(true);
        }
    }

    /// Swallows from now on what is sent on the connections that there are. New ones are not concerned.
    pub(super) fn silence(&self, whose: Whose) {
        let lines = self.lines.lock().expect("the lines");
        let concerned =
            lines.iter().filter(|line| line.listens.load(Ordering::SeqCst) == (whose == Whose::Listener));
        let silenced = concerned.map(|line| line.is_dead.store(true, Ordering::SeqCst)).count();
        assert!(silenced > 0, "there is a connection of {whose:?}");
    }
}

impl Line {
    async fn forward(self: Arc<Self>, client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut is_cut = self.is_cut.subscribe();
        tokio::select! {
            _ = self.pump(from_client, to_server, way.clone(), Carries::Questions) => {}
            _ = self.pump(from_server, to_client, way, Carries::Answers) => {}
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        }
    }

    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        way: watch::Receiver<Way>,
        what: Carries,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1_024];
        loop {
            let count = from.read(&mut buffer).await?;
            let bytes = &buffer[..count];
            let now = *way.borrow();
            match (what, now) {
                _ if bytes.is_empty() => return Ok(()),
                (Carries::Questions, _) if bytes.windows(6).any(|word| word == b"LISTEN") => {
                    self.listens.store(true, Ordering::SeqCst);
                }
                (Carries::Answers, Way::Slow(longer)) => sleep(longer).await,
                _ => {}
            }
            if !self.swallows(&way) {
                to.write_all(bytes).await?;
            }
        }
    }

    fn swallows(&self, way: &watch::Receiver<Way>) -> bool {
        let is_silent = *way.borrow() == Way::Silent;
        self.is_dead.fetch_or(is_silent, Ordering::SeqCst) || is_silent
    }
}
