//! Through a real Envoy that makes traces, and through a real OpenTelemetry Collector.
//!
//! `scripts/test` installs both. Without one, its test is reported as ignored.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::{env, fs};

use ecs_authz::config::{Config, TracesConfig};
use ecs_authz::grpc::pb;
use ecs_authz::otlp::CollectorConfig;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::collector::{Collector, Manner};
use super::{PARENT, PATIENCE, SAMPLED, TRACE, action, hex, serve, texts, with};
use crate::edge::{Edge, PATIENT, envoy, until};
use crate::envoy::{GRANTS, NOBODY, SHIPPED_SERVICE, alice};
use crate::support::{PolicyDir, block_on, client, config, trials};

pub(super) fn trials() -> Vec<Trial> {
    let on_envoy = trials![a_trace_goes_on_through_envoy, without_traces_of_envoy_its_clients_goes_on];
    let on_envoy = on_envoy.into_iter().map(|trial| trial.with_ignored_flag(envoy().is_none()));
    let on_collector = trials![a_real_collector_understands_all_of_it];
    let on_collector = on_collector.into_iter().map(|trial| trial.with_ignored_flag(otelcol().is_none()));
    on_envoy.chain(on_collector).collect()
}

/// The path of the collector to test with, if there is one.
fn otelcol() -> Option<String> {
    env::var("ECS_AUTHZ_OTELCOL").ok()
}

const TRACING: &str = r#"stat_prefix: edge
          tracing:
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {envoy_grpc: {cluster_name: collector}, timeout: 30s}
                service_name: envoy
"#;
const CLUSTER: &str = r#"  clusters:
  - name: collector
    type: STATIC
    load_assignment:
      cluster_name: collector
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: "127.0.0.1", port_value: PORT}}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#;

/// The service with the shipped configuration, which traces to this collector those calls alone whose callers ask for it.
async fn service(policies: &PolicyDir, collector: &Collector) -> RunningServer {
    let endpoint = Some(format!("http://{}", collector.addr));
    let traces = TracesConfig {
        sample_ratio: Some(0.0.try_into().unwrap()),
        collector: CollectorConfig { endpoint, ..Default::default() },
    };
    let of_file = Config { traces: Some(traces), ..Config::load(SHIPPED_SERVICE.as_ref()).unwrap() };
    RunningServer::start(ServerConfig { config: of_file, ..config(policies.path()) }).await.unwrap()
}

/// One request of alice's with a trace.
async fn send(edge: &Edge) {
    let authorization = alice();
    let headers = [("authorization", authorization.as_str()), ("traceparent", SAMPLED)];
    let answer = edge.send("GET", "/v2.1/prod/servers/traced", &headers, b"").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn is_ours(span: &Span) -> bool {
    span.name == "envoy.service.auth.v3.Authorization/Check"
        && texts(&span.attributes).contains_key("ecs_authz.decision")
}

fn a_trace_goes_on_through_envoy() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Take).await, PolicyDir::acme(&[], GRANTS));
        let service = service(&policies, &collector).await;
        let cluster = CLUSTER.replace("PORT", &collector.addr.port().to_string());
        let edits = [PATIENT[0], PATIENT[1], ("stat_prefix: edge\n", TRACING), ("  clusters:\n", &cluster)];
        let edge = Edge::start_edited([service.grpc_addr.port(), NOBODY], &edits).await;
        send(&edge).await;
        let is_whole = async || {
            let spans = collector.spans();
            let Some(ours) = spans.iter().find(|span| is_ours(span)) else { return false };
            spans.iter().any(|span| span.span_id == ours.parent_span_id)
        };
        until("our span and Envoy's are there", is_whole).await;
        let spans = collector.spans();
        let ours = spans.iter().find(|span| is_ours(span)).unwrap();
        let parent = spans.iter().find(|span| span.span_id == ours.parent_span_id).unwrap();
        assert_eq!((hex(&ours.trace_id), hex(&parent.trace_id)), (TRACE.to_owned(), TRACE.to_owned()));
        // Envoy's span of its call to us, which is not the client's own.
        assert_ne!(hex(&ours.parent_span_id), PARENT);
        assert_eq!(parent.name, "async envoy.service.auth.v3.Authorization.Check egress");
        // Its probes of our health have no spans.
        service.stop(PATIENCE).await.unwrap();
        let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
        assert!(!names.iter().any(|name| name.contains("grpc.health")), "{names:?}");
    });
}

fn without_traces_of_envoy_its_clients_goes_on() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Take).await, PolicyDir::acme(&[], GRANTS));
        let service = service(&policies, &collector).await;
        let edge = Edge::start([service.grpc_addr.port(), NOBODY]).await;
        send(&edge).await;
        service.stop(PATIENCE).await.unwrap();
        let spans = collector.spans();
        let [ours] = spans.as_slice() else { panic!("{spans:?}") };
        assert!(is_ours(ours), "{ours:?}");
        assert_eq!((hex(&ours.trace_id), hex(&ours.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    });
}

/// A running OpenTelemetry Collector, which passes on what it takes.
struct Otelcol(Child);

impl Drop for Otelcol {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Otelcol {
    fn start(folder: &PolicyDir, to: SocketAddr) -> Self {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\n\
             exporters: {{otlp_grpc: {{endpoint: '{to}', tls: {{insecure: true}}, compression: none, sending_queue: {{enabled: false}}}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [otlp_grpc]}}\n    logs: {{receivers: [otlp], exporters: [otlp_grpc]}}\n"
        );
        folder.write("otelcol.yaml", &text);
        let config = format!("file:{}", folder.path().join("otelcol.yaml").display());
        let mut command = Command::new(otelcol().expect("a collector: else the test is ignored"));
        Self(command.args(["--config", &config]).stdout(Stdio::null()).spawn().expect("the collector"))
    }

    /// The port on which it listens, once it does: the kernel's, for it was told to take any.
    fn port(&mut self) -> Option<u16> {
        assert_eq!(self.0.try_wait().expect("its state"), None, "the collector runs");
        let files = fs::read_dir(format!("/proc/{}/fd", self.0.id())).ok()?;
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets: BTreeSet<String> = links
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // State 0A listens.
            let is_it = columns[3] == "0A" && sockets.contains(columns[9]);
            let port = columns[1].split_once(':').filter(|_| is_it)?.1;
            u16::from_str_radix(port, 16).ok()
        })
    }
}

fn a_real_collector_understands_all_of_it() {
    block_on(async {
        let (collector, folder) = (Collector::start(Manner::Take).await, PolicyDir::new());
        let otelcol = Mutex::new(Otelcol::start(&folder, collector.addr));
        let port = || otelcol.lock().unwrap().port();
        until("it listens", async || port().is_some()).await;
        let to = format!("collector = {{ endpoint = 'http://127.0.0.1:{}' }}", port().unwrap());
        let policies = super::policies();
        let server = serve(&policies, &format!("[traces]\n{to}\n[decision_log.otlp]\n{to}\n")).await;
        let mut client = client(&server).await;
        for key in ["os-start", "lock"] {
            client.authorize(with(action(key), &[("traceparent", SAMPLED)])).await.unwrap();
        }
        client.authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
        let (tracer, log) = (server.tracer.clone(), server.decision_log.clone());
        server.stop(PATIENCE).await.unwrap();
        let (spans, records) = (collector.spans(), collector.records());
        assert_eq!((spans.len(), records.len()), (3, 3));
        assert_eq!((tracer.counters().unwrap().exported, log.counters().sinks[0].written), (3, 3));
        for (span, record) in spans.iter().zip(&records).take(2) {
            assert_eq!((hex(&span.trace_id), hex(&record.trace_id)), (TRACE.to_owned(), TRACE.to_owned()));
            assert_eq!((hex(&span.parent_span_id), &record.span_id), (PARENT.to_owned(), &span.span_id));
            let (of_span, of_record) = (texts(&span.attributes), texts(&record.attributes));
            for name in ["ecs_authz.decision_id", "ecs_authz.action", "ecs_authz.decision"] {
                assert_eq!(of_span[name], of_record[name], "{name}");
            }
            assert_eq!(record.event_name, "ecs_authz.decision");
        }
        // No error: the caller's fault is none of the server's.
        assert_eq!(spans[2].status.as_ref().map_or(0, |status| status.code), 0);
    });
}
