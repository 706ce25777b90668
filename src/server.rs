//! The composition root: builds every part, binds the listeners, and stops them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::catalog::{Catalog, CatalogError, Source};
use crate::config::{ClientAuth, Config, TlsConfig};
use crate::decision_log::{self, DecisionLog};
use crate::grpc::admission::Admitted;
use crate::grpc::authorize::Authorize;
use crate::grpc::ext_authz::ExtAuthz;
use crate::grpc::limits::CallLimits;
use crate::grpc::observe::ObserveCalls;
use crate::grpc::peer::{Callers, ClientNames};
use crate::grpc::{self, FILE_DESCRIPTOR_SET};
use crate::health;
use crate::metrics::{self, Metrics};
use crate::pdp::{Defaults, Pdp};
use crate::store::cache::PolicyCache;
use crate::store::directory::OpenError;
use crate::store::{PolicyStore, postgres};
use crate::traces::{Tracer, TracesError};

use admin::AdminListener;
pub use admin::AdminListenerError;
pub use cache_size::CacheSize;
use connections::{GrpcServer, MaxAge};
pub use drain::Drain;
use drain::{Phase, PhaseWatch};
use grpc_health::GrpcHealth;
use incoming::Incoming;
use limits::{CallBounds, Places};
pub use policies::{OpenStore, PolicySource};
use services::ServicesBuilder;
use tls::Protocol;
pub use tls::{Certificates, Reload, TlsError, read_authorities};
use workers::{Dealer, Workers};

mod admin;
mod cache_size;
mod connection;
mod connections;
mod drain;
mod grpc_health;
mod http;
mod incoming;
mod limits;
mod memory_limit;
mod policies;
mod reload;
mod services;
mod socket;
mod tls;
mod workers;

/// The services of the gRPC listener that decide. The last one is served only if it is configured.
const SERVICES: [&str; 2] = ["ecs.authz.v1.AuthorizationService", "envoy.service.auth.v3.Authorization"];

/// What a server is made of.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the policies are.
    pub policies: PolicySource,
    /// Additional table files.
    pub tables: Vec<PathBuf>,
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// The Unix domain socket where gRPC is served, too.
    pub grpc_socket: Option<PathBuf>,
    /// Where health and metrics are served over HTTP.
    pub http_addr: SocketAddr,
    /// What holds where requests do not say otherwise.
    pub defaults: Defaults,
    /// How much memory the cache of policies may take.
    pub cache: CacheSize,
    /// Whether listeners beyond loopback may go without TLS.
    pub exposure: Exposure,
    /// What the configuration file says.
    pub config: Config,
}

/// Where listeners without TLS may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// On loopback addresses only.
    Loopback,
    /// Anywhere: something else protects the traffic.
    Insecure,
}

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A table file can't be read.
    #[error("the table file `{}` can't be read: {cause}", .path.display())]
    TableFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The tables have faults.
    #[error(transparent)]
    Tables(#[from] CatalogError),
    /// The policies have faults.
    #[error(transparent)]
    Policies(#[from] OpenError),
    /// The database can't be used.
    #[error("{}", postgres::causes(.0))]
    Database(#[from] postgres::OpenError),
    /// The directory can't be watched.
    #[error("the policy directory can't be watched for changes")]
    Watch(#[from] notify::Error),
    /// A listener without TLS would be reachable from outside.
    #[error(
        "{0} is not a loopback address, and there is no TLS: configure it, bind to 127.0.0.1, or pass --insecure if \
         something else protects the traffic"
    )]
    Exposed(SocketAddr),
    /// TLS can't be set up.
    #[error("{}", postgres::causes(.0))]
    Tls(#[from] TlsError),
    /// An address can't be bound.
    #[error("can't listen on {addr}: {cause}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A Unix domain socket can't be made.
    #[error("can't listen on `{}`: {cause}", .path.display())]
    Socket {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The threads that serve gRPC can't be started.
    #[error("the threads that serve gRPC can't be started")]
    Workers(#[source] io::Error),
    /// The reflection service can't be built.
    #[error("reflection can't be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The decision log can't be kept.
    #[error(transparent)]
    DecisionLog(#[from] decision_log::OpenError),
    /// Traces can't be made.
    #[error("traces: {0}")]
    Traces(#[from] TracesError),
    /// Policies can't be administered as it is configured.
    #[error("the policy admin service can't be served: {}", postgres::causes(.0))]
    Admin(#[from] AdminListenerError),
}

/// A server that answers.
#[derive(Debug)]
pub struct RunningServer {
    /// Where gRPC is served: the port that was bound.
    pub grpc_addr: SocketAddr,
    /// Whether gRPC is over TLS there.
    pub is_grpc_over_tls: bool,
    /// Where HTTP is served: the port that was bound.
    pub http_addr: SocketAddr,
    /// What is served.
    pub store: OpenStore,
    /// Where policies are administered, if they are: the port that was bound.
    pub admin_addr: Option<SocketAddr>,
    /// What the listeners prove who they are with.
    pub certificates: Certificates,
    /// What is recorded of decisions: to be opened again, and to be counted.
    pub decision_log: DecisionLog,
    /// What sends spans.
    pub tracer: Tracer,
    health: GrpcHealth,
    /// Says how the server is until it stops.
    health_report: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    workers: Workers,
    /// The listeners of gRPC. Each goes on until the server drains.
    listeners: JoinSet<io::Result<()>>,
    /// The listener of HTTP, and what else goes on until the end.
    http: JoinSet<io::Result<()>>,
}

/// Reads table files and builds the catalog from them and the published tables.
///
/// # Errors
///
/// If a file can't be read, or the tables have faults.
pub fn load_catalog(tables: &[PathBuf]) -> Result<Catalog, StartError> {
    let mut sources = Vec::with_capacity(tables.len());
    for path in tables {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| StartError::TableFile { path: path.clone(), cause })?;
        sources.push(Source { file: path.display().to_string(), text });
    }
    Ok(Catalog::with_tables(&sources)?)
}

/// A decision point over a store of policies.
#[must_use]
pub fn compose_pdp(
    catalog: Arc<Catalog>,
    store: Arc<dyn PolicyStore>,
    defaults: Defaults,
    cache_bytes: u64,
) -> Pdp {
    let cache = PolicyCache::new(store, catalog.action_count(), cache_bytes);
    Pdp::new(catalog, cache, defaults)
}

impl RunningServer {
    /// Loads tables and policies, then listens. Nothing is bound before both are there, so nobody is answered from
    /// an empty policy set.
    ///
    /// # Errors
    ///
    /// If tables or policies have faults, or an address can't be bound.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        refuse_exposure(&config)?;
        let catalog = Arc::new(load_catalog(&config.tables)?);
        let store = config.policies.open(catalog.clone()).await?;
        let cache = config.cache.choose();
        tracing::info!("policies are cached in at most {cache}");
        let places = Places::new(&config.config.limits);
        let metrics = Metrics::new(catalog.clone(), grpc::methods()).with_connections(places.slots.clone());
        let pdp = Arc::new(compose_pdp(catalog, store.store(), config.defaults.clone(), cache.bytes));

        let log = config.config.decision_log.as_ref();
        let log = log.map_or(Ok(DecisionLog::off()), |log| DecisionLog::open(log, pdp.catalog()))?;
        let limits = limits::of_decisions(&config.config.limits);
        let tracer = match &config.config.traces {
            Some(traces) => Tracer::start(&traces.collector, traces.sample_ratio)?,
            None => Tracer::off(),
        };
        let decisions = Decisions { pdp: pdp.clone(), log: log.clone(), metrics: metrics.clone(), limits };
        let observe = ObserveCalls { calls: metrics.calls.clone(), tracer: tracer.clone() };
        let Bound { grpc, grpc_addr, socket, http, http_addr, mut certificates } =
            Bound::new(&config).await?;
        let workers = Workers::start(config.config.grpc.workers()).await.map_err(StartError::Workers)?;
        let phase = watch::Sender::new(Phase::Serving);
        let health = GrpcHealth::new(services(&config.config)).await;
        let mut listeners = JoinSet::new();
        let mut admin_addr = None;
        if let Some(admin) = &config.config.admin {
            let (pdp, observe, certificates) = (pdp.clone(), observe.clone(), &mut certificates);
            let admin = (admin, &config.config.limits);
            let admin =
                AdminListener::open(admin, &config.policies, &store, pdp, observe, certificates).await?;
            admin_addr = Some(admin.addr);
            listeners.spawn(admin.serve(PhaseWatch::of(&phase)));
        }
        let max_age = MaxAge::new(&config.config.connections);
        for incoming in [Some(grpc), socket].into_iter().flatten() {
            let incoming = incoming.at_most(places.clone()).dealt_by(workers.dealer().clone());
            let server = grpc_server(decisions.clone(), observe.clone(), &config.config, &health)?;
            listeners.spawn(connections::serve(incoming, server, max_age, PhaseWatch::of(&phase)));
        }
        let sources = sources(&store, &log, &certificates, &phase);
        let health_report = tokio::spawn(health.clone().follow(sources.clone(), PhaseWatch::of(&phase)));
        let counted = metrics::Sources { metrics, pdp, health: sources.clone(), tracer: tracer.clone() };
        let routes = health::routes(sources).merge(metrics::routes(counted));
        let closes = || PhaseWatch::of(&phase).reaches(Phase::Closing);
        let mut http_tasks = JoinSet::new();
        http_tasks.spawn(http::serve(http, routes, PhaseWatch::of(&phase)));
        http_tasks.spawn(certificates.clone().watch(closes()));
        Ok(Self {
            grpc_addr,
            is_grpc_over_tls: config.config.tls.is_some(),
            http_addr,
            store,
            admin_addr,
            certificates,
            decision_log: log,
            tracer,
            health,
            health_report,
            phase,
            workers,
            listeners,
            http: http_tasks,
        })
    }

    /// Waits for a listener or a worker to end by itself, which is a fault.
    pub async fn ended(&mut self) -> io::Error {
        let ended = tokio::select! {
            ended = self.listeners.join_next() => ended,
            ended = self.http.join_next() => ended,
            () = self.workers.lost() => return io::Error::other("a thread that serves gRPC ended"),
        };
        let outcome = ended.map(|ended| ended.map_err(io::Error::other).flatten());
        outcome.and_then(Result::err).unwrap_or_else(|| io::Error::other("a listener ended"))
    }
}

impl RunningServer {
    /// How many connections of gRPC each worker serves, but for those that are told to go.
    #[must_use]
    pub fn connections_by_worker(&self) -> Vec<usize> {
        self.workers.dealer().connections()
    }

    /// What tells that the workers are alive.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse(self.workers.dealer().clone())
    }
}

/// Tells whether the workers of a server are alive.
#[derive(Debug, Clone)]
pub struct Pulse(Dealer);

impl Pulse {
    /// Completes once every worker has had a turn. Where one hangs, that is never.
    pub async fn beat(&self) {
        self.0.round().await;
    }
}

fn refuse_exposure(config: &ServerConfig) -> Result<(), StartError> {
    let Config { admin, tls, http, .. } = &config.config;
    let grpc = (config.grpc_addr, tls.is_some());
    let http = (config.http_addr, http.tls.is_some());
    let admin = admin.as_ref().map(|admin| (admin.addr, admin.tls.is_some()));
    let mut listeners = [grpc, http].into_iter().chain(admin);
    let exposed = listeners.find(|(addr, is_protected)| !is_protected && !addr.ip().is_loopback());
    match (config.exposure, exposed) {
        (Exposure::Loopback, Some((addr, _))) => Err(StartError::Exposed(addr)),
        _ => Ok(()),
    }
}

/// The listeners that every server has, bound and not yet served.
struct Bound {
    grpc: Incoming,
    grpc_addr: SocketAddr,
    socket: Option<Incoming>,
    http: Incoming,
    http_addr: SocketAddr,
    certificates: Certificates,
}

impl Bound {
    async fn new(config: &ServerConfig) -> Result<Self, StartError> {
        let mut certificates = Certificates::default();
        let mut load = |tls: &Option<TlsConfig>, protocol| {
            let tls = tls.clone().map(|tls| certificates.load(tls, ClientAuth::Required, protocol));
            tls.transpose().map_err(StartError::from)
        };
        let tls = load(&config.config.tls, Protocol::Http2)?;
        let (grpc, grpc_addr) = Incoming::on_port(config.grpc_addr, tls).await?;
        let tls = load(&config.config.http.tls, Protocol::Http1)?;
        let (http, http_addr) = Incoming::on_port(config.http_addr, tls).await?;
        let socket = config.grpc_socket.as_deref().map(Incoming::on_socket).transpose()?;
        Ok(Self { grpc, grpc_addr, socket, http, http_addr, certificates })
    }
}

/// What is asked how the server is.
fn sources(
    store: &OpenStore,
    log: &DecisionLog,
    certificates: &Certificates,
    phase: &watch::Sender<Phase>,
) -> health::Sources {
    let (certificates, phase) = (certificates.clone(), PhaseWatch::of(phase));
    health::Sources {
        store: store.store(),
        decision_log: log.clone(),
        certificates: Arc::new(move || certificates.faults()),
        is_stopping: Arc::new(move || phase.is_stopping()),
    }
}

/// What decides, what keeps a record of it, and what counts.
#[derive(Clone)]
struct Decisions {
    pdp: Arc<Pdp>,
    log: DecisionLog,
    metrics: Metrics,
    limits: CallLimits,
}

/// The services of the gRPC listener that decide, if they are configured.
fn services(config: &Config) -> impl Iterator<Item = &'static str> {
    SERVICES.into_iter().take(if config.ext_authz.is_some() { 2 } else { 1 })
}

/// What the gRPC listener serves.
fn grpc_server(
    decisions: Decisions,
    observe: ObserveCalls,
    config: &Config,
    health: &GrpcHealth,
) -> Result<GrpcServer, StartError> {
    let Config { ext_authz, callers, .. } = config.clone();
    let Decisions { pdp, log, metrics, limits } = decisions;
    let served: Vec<&str> = services(config).chain(["grpc.health.v1.Health"]).collect();
    let named = |names: Option<BTreeSet<String>>| Callers::new(names.map(ClientNames::from_iter));
    let authorize = Authorize::service(pdp.clone(), log.clone(), metrics.decisions.clone(), limits.clone());
    let authorize = Admitted::new(authorize, named(callers.authorization_service));
    let mut services = ServicesBuilder::new().with(authorize);
    if let Some(config) = ext_authz {
        let service = ExtAuthz::new(pdp, log, metrics.decisions.clone(), config, limits).into_service();
        services = services.with(Admitted::new(service, named(callers.ext_authz)));
    }
    let services = services
        .with(health.service())
        // Clients of both generations: grpcurl speaks v1, older tools v1alpha alone.
        .with(reflection(&served).build_v1()?)
        .with(reflection(&served).build_v1alpha()?);
    let bounds = CallBounds::of_decisions(&config.limits);
    Ok(GrpcServer::new(&config.limits, bounds, observe, services))
}

/// Tells clients of these services.
fn reflection(services: &[&str]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that clients can show the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    services.iter().fold(builder, |builder, service| builder.with_service_name(*service))
}
