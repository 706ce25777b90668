//! Spans: of which calls, with which parent, and what they tell.

use std::time::Duration;

use ecs_authz::grpc::pb;
use ecs_authz::otlp::CollectorConfig;
use ecs_authz::traces::{QUEUE_SPANS, Tracer};
use http::HeaderMap;
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};

use super::collector::{Collector, Manner};
use super::{
    NOT_SAMPLED, PARENT, PATIENCE, SAMPLED, TRACE, action, envoys_client, hex, policies, serve, texts,
    traces_to, with,
};
use crate::edge::until;
use crate::ext_authz::Check;
use crate::mtls::Authority;
use crate::support::{PolicyDir, block_on, channel, client, http as http_call, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_span_has_the_callers_parent_and_tells_the_decision,
        what_a_caller_says_is_in_no_span,
        a_trace_that_is_not_sampled_has_no_spans,
        without_a_caller_s_word_the_ratio_decides,
        a_malformed_trace_is_ignored,
        health_and_reflection_are_not_traced,
        a_check_has_the_trace_of_envoy_or_of_its_request,
        a_fault_of_the_server_is_an_error_of_its_span,
        a_batch_tells_how_many_it_has,
        a_collector_that_is_away_harms_no_call,
        a_collector_that_hangs_fills_no_memory,
        spans_that_are_refused_are_counted,
        spans_are_sent_over_tls_with_secret_headers,
        what_is_not_understood_is_named_at_the_start,
    ]
}

/// Makes calls of a server that traces, stops it, and answers the spans.
async fn spans_of(lines: &str, calls: impl AsyncFnOnce(&ecs_authz::server::RunningServer)) -> Vec<Span> {
    let (collector, policies) = (Collector::start(Manner::Take).await, policies());
    let server = serve(&policies, &traces_to(&collector, lines)).await;
    calls(&server).await;
    // All that waits is sent before it ends.
    server.stop(PATIENCE).await.expect("a stop");
    collector.spans()
}

fn a_span_has_the_callers_parent_and_tells_the_decision() {
    block_on(async {
        let mut decision_id = String::new();
        let spans = spans_of("", async |server| {
            let headers = [("traceparent", SAMPLED), ("tracestate", "vendor=1")];
            let answer = client(server).await.authorize(with(action("os-start"), &headers)).await.unwrap();
            decision_id = answer.into_inner().decision_id;
            client(server).await.authorize(with(action("lock"), &headers)).await.unwrap();
        })
        .await;
        let [allowed, denied] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((hex(&allowed.trace_id), hex(&allowed.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!((allowed.span_id.len(), allowed.trace_state.as_str()), (8, "vendor=1"));
        assert_ne!(allowed.span_id, denied.span_id);
        assert_eq!(allowed.name, "ecs.authz.v1.AuthorizationService/Authorize");
        // SPAN_KIND_SERVER; sampled, and its parent is known to be remote.
        assert_eq!((allowed.kind, allowed.flags, allowed.status.as_ref()), (2, 0x301, None));
        assert!(
            0 < allowed.start_time_unix_nano && allowed.start_time_unix_nano <= allowed.end_time_unix_nano
        );
        let expected = [
            ("ecs_authz.action", "ecs:servers:start"),
            ("ecs_authz.decision", "allow"),
            ("ecs_authz.decision_id", &decision_id),
            ("ecs_authz.revision", "1"),
            ("rpc.method", "ecs.authz.v1.AuthorizationService/Authorize"),
            ("rpc.response.status_code", "OK"),
            ("rpc.system.name", "grpc"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(texts(&allowed.attributes), expected.into());
        let denied = texts(&denied.attributes);
        assert_eq!(
            (&*denied["ecs_authz.decision"], &*denied["ecs_authz.reason"]),
            ("deny", "NO_MATCHING_ALLOW")
        );
    });
}

fn what_a_caller_says_is_in_no_span() {
    block_on(async {
        let spans = spans_of("", async |server| {
            let mut request = action("os-start");
            request.request_id = "r-4711".into();
            let headers = [("traceparent", SAMPLED), ("authorization", "Bearer t0k3n")];
            client(server).await.authorize(with(request, &headers)).await.unwrap();
            let check = Check::action(r#"{"os-start":null}"#).raw(&[("authorization", "Bearer t0k3n")]);
            envoys_client(server).await.check(check.message()).await.unwrap();
        })
        .await;
        assert_eq!(spans.len(), 2);
        for span in spans {
            let bytes = String::from_utf8_lossy(&span.encode_to_vec()).into_owned();
            for secret in ["alice", "acme", "prod", "i-4711", "r-4711", "t0k3n", "127.0.0.1"] {
                assert!(!bytes.contains(secret), "{secret} in {span:?}");
            }
        }
    });
}

fn a_trace_that_is_not_sampled_has_no_spans() {
    block_on(async {
        let spans = spans_of("sample_ratio = 1.0", async |server| {
            let mut client = client(server).await;
            client.authorize(with(action("os-start"), &[("traceparent", NOT_SAMPLED)])).await.unwrap();
        })
        .await;
        assert_eq!(spans, []);
    });
}

fn without_a_caller_s_word_the_ratio_decides() {
    block_on(async {
        for (ratio, expected) in [("0.0", 0), ("1.0", 3)] {
            let spans = spans_of(&format!("sample_ratio = {ratio}"), async |server| {
                let mut client = client(server).await;
                for _ in 0..3 {
                    client.authorize(action("os-start")).await.unwrap();
                }
            })
            .await;
            assert_eq!(spans.len(), expected, "{ratio}");
            assert!(spans.iter().all(|span| span.parent_span_id.is_empty() && span.flags == 1));
            let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span.trace_id.clone()).collect();
            assert_eq!(ids.len(), expected, "each is a trace of its own");
        }
    });
}

fn a_malformed_trace_is_ignored() {
    block_on(async {
        let spans = spans_of("sample_ratio = 1.0", async |server| {
            let mut client = client(server).await;
            for malformed in
                ["nonsense", &SAMPLED.to_uppercase(), &SAMPLED.replace(PARENT, "0000000000000000")]
            {
                client.authorize(with(action("os-start"), &[("traceparent", malformed)])).await.unwrap();
            }
            let twice = [("traceparent", SAMPLED), ("traceparent", SAMPLED)];
            client.authorize(with(action("os-start"), &twice)).await.unwrap();
        })
        .await;
        assert_eq!(spans.len(), 4);
        for span in spans {
            assert_ne!(hex(&span.trace_id), TRACE);
            assert!(span.parent_span_id.is_empty());
        }
    });
}

fn health_and_reflection_are_not_traced() {
    block_on(async {
        let spans = spans_of("sample_ratio = 1.0", async |server| {
            let headers = [("traceparent", SAMPLED)];
            let mut health = HealthClient::new(channel(server).await);
            health.check(with(HealthCheckRequest::default(), &headers)).await.unwrap();
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut reflection = ServerReflectionClient::new(channel(server).await);
            let answers = reflection.server_reflection_info(tokio_stream::once(request)).await;
            assert!(answers.unwrap().into_inner().message().await.unwrap().is_some());
            for path in ["/livez", "/readyz", "/metrics"] {
                http_call(server.http_addr, "GET", path).await;
            }
            client(server)
                .await
                .list_actions(with(pb::ListActionsRequest::default(), &headers))
                .await
                .unwrap();
        })
        .await;
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["ecs.authz.v1.AuthorizationService/ListActions"]);
    });
}

fn a_check_has_the_trace_of_envoy_or_of_its_request() {
    let of_request = SAMPLED.replace("4bf92f", "aaaaaa");
    block_on(async {
        let spans = spans_of("sample_ratio = 0.0", async |server| {
            let mut client = envoys_client(server).await;
            let check = || Check::action(r#"{"os-start":null}"#);
            let headers = [("traceparent", of_request.as_str())];
            client.check(with(check().raw(&headers).message(), &[("traceparent", SAMPLED)])).await.unwrap();
            client.check(check().raw(&headers).message()).await.unwrap();
            // Envoy's word that nobody looks goes before the client's.
            let unseen = with(check().raw(&headers).message(), &[("traceparent", NOT_SAMPLED)]);
            client.check(unseen).await.unwrap();
            let malformed = check().raw(&[("traceparent", "nonsense")]);
            client.check(malformed.message()).await.unwrap();
            let twice = check().raw(&[headers[0], headers[0]]);
            client.check(twice.message()).await.unwrap();
        })
        .await;
        let traces: Vec<String> = spans.iter().map(|span| hex(&span.trace_id)).collect();
        assert_eq!(traces, [TRACE.to_owned(), TRACE.replace("4bf92f", "aaaaaa")]);
        assert!(spans.iter().all(|span| hex(&span.parent_span_id) == PARENT));
        let told = texts(&spans[1].attributes);
        assert_eq!(
            (&*told["rpc.method"], &*told["ecs_authz.decision"]),
            ("envoy.service.auth.v3.Authorization/Check", "allow")
        );
    });
}

fn a_fault_of_the_server_is_an_error_of_its_span() {
    block_on(async {
        let spans = spans_of("sample_ratio = 1.0", async |server| {
            let mut client = client(server).await;
            client.authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
            let behind = pb::AuthorizeRequest { min_revision: 9, ..action("os-start") };
            // It is waited for as long as a decision may take.
            let error = client.authorize(behind).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
        })
        .await;
        let of = |code: &str| {
            let is_it = |span: &&Span| texts(&span.attributes)["rpc.response.status_code"] == code;
            let span = spans.iter().find(is_it).unwrap_or_else(|| panic!("{code}: {spans:?}"));
            (span.status.as_ref().map(|status| status.code), texts(&span.attributes))
        };
        let (status, told) = of("INVALID_ARGUMENT");
        assert_eq!((status, told.get("error.type"), &*told["ecs_authz.error"]), (None, None, "invalid"));
        let (status, told) = of("UNAVAILABLE");
        assert_eq!(
            (status, &*told["error.type"], &*told["ecs_authz.error"]),
            (Some(2), "UNAVAILABLE", "behind")
        );
    });
}

fn a_batch_tells_how_many_it_has() {
    block_on(async {
        let spans = spans_of("", async |server| {
            let requests = vec![action("os-start"), action("lock"), action("os-stop")];
            client(server).await.batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
        })
        .await;
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        let told = texts(&span.attributes);
        assert_eq!((&*told["ecs_authz.requests"], told.get("ecs_authz.decision")), ("3", None));
    });
}

fn a_collector_that_is_away_harms_no_call() {
    block_on(async {
        let policies = policies();
        // Nobody listens there.
        let server = serve(&policies, "[traces]\ncollector = { endpoint = 'http://127.0.0.1:1' }").await;
        let mut client = client(&server).await;
        for _ in 0..10 {
            client.authorize(action("os-start")).await.unwrap();
        }
        let tracer = server.tracer.clone();
        until("the spans are given up", async || tracer.counters().unwrap().dropped_unsent == 10).await;
        let (_, metrics) = http_call(server.http_addr, "GET", "/metrics").await;
        assert!(
            metrics.contains("ecs_authz_traces_dropped_spans_total{reason=\"unsent\"} 10\n"),
            "{metrics}"
        );
        client.authorize(action("os-start")).await.unwrap();
        server.stop(PATIENCE).await.unwrap();
        let counters = tracer.counters().unwrap();
        assert_eq!((counters.exported, counters.dropped_unsent + counters.dropped_stopped), (0, 11));
    });
}

fn a_collector_that_hangs_fills_no_memory() {
    block_on(async {
        let collector = Collector::start(Manner::Hang).await;
        let config =
            CollectorConfig { endpoint: Some(format!("http://{}", collector.addr)), ..Default::default() };
        let tracer = Tracer::start(&config, None).unwrap();
        let name = "a/b".into();
        tracer.begin(&name, &HeaderMap::new()).end(Code::Ok);
        until("a batch is on its way", async || collector.batches() == 1).await;
        let many = 2 * QUEUE_SPANS;
        for _ in 0..many {
            tracer.begin(&name, &HeaderMap::new()).end(Code::Ok);
        }
        let dropped = tracer.counters().unwrap().dropped_full;
        assert!(dropped >= (many - QUEUE_SPANS) as u64 - 1_024, "{dropped}");
        // A stop does not wait for it longer than it may.
        tracer.drain(Duration::from_millis(1)).await;
        let counters = tracer.counters().unwrap();
        assert_eq!(counters.exported, 0);
        let all = counters.dropped_full + counters.dropped_stopped + counters.dropped_unsent;
        assert_eq!(all, many as u64 + 1);
    });
}

fn spans_that_are_refused_are_counted() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Fail(Code::InvalidArgument)).await, policies());
        let server = serve(&policies, &traces_to(&collector, "")).await;
        let mut client = client(&server).await;
        client.authorize(action("os-start")).await.unwrap();
        let counters = || server.tracer.counters().unwrap();
        until("it is refused", async || counters().dropped_rejected == 1).await;
        assert_eq!(collector.batches(), 1, "what is refused is not sent again");
        collector.change(Manner::TakeAllButOne);
        client.authorize(action("os-start")).await.unwrap();
        until("it is not taken", async || counters().dropped_rejected == 2).await;
        collector.change(Manner::Fail(Code::Unavailable));
        client.authorize(action("os-start")).await.unwrap();
        until("it is tried", async || collector.batches() >= 3).await;
        collector.change(Manner::Take);
        until("it is tried again", async || counters().exported == 1).await;
        assert_eq!(counters().dropped_unsent, 0);
    });
}

fn spans_are_sent_over_tls_with_secret_headers() {
    block_on(async {
        let (authority, dir, policies) = (Authority::new(), PolicyDir::new(), policies());
        let collector = Collector::start_over_tls(&authority.issue_pem(&["localhost"])).await;
        dir.write("ca.crt", &authority.pem);
        dir.write("token", "Bearer s3cret\n");
        let (port, folder) = (collector.addr.port(), dir.path().display());
        let section = format!(
            "[traces.collector]\nendpoint = 'https://localhost:{port}'\nca = '{folder}/ca.crt'\n\
             headers = {{ x-tenant = 'acme' }}\nheader_files = {{ authorization = '{folder}/token' }}\n"
        );
        let server = serve(&policies, &section).await;
        client(&server).await.authorize(action("os-start")).await.unwrap();
        server.stop(PATIENCE).await.unwrap();
        assert_eq!(collector.spans().len(), 1);
        let headers = collector.headers().remove(0);
        assert_eq!(headers.get("authorization").unwrap(), "Bearer s3cret");
        assert_eq!(headers.get("x-tenant").unwrap(), "acme");
        // Another authority's certificate is not believed.
        dir.write("ca.crt", &Authority::new().pem);
        let server = serve(&policies, &section).await;
        client(&server).await.authorize(action("os-start")).await.unwrap();
        let tracer = server.tracer.clone();
        server.stop(PATIENCE).await.unwrap();
        assert_eq!((collector.spans().len(), tracer.counters().unwrap().exported), (1, 0));
    });
}

fn what_is_not_understood_is_named_at_the_start() {
    let start = |section: &str| {
        let (policies, config) = (policies(), crate::ext_authz::parsed(section));
        let config = ecs_authz::server::ServerConfig { config, ..super::config_of(&policies) };
        let started = block_on(ecs_authz::server::RunningServer::start(config));
        started.expect_err("no server").to_string()
    };
    let cases = [
        ("endpoint = 'collector:4317'", "traces: expected an endpoint such as `http://127.0.0.1:4317`"),
        ("endpoint = 'http://c:1'\nheader_files = { a = '/x' }", "traces: expected an endpoint with https"),
        ("endpoint = 'https://c:1'\nca = '/nowhere/ca.crt'", "traces: `/nowhere/ca.crt` can't be read"),
        (
            "endpoint = 'https://c:1'\nheader_files = { a = '/nowhere/a' }",
            "traces: `/nowhere/a` can't be read",
        ),
        ("endpoint = 'https://c:1'\nheaders = { 'a b' = 's3cret' }", "traces: the header `a b`: expected"),
    ];
    for (lines, expected) in cases {
        let error = start(&format!("[traces.collector]\n{lines}"));
        assert!(error.starts_with(expected) && !error.contains("s3cret"), "{error}");
    }
    let error = start("[decision_log.otlp.collector]\nendpoint = ''");
    assert!(error.starts_with("the decision log: expected an endpoint"), "{error}");
}
