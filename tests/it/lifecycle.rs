//! From ready to the end: what signals make a server do, and how connections come and go. Steps follow what is seen, never
//! the clock: where a phase ends by time, that time is made longer than any test.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use ecs_authz::grpc::pb;
use libtest_mimic::Trial;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use crate::envoy::GRANTS;
use crate::serving::{Log, Serving};
use crate::support::{Client, PolicyDir};

mod age;
mod drain;
mod health;
mod log;
mod reload;
mod signals;
mod systemd;
mod through_envoy;
mod workers;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        age::trials(),
        drain::trials(),
        health::trials(),
        log::trials(),
        reload::trials(),
        signals::trials(),
        systemd::trials(),
        through_envoy::trials(),
        workers::trials(),
    ];
    trials.into_iter().flatten().collect()
}

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for what comes soon.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A connection of its own.
async fn connect(addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
    within("a connection", endpoint.connect()).await.expect("a connection")
}

/// Gets a decision on what alice may.
async fn decide(channel: &Channel) -> Result<(), Status> {
    assert_eq!(ask(channel).await?, pb::Decision::Allow);
    Ok(())
}

/// Asks for a decision on what alice may, by the policies of the tests.
async fn ask(channel: &Channel) -> Result<pb::Decision, Status> {
    let request = pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            project_id: "prod".into(),
            ..Default::default()
        }),
        method: "GET".into(),
        path: "/v2.1/prod/servers/7".into(),
        ..Default::default()
    };
    Ok(Client::new(channel.clone()).authorize(request).await?.into_inner().decision())
}

/// A call that goes on until its caller ends it.
struct OpenCall {
    requests: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
}

impl OpenCall {
    async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).await.expect("a call")
    }

    async fn try_open(addr: SocketAddr) -> Result<Self, Status> {
        let (requests, stream) = mpsc::channel(1);
        let mut client = ServerReflectionClient::new(connect(addr).await);
        let answers = client.server_reflection_info(ReceiverStream::new(stream));
        let mut call = Self { requests, answers: within("a call", answers).await?.into_inner() };
        call.ask().await?;
        Ok(call)
    }

    async fn ask(&mut self) -> Result<(), Status> {
        let ask = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
        // A call that is over says so in its answer.
        let _over = self.requests.send(request).await;
        let answer = within("an answer", self.answers.message()).await?;
        answer.map(drop).ok_or_else(|| Status::cancelled("it ended"))
    }

    /// Asks something and gets an answer.
    async fn goes_on(&mut self) {
        self.ask().await.expect("an answer");
    }

    /// Waits until the server cuts it.
    async fn is_cut(&mut self) {
        within("the cut", self.answers.message()).await.expect_err("an error");
    }
}

/// The program, serving policies by which alice may everything in `prod`.
struct Program {
    serving: Serving,
    log: Log,
    grpc: SocketAddr,
    http: SocketAddr,
    policies: PolicyDir,
    files: PolicyDir,
}

impl Program {
    fn start(configuration: &str) -> Self {
        Self::start_in(PolicyDir::new(), configuration, &[])
    }

    /// Starts it with this configuration in a folder.
    fn start_in(files: PolicyDir, configuration: &str, environment: &[(&str, &str)]) -> Self {
        files.write("config.toml", configuration);
        let (policies, config) = (PolicyDir::acme(&[], GRANTS), files.path().join("config.toml"));
        let args = ["--policies", policies.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
        let mut serving = Serving::start(&args, environment);
        let mut log = serving.follow_log();
        let line = log.await_line("http_addr=");
        let http = line.split("http_addr=").nth(1).and_then(|rest| rest.split(' ').next());
        let ready = serving.await_ready();
        let grpc = ready.trim_start_matches("ready on ").split(',').next();
        Self {
            http: http.unwrap().parse().unwrap(),
            grpc: grpc.unwrap().trim().parse().unwrap(),
            serving,
            log,
            policies,
            files,
        }
    }
}
