//! Replicas of the service that go wrong as a test says: processes to signal, and services within the test.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::config::Config;
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::ext_authz::ExtAuthz;
use ecs_authz::metrics::Metrics;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::Identity;
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::DirectoryStore;
use ecs_authz::store::{LoadFuture, PolicyStore, Revision, StoreError, StoreHealth};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::envoy::{GRANTS, SHIPPED_SERVICE};
use crate::support::{PolicyDir, limits, program};

/// The name under which Envoy asks how a replica is.
const CHECKED: &str = "envoy.service.auth.v3.Authorization";

/// The program as a process, on a port that stays its own while it is down.
pub(crate) struct Replica {
    process: Child,
    /// Bound and never listening: nobody else is given the port.
    place: TcpSocket,
    config: PathBuf,
}

impl Drop for Replica {
    fn drop(&mut self) {
        // This ends a stopped process, too.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Replica {
    /// With the configuration that is shipped.
    pub(crate) fn start(policies: &PolicyDir) -> Self {
        Self::start_with(policies, SHIPPED_SERVICE.as_ref())
    }

    pub(crate) fn start_with(policies: &PolicyDir, config: &Path) -> Self {
        let place = TcpSocket::new_v4().unwrap();
        place.set_reuseaddr(true).unwrap();
        place.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let process = Self::spawn(place.local_addr().unwrap(), policies, config);
        Self { process, place, config: config.to_owned() }
    }

    fn spawn(addr: SocketAddr, policies: &PolicyDir, config: &Path) -> Child {
        let mut process = Command::new(program())
            .args(["serve", "--http-addr", "127.0.0.1:0", "--config"])
            .arg(config)
            .args(["--grpc-addr", &addr.to_string(), "--policies"])
            .arg(policies.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("ready on {addr},")), "{line}");
        process
    }

    pub(crate) fn port(&self) -> u16 {
        self.place.local_addr().unwrap().port()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn start_again(&mut self, policies: &PolicyDir) {
        self.process.wait().unwrap();
        self.process = Self::spawn(self.place.local_addr().unwrap(), policies, &self.config);
    }
}

/// A store that holds nothing.
#[derive(Debug)]
pub(crate) enum BrokenStore {
    Waits,
    Fails,
}

impl PolicyStore for BrokenStore {
    fn revision(&self, _domain_id: &str) -> Revision {
        Revision(1)
    }

    fn load<'a>(&'a self, _identity: &'a Identity) -> LoadFuture<'a> {
        match self {
            Self::Waits => Box::pin(std::future::pending()),
            Self::Fails => {
                Box::pin(async { Err(StoreError::Unavailable(Arc::new(io::Error::other("down")))) })
            }
        }
    }

    fn changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::Current
    }
}

/// A replica within the test, which decides how it is. Its end ends the listener.
pub(crate) struct Inside {
    port: u16,
    health: HealthReporter,
    _server: JoinSet<()>,
}

impl Inside {
    async fn start(store: Arc<dyn PolicyStore>, mut server: Server) -> Self {
        let catalog = Arc::new(Catalog::published().unwrap());
        let cache = PolicyCache::new(store, catalog.action_count(), 1 << 20);
        let decisions = Metrics::new(catalog.clone(), []).decisions;
        let pdp = Arc::new(Pdp::new(catalog, cache, Defaults::default()));
        let config = Config::load(SHIPPED_SERVICE.as_ref()).unwrap().ext_authz.unwrap();
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
        let port = incoming.local_addr().unwrap().port();
        let health = HealthReporter::new();
        let router = server
            .add_service(ExtAuthz::new(pdp, DecisionLog::off(), decisions, config, limits(64)).into_service())
            .add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())));
        let mut tasks = JoinSet::new();
        tasks.spawn(async { router.serve_with_incoming(incoming).await.unwrap() });
        let inside = Self { port, health, _server: tasks };
        inside.says(ServingStatus::Serving).await;
        inside
    }

    pub(crate) async fn broken(store: BrokenStore) -> Self {
        Self::start(Arc::new(store), Server::builder()).await
    }

    /// A sound one, on the policies of these tests.
    pub(crate) async fn sound(server: Server) -> Self {
        let policies = PolicyDir::acme(&[], GRANTS);
        let catalog = Arc::new(Catalog::published().unwrap());
        Self::start(Arc::new(DirectoryStore::open(policies.path(), catalog).unwrap()), server).await
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) async fn says(&self, status: ServingStatus) {
        self.health.set_service_status(CHECKED, status).await;
    }
}
