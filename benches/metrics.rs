//! What counting costs: `cargo bench --bench metrics`, half a minute. `Authorize` over gRPC on one thread, with the calls
//! counted and without, in turns; and what counting a decision takes besides.
#![expect(clippy::print_stderr, reason = "what is not measured is told where it is run")]

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ecs_authz::catalog::{Body, Catalog};
use ecs_authz::decision_log::DecisionLog;
use ecs_authz::grpc::authorize::Authorize;
use ecs_authz::grpc::limits::CallLimits;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use ecs_authz::grpc::{self, pb};
use ecs_authz::metrics::{CountCalls, Metrics};
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{PrincipalParts, Request, RequestParts};
use ecs_authz::server::compose_pdp;
use ecs_authz::slots::Slots;
use ecs_authz::store::directory::DirectoryStore;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 15;
const CALLS: usize = 20_000;
const STREAMS: usize = 25;
const DECISIONS: u32 = 10_000_000;
const PATH: &str = "/v2.1/eu-de-prod/servers/7/action";

/// Whether calls are counted. Decisions are, always.
#[derive(Debug, Clone, Copy)]
enum Calls {
    Counted,
    Uncounted,
}

/// A server on a thread of its own, and a client of it.
struct Measured {
    thread: PathBuf,
    client: AuthorizationServiceClient<Channel>,
}

impl Measured {
    async fn start(pdp: Arc<Pdp>, metrics: &Metrics, calls: Calls) -> Outcome<Self> {
        let limits = CallLimits {
            max_message_bytes: 1_024 * 1_024,
            budget: Duration::from_secs(2),
            decisions: Arc::new(Slots::new(4_096)),
        };
        let service = Authorize::service(pdp, DecisionLog::off(), metrics.decisions.clone(), limits);
        let count = CountCalls(metrics.calls.clone());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || -> Outcome<()> {
            one_thread()?.block_on(async {
                let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
                tell.send((incoming.local_addr()?, fs::read_link("/proc/thread-self")?))?;
                let served = match calls {
                    Calls::Counted => {
                        let router = Server::builder().layer(count).add_service(service);
                        router.serve_with_incoming(incoming).await
                    }
                    Calls::Uncounted => {
                        Server::builder().add_service(service).serve_with_incoming(incoming).await
                    }
                };
                Ok(served?)
            })
        });
        let (addr, thread) = told.recv()?;
        let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self { thread: Path::new("/proc").join(thread), client: AuthorizationServiceClient::new(channel) })
    }

    /// What the server's thread has run until now.
    fn processor_time(&self) -> Outcome<Duration> {
        let times = fs::read_to_string(self.thread.join("schedstat"))?;
        Ok(Duration::from_nanos(times.split(' ').next().unwrap_or_default().parse()?))
    }

    /// What the server runs for one call.
    async fn round(&self) -> Outcome<f64> {
        let before = self.processor_time()?;
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let mut client = self.client.clone();
            streams.spawn(async move {
                for _ in 0..CALLS / STREAMS {
                    client.authorize(message()).await?;
                }
                Ok::<(), tonic::Status>(())
            });
        }
        while let Some(ended) = streams.join_next().await {
            ended??;
        }
        let took = self.processor_time()? - before;
        Ok(took.as_secs_f64() * 1e6 / f64::from(u32::try_from(CALLS)?))
    }
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() -> Outcome<()> {
    // `cargo test --all-targets` runs benches too, without the argument.
    if !env::args().any(|argument| argument == "--bench") {
        eprintln!("nothing is measured without --bench: run cargo bench --bench metrics");
        return Ok(());
    }
    one_thread()?.block_on(measure())
}

async fn measure() -> Outcome<()> {
    let catalog = Arc::new(Catalog::published()?);
    let metrics = Metrics::new(catalog.clone(), grpc::methods());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/example");
    let store = Arc::new(DirectoryStore::open(example, catalog.clone())?);
    let pdp = Arc::new(compose_pdp(catalog, store, Defaults::default(), 1 << 20));
    let counted = Measured::start(pdp.clone(), &metrics, Calls::Counted).await?;
    let uncounted = Measured::start(pdp.clone(), &metrics, Calls::Uncounted).await?;
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (one, other) = (counted.round().await?, uncounted.round().await?);
        // The first one warms up.
        if round > 0 {
            with.push(one);
            without.push(other);
            ratios.push(one / other);
        }
    }
    let (without, decision) = (median(without), decided(&pdp, &metrics).await?);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "server's processor time of a call, {ROUNDS} rounds of {CALLS}, {STREAMS} at a time, medians:"
    )?;
    writeln!(out, "calls counted      {:8.3} µs", median(with))?;
    writeln!(out, "calls not counted  {without:8.3} µs")?;
    writeln!(out, "ratio              {:8.3}", median(ratios))?;
    writeln!(out, "a decision counted {decision:8.4} µs, of the call {:.2} %", 100.0 * decision / without)?;
    Ok(())
}
