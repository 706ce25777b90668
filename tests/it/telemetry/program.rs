//! The program with the standard variables of OpenTelemetry, from its start to the signal to stop.

use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use libtest_mimic::Trial;
use tonic::transport::Endpoint;

use super::collector::{Collector, Manner};
use super::{SAMPLED, TRACE, action, hex, policies, texts, with};
use crate::serving::Serving;
use crate::support::{PolicyDir, block_on, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        at_the_signal_to_stop_all_that_waits_arrives_where_the_variables_say,
        variables_that_are_not_understood_are_named_at_the_start,
    ]
}

const SECTIONS: &str = "[traces]\n[decision_log.otlp]\n";

fn at_the_signal_to_stop_all_that_waits_arrives_where_the_variables_say() {
    let (dir, policies) = (PolicyDir::new(), policies());
    dir.write("config.toml", SECTIONS);
    let config = dir.path().join("config.toml");
    let collector = block_on(Collector::start(Manner::Take));
    let args = ["--policies", policies.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
    let endpoint = format!("http://{}", collector.addr);
    let mut serving = Serving::start(
        &args,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme"),
            ("OTEL_SERVICE_NAME", "pdp-1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,deployment.environment.name=a%20b"),
            ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
        ],
    );
    let ready = serving.await_ready();
    let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().to_owned();
    block_on(async {
        let channel = Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
        let mut client = AuthorizationServiceClient::new(channel);
        for number in 0..700 {
            let headers: &[(&str, &str)] = if number % 7 == 0 { &[] } else { &[("traceparent", SAMPLED)] };
            client.authorize(with(action("os-start"), headers)).await.expect("a decision");
        }
    });
    serving.signal("TERM");
    assert!(serving.end().success());
    let (spans, records) = (collector.spans(), collector.records());
    assert_eq!((spans.len(), records.len()), (600, 700));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(records.iter().filter(|record| record.trace_id.is_empty()).count(), 100);
    for resource in collector.resources() {
        let told = texts(&resource.attributes);
        assert_eq!((&*told["service.name"], &*told["deployment.environment.name"]), ("pdp-1", "a b"));
    }
    assert!(collector.headers().iter().all(|headers| headers.get("x-tenant").unwrap() == "acme"));
}

fn variables_that_are_not_understood_are_named_at_the_start() {
    let (dir, policies) = (PolicyDir::new(), policies());
    dir.write("config.toml", SECTIONS);
    let config = dir.path().join("config.toml");
    let args = ["--policies", policies.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
    let there = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "expected `endpoint` in `collector`, or OTEL_EXPORTER_OTLP_ENDPOINT"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")], "expected an endpoint such as"),
        (
            &[there, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected `grpc`",
        ),
        (
            &[there, ("OTEL_TRACES_SAMPLER", "always_on")],
            "OTEL_TRACES_SAMPLER: expected `parentbased_always_on`",
        ),
        (
            &[there, ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")],
            "OTEL_EXPORTER_OTLP_HEADERS: expected `name=value` pairs",
        ),
    ];
    for (variables, expected) in cases {
        let said = Serving::start(&args, variables).fault();
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
}
