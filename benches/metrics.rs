//! What is noted of a call costs this much: `cargo bench --bench metrics`, a minute. `Authorize` over gRPC, with nothing noted, with
//! calls counted, and with records of decisions and spans besides, in turns; and what counting a decision takes.
#![expect(clippy::print_stderr, reason = "what is not measured is told where it is run")]

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::decision_log::{DecisionLog, DecisionLogConfig};
use ecs_authz::grpc::authorize::Authorize;
use ecs_authz::grpc::limits::CallLimits;
use ecs_authz::grpc::observe::ObserveCalls;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::grpc::{self, pb};
use ecs_authz::metrics::Metrics;
use ecs_authz::otlp::CollectorConfig;
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{PrincipalParts, Request, RequestParts};
use ecs_authz::server::compose_pdp;
use ecs_authz::slots::Slots;
use ecs_authz::store::directory::DirectoryStore;
use ecs_authz::traces::{Ratio, Tracer};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

#[path = "decision/median.rs"]
mod median;

use median::median;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 15;
const CALLS: usize = 10_000;
const STREAMS: usize = 25;
const DECISIONS: u32 = 10_000_000;
const PATH: &str = "/v2.1/eu-de-prod/servers/7/action";
/// The threads whose time is a server's: its own, and those that write and send.
const THREADS: [&str; 4] = ["server", "decision-log", "otlp", "traces"];

/// What is noted of calls. Decisions are counted, always.
#[derive(Debug, Clone)]
struct Notes {
    name: &'static str,
    /// Counts and traces, if calls are.
    observe: Option<ObserveCalls>,
    log: DecisionLog,
}

/// A server on a thread of its own, and a client of it.
struct Measured {
    name: &'static str,
    client: AuthorizationServiceClient<Channel>,
}

impl Measured {
    async fn start(pdp: Arc<Pdp>, metrics: &Metrics, notes: Notes) -> Outcome<Self> {
        let limits = CallLimits {
            max_message_bytes: 1_024 * 1_024,
            budget: Duration::from_secs(2),
            decisions: Arc::new(Slots::new(4_096)),
        };
        let service = Authorize::service(pdp, notes.log, metrics.decisions.clone(), limits);
        let (tell, told) = mpsc::channel();
        thread::Builder::new().name("server".to_owned()).spawn(move || -> Outcome<()> {
            one_thread()?.block_on(async {
                let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
                tell.send(incoming.local_addr()?)?;
                let served = match notes.observe {
                    Some(observe) => {
                        let router = Server::builder().layer(observe).add_service(service);
                        router.serve_with_incoming(incoming).await
                    }
                    None => Server::builder().add_service(service).serve_with_incoming(incoming).await,
                };
                Ok(served?)
            })
        })?;
        let addr = told.recv()?;
        let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self { name: notes.name, client: AuthorizationServiceClient::new(channel) })
    }

    /// What the server runs for one call.
    async fn round(&self) -> Outcome<f64> {
        let before = processor_time()?;
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let mut client = self.client.clone();
            streams.spawn(async move {
                for _ in 0..CALLS / STREAMS {
                    client.authorize(message()).await?;
                }
                Ok::<(), Status>(())
            });
        }
        while let Some(ended) = streams.join_next().await {
            ended??;
        }
        // What is written later belongs to this round, too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let took = processor_time()? - before;
        Ok(took.as_secs_f64() * 1e6 / f64::from(u32::try_from(CALLS)?))
    }
}

/// What the threads of the servers have run until now. One of the servers has calls at a time.
fn processor_time() -> Outcome<Duration> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?;
        if THREADS.contains(&name.trim()) {
            let times = fs::read_to_string(task.join("schedstat"))?;
            sum += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(sum))
}

/// Takes everything and keeps nothing.
struct Sinkhole;

#[tonic::async_trait]
impl LogsService for Sinkhole {
    async fn export(
        &self,
        _records: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        Ok(tonic::Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Sinkhole {
    async fn export(
        &self,
        _spans: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        Ok(tonic::Response::new(Default::default()))
    }
}

/// A collector, on a thread whose time is not measured.
fn collector() -> Outcome<SocketAddr> {
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("collector".to_owned()).spawn(move || -> Outcome<()> {
        one_thread()?.block_on(async {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
            tell.send(incoming.local_addr()?)?;
            let logs = LogsServiceServer::new(Sinkhole);
            let router = Server::builder().add_service(logs).add_service(TraceServiceServer::new(Sinkhole));
            Ok(router.serve_with_incoming(incoming).await?)
        })
    })?;
    Ok(told.recv()?)
}

fn one_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn message() -> pb::AuthorizeRequest {
    let principal = pb::Principal {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "eu-de-prod".into(),
        ..Default::default()
    };
    pb::AuthorizeRequest {
        principal: Some(principal),
        method: "POST".into(),
        path: PATH.into(),
        body: Some(pb::BodySummary { top_level_keys: vec!["os-stop".into()], ..Default::default() }),
        ..Default::default()
    }
}

/// What counting one decision takes, in microseconds.
async fn decided(pdp: &Pdp, metrics: &Metrics) -> Outcome<f64> {
    let principal = PrincipalParts {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "eu-de-prod".into(),
        ..Default::default()
    };
    let body = Body::Content { bytes: br#"{"os-stop":null}"#.to_vec(), truncated: false };
    let parts =
        RequestParts { principal, method: "POST".into(), path: PATH.into(), body, ..Default::default() };
    let request = Request::new(parts)?;
    let response = pdp.decide(&request).await?;
    let began = Instant::now();
    for _ in 0..DECISIONS {
        metrics.decisions.decided(black_box(&response));
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS))
}

fn main() -> Outcome<()> {
    // `cargo test --all-targets` runs benches too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without --bench: run cargo bench --bench metrics");
        return Ok(());
    }
    one_thread()?.block_on(measure())
}

/// What is noted, from nothing on.
fn all_notes(catalog: &Catalog, metrics: &Metrics, folder: &Path) -> Outcome<Vec<Notes>> {
    let endpoint = format!("http://{}", collector()?);
    let log = |text: String| -> Outcome<DecisionLog> {
        Ok(DecisionLog::open(&toml::from_str::<DecisionLogConfig>(&text)?, catalog)?)
    };
    let file = log(format!("file = {{ path = '{}' }}", folder.join("decisions.log").display()))?;
    let otlp = log(format!("otlp = {{ collector = {{ endpoint = '{endpoint}' }} }}"))?;
    let to = CollectorConfig { endpoint: Some(endpoint), ..Default::default() };
    let traced = |ratio: f64| -> Outcome<Tracer> { Ok(Tracer::start(&to, Some(Ratio::try_from(ratio)?))?) };
    let observed = |tracer: Tracer| Some(ObserveCalls { calls: metrics.calls.clone(), tracer });
    let off = DecisionLog::off;
    Ok(vec![
        Notes { name: "nothing", observe: None, log: off() },
        Notes { name: "calls counted", observe: observed(Tracer::off()), log: off() },
        Notes { name: "and records in a file", observe: observed(Tracer::off()), log: file },
        Notes { name: "and records by OTLP", observe: observed(Tracer::off()), log: otlp },
        Notes { name: "and a hundredth traced", observe: observed(traced(0.01)?), log: off() },
        Notes { name: "and all traced", observe: observed(traced(1.0)?), log: off() },
    ])
}

async fn measure() -> Outcome<()> {
    let catalog = Arc::new(Catalog::published()?);
    let metrics = Metrics::new(catalog.clone(), grpc::methods());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example");
    let store = Arc::new(DirectoryStore::open(example, catalog.clone())?);
    let pdp = Arc::new(compose_pdp(catalog.clone(), store, Defaults::default(), 1 << 20));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut servers = Vec::new();
    for notes in all_notes(&catalog, &metrics, folder.path())? {
        servers.push((Measured::start(pdp.clone(), &metrics, notes).await?, Vec::new()));
    }
    for round in 0..=ROUNDS {
        for (server, times) in &mut servers {
            let time = server.round().await?;
            // The first one warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }
    let decision = decided(&pdp, &metrics).await?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "server's processor time of a call, {ROUNDS} rounds of {CALLS}, {STREAMS} at a time, medians, and of the ratios:"
    )?;
    let bare = servers.first().map(|(_, times)| times.clone()).unwrap_or_default();
    for (server, times) in servers {
        let ratios = times.iter().zip(&bare).map(|(time, bare)| time / bare).collect();
        writeln!(out, "{:24} {:8.3} µs {:8.3}", server.name, median(times), median(ratios))?;
    }
    let share = 100.0 * decision / median(bare);
    writeln!(out, "a decision counted       {decision:8.4} µs, of a call {share:.2} %")?;
    Ok(())
}
