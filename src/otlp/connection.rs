//! A collector: checked when the server starts, connected when something is sent.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::config::{CollectorConfig, OtlpError, Signal};
use super::environment::{self, Environment};
use super::pb::collector::logs::v1::ExportLogsServiceRequest;
use super::pb::collector::logs::v1::logs_service_client::LogsServiceClient;
use super::pb::collector::trace::v1::ExportTraceServiceRequest;
use super::pb::collector::trace::v1::trace_service_client::TraceServiceClient;
use super::pb::common::v1::InstrumentationScope;
use super::pb::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use super::pb::resource::v1::Resource;
use super::pb::trace::v1::{ResourceSpans, ScopeSpans, Span};
use super::value::attribute;

/// What we are called where nothing says otherwise.
const SERVICE_NAME: &str = "ecs-authz";

/// A collector, and what is told to it of this process.
#[derive(Debug, Clone)]
pub struct Destination {
    endpoint: Endpoint,
    /// Each marked as sensitive, so that `Debug` does not show it.
    headers: MetadataMap,
    resource: Resource,
}

/// A connection to a collector. It is made when something is sent, and again when it is lost.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    destination: Destination,
}

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It may arrive later.
    #[error("{}", told(.status))]
    Retry {
        /// What was answered, or found out.
        status: Status,
        /// The collector asks to wait for so long.
        after: Option<Duration>,
    },
    /// The collector does not want it.
    #[error("{}", told(.0))]
    Refused(Status),
}

/// The code and the message of a status: its `Display` would tell its metadata too.
fn told(status: &Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

impl ExportError {
    /// How long the collector asks to be waited for, if it does.
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Retry { after, .. } => *after,
            Self::Refused(_) => None,
        }
    }
}

impl Destination {
    /// The collector that the configuration and the process's environment describe.
    ///
    /// # Errors
    ///
    /// If they don't describe one.
    pub fn open(config: &CollectorConfig, signal: Signal) -> Result<Self, OtlpError> {
        Self::with(config, signal, &Environment::new(&environment::of_process))
    }

    fn with(
        config: &CollectorConfig,
        signal: Signal,
        environment: &Environment<'_>,
    ) -> Result<Self, OtlpError> {
        let text = match &config.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => environment.endpoint(signal)?.ok_or(OtlpError::NoEndpoint)?,
        };
        let fault = || OtlpError::Endpoint;
        let uri: Uri = text.parse().map_err(|_| fault())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(fault()),
        };
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        let authority = uri.authority().filter(|it| !has_path && !it.as_str().contains('@'));
        let host = authority.ok_or_else(fault)?.host().to_owned();
        if !is_tls && !config.header_files.is_empty() && !is_loopback(&host) {
            return Err(OtlpError::Exposed);
        }
        let endpoint = Endpoint::from(uri).user_agent(concat!("ecs-authz/", env!("CARGO_PKG_VERSION")));
        let timeout = Duration::from_millis(config.timeout_ms);
        let endpoint = endpoint.map_err(|_| fault())?.timeout(timeout).connect_timeout(timeout);
        let endpoint =
            if is_tls { endpoint.tls_config(tls(config)?).map_err(OtlpError::Tls)? } else { endpoint };
        let headers = headers(config, environment.headers(signal)?)?;
        Ok(Self { endpoint, headers, resource: resource(environment.resource()?) })
    }

    /// A connection to it. Call it on a runtime.
    #[must_use]
    pub fn connect(self) -> Connection {
        Connection { channel: self.endpoint.connect_lazy(), destination: self }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|addr: IpAddr| addr.is_loopback())
}

fn tls(config: &CollectorConfig) -> Result<ClientTlsConfig, OtlpError> {
    let Some(path) = &config.ca else { return Ok(ClientTlsConfig::new().with_native_roots()) };
    let pem = fs::read(path).map_err(|cause| OtlpError::File { path: path.clone(), cause })?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// Those of the configuration replace those of the environment.
fn headers(
    config: &CollectorConfig,
    of_environment: Vec<(String, String)>,
) -> Result<MetadataMap, OtlpError> {
    let mut headers = MetadataMap::new();
    let mut insert = |name: &str, value: &str| {
        let key = MetadataKey::from_bytes(name.as_bytes()).ok();
        let parsed: Option<MetadataValue<_>> = value.parse().ok();
        let fault = || OtlpError::Header(name.to_owned());
        let (key, mut value) = key.zip(parsed).ok_or_else(fault)?;
        value.set_sensitive(true);
        headers.insert(key, value);
        Ok(())
    };
    for (name, value) in &of_environment {
        insert(name, value)?;
    }
    for (name, value) in &config.headers {
        insert(name, value)?;
    }
    for (name, path) in &config.header_files {
        let value = fs::read_to_string(path);
        let value = value.map_err(|cause| OtlpError::File { path: path.clone(), cause })?;
        insert(name, value.trim_end())?;
    }
    Ok(headers)
}

fn resource(of_environment: Vec<(String, String)>) -> Resource {
    let own = [
        ("service.name", SERVICE_NAME.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", Uuid::now_v7().to_string()),
    ];
    let is_told = |name: &str| of_environment.iter().any(|(told, _)| told == name);
    let own = own.into_iter().filter(|(name, _)| !is_told(name));
    let own: Vec<_> = own.map(|(name, value)| attribute(name, value)).collect();
    let told = of_environment.into_iter().map(|(name, value)| attribute(name, value));
    Resource { attributes: own.into_iter().chain(told).collect() }
}

fn scope() -> Option<InstrumentationScope> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Some(InstrumentationScope { name: SERVICE_NAME.to_owned(), version })
}

impl Connection {
    /// Sends spans. How many of them the collector did not take.
    ///
    /// # Errors
    ///
    /// If none arrived.
    pub async fn export_spans(&self, spans: Vec<Span>) -> Result<u64, ExportError> {
        let scope_spans = vec![ScopeSpans { scope: scope(), spans }];
        let resource = Some(self.destination.resource.clone());
        let message =
            ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        let mut client = TraceServiceClient::new(self.channel.clone());
        let answer = client.export(self.request(message)).await.map_err(ExportError::from)?;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        Ok(rejected(partial.rejected_spans, &partial.error_message))
    }

    /// Sends log records. How many of them the collector did not take.
    ///
    /// # Errors
    ///
    /// If none arrived.
    pub async fn export_logs(&self, log_records: Vec<LogRecord>) -> Result<u64, ExportError> {
        let scope_logs = vec![ScopeLogs { scope: scope(), log_records }];
        let resource = Some(self.destination.resource.clone());
        let message = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] };
        let mut client = LogsServiceClient::new(self.channel.clone());
        let answer = client.export(self.request(message)).await.map_err(ExportError::from)?;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        Ok(rejected(partial.rejected_log_records, &partial.error_message))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.destination.headers.clone();
        request
    }
}

/// The most of what a collector says that is logged.
const MAX_SAID_CHARACTERS: usize = 256;

/// A collector that took everything may have something to say all the same.
fn rejected(count: i64, message: &str) -> u64 {
    if count > 0 || !message.is_empty() {
        let says: String = message.chars().take(MAX_SAID_CHARACTERS).collect();
        tracing::warn!(rejected = count, says, "the collector did not take everything");
    }
    u64::try_from(count).unwrap_or_default()
}

impl From<Status> for ExportError {
    /// Which codes may be tried again: OTLP Specification, OTLP/gRPC, Failures.
    fn from(status: Status) -> Self {
        let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Self::Retry { status, after },
            Code::ResourceExhausted if after.is_some() => Self::Retry { status, after },
            // What broke on the way here is not the collector's word.
            Code::Unknown if std::error::Error::source(&status).is_some() => Self::Retry { status, after },
            _ => Self::Refused(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, variables: &[(&str, &str)]) -> Result<Destination, OtlpError> {
        let look_up = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = toml::from_str(text).unwrap();
        Destination::with(&config, Signal::Traces, &Environment::new(&look_up))
    }

    #[test]
    fn endpoints_are_a_scheme_a_host_and_a_port() {
        for endpoint in ["http://127.0.0.1:4317", "https://collector.example:4317", "http://[::1]:4317/"] {
            assert!(open(&format!("endpoint = '{endpoint}'"), &[]).is_ok(), "{endpoint}");
        }
        for endpoint in
            ["", "collector:4317", "127.0.0.1:4317", "unix:///s", "http://c/v1/traces", "http://u:p@c"]
        {
            let error = open(&format!("endpoint = '{endpoint}'"), &[]).unwrap_err().to_string();
            assert!(error.starts_with("expected an endpoint such as"), "{endpoint}: {error}");
        }
        assert!(matches!(open("", &[]), Err(OtlpError::NoEndpoint)));
        assert!(open("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]).is_ok());
    }

    #[test]
    fn secrets_are_sent_over_tls_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "Bearer s3cret\n").unwrap();
        let with = |endpoint: &str| {
            let files = format!("header_files = {{ authorization = '{}' }}", file.path().display());
            open(&format!("endpoint = '{endpoint}'\n{files}"), &[])
        };
        assert!(matches!(with("http://collector.example:4317"), Err(OtlpError::Exposed)));
        for endpoint in [
            "https://collector.example:4317",
            "http://127.0.0.1:4317",
            "http://[::1]:1",
            "http://localhost:1",
        ] {
            let opened = with(endpoint).unwrap();
            let shown = format!("{opened:?} {:?}", opened.request_headers());
            assert!(!shown.contains("s3cret"), "{shown}");
            assert_eq!(opened.headers.get("authorization").unwrap().to_str().unwrap(), "Bearer s3cret");
        }
    }

    impl Destination {
        fn request_headers(&self) -> Request<()> {
            let mut request = Request::new(());
            *request.metadata_mut() = self.headers.clone();
            request
        }
    }

    #[test]
    fn the_configurations_headers_go_before_the_environments() {
        let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2")];
        let opened = open("endpoint = 'http://c:1'\nheaders = { b = '3' }", &variables).unwrap();
        let of = |name: &str| opened.headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!((of("a"), of("b")), ("1".to_owned(), "3".to_owned()));
        assert!(matches!(
            open("endpoint = 'http://c:1'\nheaders = { 'a b' = '3' }", &[]),
            Err(OtlpError::Header(_))
        ));
    }

    #[test]
    fn what_the_collector_refuses_is_not_sent_again() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled] {
            assert!(matches!(ExportError::from(Status::new(code, "")), ExportError::Retry { .. }), "{code}");
        }
        for code in
            [Code::InvalidArgument, Code::Unauthenticated, Code::Unimplemented, Code::ResourceExhausted]
        {
            assert!(matches!(ExportError::from(Status::new(code, "")), ExportError::Refused(_)), "{code}");
        }
    }
}
