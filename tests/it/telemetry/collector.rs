//! A collector of the tests: takes OTLP with OpenTelemetry's own messages, and does with it what a test asks for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// What it does with a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    Take,
    /// Answers this code.
    Fail(Code),
    /// Takes all but one.
    TakeAllButOne,
    /// Never answers.
    Hang,
}

#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    records: Vec<LogRecord>,
    resources: Vec<Resource>,
    headers: Vec<MetadataMap>,
    batches: usize,
}

/// A running collector. It ends with this.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    pub(super) addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    manner: Mutex<Manner>,
    taken: Mutex<Taken>,
}

impl Collector {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::start_with(manner, Server::builder()).await
    }

    pub(super) async fn start_over_tls((certificate, key): &(String, String)) -> Self {
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::start_with(Manner::Take, Server::builder().tls_config(tls).unwrap()).await
    }

    async fn start_with(manner: Manner, mut server: Server) -> Self {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = incoming.local_addr().unwrap();
        let state = Arc::new(State { manner: Mutex::new(manner), taken: Mutex::default() });
        let collector = Self { addr, state };
        let (logs, traces) =
            (LogsServiceServer::new(collector.clone()), TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.add_service(logs).add_service(traces).serve_with_incoming(incoming));
        collector
    }

    pub(super) fn change(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.state.taken.lock().unwrap().spans.clone()
    }

    pub(super) fn records(&self) -> Vec<LogRecord> {
        self.state.taken.lock().unwrap().records.clone()
    }

    pub(super) fn resources(&self) -> Vec<Resource> {
        self.state.taken.lock().unwrap().resources.clone()
    }

    pub(super) fn headers(&self) -> Vec<MetadataMap> {
        self.state.taken.lock().unwrap().headers.clone()
    }

    /// How many batches came, taken or not.
    pub(super) fn batches(&self) -> usize {
        self.state.taken.lock().unwrap().batches
    }

    /// How many of a batch are rejected.
    async fn receive(&self, headers: &MetadataMap, take: impl FnOnce(&mut Taken)) -> Result<i64, Status> {
        self.state.taken.lock().unwrap().batches += 1;
        let manner = *self.state.manner.lock().unwrap();
        let rejected = match manner {
            Manner::Take => 0,
            Manner::TakeAllButOne => 1,
            Manner::Fail(code) => return Err(Status::new(code, "as the test asks")),
            Manner::Hang => std::future::pending().await,
        };
        let mut taken = self.state.taken.lock().unwrap();
        taken.headers.push(headers.clone());
        take(&mut taken);
        Ok(rejected)
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (headers, _, message) = request.into_parts();
        let rejected_spans = self
            .receive(&headers, |taken| {
                for of_resource in message.resource_spans {
                    taken.resources.extend(of_resource.resource);
                    let of_scopes = of_resource.scope_spans.into_iter();
                    taken.spans.extend(of_scopes.flat_map(|of_scope| of_scope.spans));
                }
            })
            .await?;
        let partial_success = (rejected_spans > 0)
            .then(|| ExportTracePartialSuccess { rejected_spans, error_message: "one is too many".into() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (headers, _, message) = request.into_parts();
        let rejected_log_records = self
            .receive(&headers, |taken| {
                for of_resource in message.resource_logs {
                    taken.resources.extend(of_resource.resource);
                    let of_scopes = of_resource.scope_logs.into_iter();
                    taken.records.extend(of_scopes.flat_map(|of_scope| of_scope.log_records));
                }
            })
            .await?;
        let partial_success = (rejected_log_records > 0).then(|| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message: "one is too many".into(),
        });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}
