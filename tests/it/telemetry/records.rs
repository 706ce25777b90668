//! Records of decisions by OTLP: what arrives, and what happens when it can't.

use std::fs;

use ecs_authz::decision_log::SinkCounters;
use ecs_authz::grpc::pb;
use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::{Map, Value, json};
use tonic::Code;

use super::collector::{Collector, Manner};
use super::{PARENT, PATIENCE, SAMPLED, TRACE, action, envoys_client, hex, policies, serve, traces_to, with};
use crate::edge::until;
use crate::ext_authz::Check;
use crate::support::{PolicyDir, block_on, client, http, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        records_arrive_with_all_their_fields,
        records_are_joined_to_the_trace_of_their_call,
        fields_are_masked_before_they_are_sent,
        what_the_collector_does_not_take_is_dropped_and_counted,
        a_collector_that_is_ill_is_tried_again,
        a_collector_that_is_away_does_not_stop_decisions_and_fills_no_memory,
        decisions_that_must_be_recorded_wait_for_the_collector_to_come_back,
    ]
}

/// The section that records to a collector.
fn records_to(collector: &Collector, queue: &str) -> String {
    format!(
        "[decision_log.otlp]\ncollector = {{ endpoint = 'http://{}', timeout_ms = 2000 }}\nqueue = {{ {queue} }}\n",
        collector.addr
    )
}

fn counters(server: &RunningServer) -> SinkCounters {
    let sinks = server.decision_log.counters().sinks;
    sinks.into_iter().find(|sink| sink.sink == "otlp").expect("the sink")
}

/// A record as the file has it, from its OTLP form.
fn from_otlp(record: &LogRecord) -> Value {
    let mut fields = Map::new();
    for KeyValue { key, value, .. } in &record.attributes {
        let name = key.strip_prefix("ecs_authz.").expect("the prefix of ours");
        let value = json_of(value.as_ref().expect("a value"));
        match name.split_once('.') {
            Some((outer, inner)) => {
                fields.entry(outer).or_insert_with(|| json!({}))[inner] = value;
            }
            None => {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    for (name, id) in [("trace_id", &record.trace_id), ("span_id", &record.span_id)] {
        if !id.is_empty() {
            fields.insert(name.to_owned(), hex(id).into());
        }
    }
    Value::Object(fields)
}

fn json_of(value: &AnyValue) -> Value {
    match value.value.as_ref().expect("a value") {
        OtlpValue::StringValue(text) => text.as_str().into(),
        OtlpValue::BoolValue(value) => (*value).into(),
        OtlpValue::IntValue(number) => (*number).into(),
        OtlpValue::ArrayValue(array) => array.values.iter().map(json_of).collect(),
        OtlpValue::KvlistValue(list) => {
            let entries = list.values.iter();
            Value::Object(entries.map(|it| (it.key.clone(), json_of(it.value.as_ref().unwrap()))).collect())
        }
        other => panic!("unexpected {other:?}"),
    }
}

/// Seconds since 1970 of a record's time, by the calendar of `date`.
fn seconds(time: &str) -> u64 {
    let output = std::process::Command::new("date").args(["-u", "-d", time, "+%s"]).output().expect("date");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn records_arrive_with_all_their_fields() {
    block_on(async {
        let (collector, policies, dir) = (Collector::start(Manner::Take).await, policies(), PolicyDir::new());
        let file = dir.path().join("decisions.log");
        let log = format!(
            "[decision_log]\npaths = 'without_query'\nsample_allows = 2\n[decision_log.file]\npath = '{}'\n{}",
            file.display(),
            records_to(&collector, "")
        );
        let server = serve(&policies, &log).await;
        let mut client = client(&server).await;
        let call = pb::AuthorizeRequest { request_id: "r-1".into(), ..action("os-start") };
        client.authorize(with(call, &[("traceparent", SAMPLED)])).await.unwrap();
        let requests = vec![action("lock"), pb::AuthorizeRequest { path: "/x".into(), ..action("lock") }];
        client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
        client.authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
        let check = Check::new("GET", "/v2.1/prod/servers").raw(&[("x-request-id", "e-7")]);
        envoys_client(&server).await.check(check.message()).await.unwrap();
        server.stop(PATIENCE).await.unwrap();
        let lines = fs::read_to_string(&file).unwrap();
        let records = collector.records();
        assert_eq!((lines.lines().count(), records.len()), (5, 5));
        for (line, record) in lines.lines().zip(&records) {
            let mut expected: Value = serde_json::from_str(line).unwrap();
            let time = expected.as_object_mut().unwrap().shift_remove("time").unwrap();
            assert_eq!(from_otlp(record), expected);
            let time = time.as_str().unwrap();
            let micros: u64 = time[20..26].parse().unwrap();
            assert_eq!(record.time_unix_nano, seconds(time) * 1_000_000_000 + micros * 1_000);
            assert!(record.observed_time_unix_nano >= record.time_unix_nano);
        }
        let told = |at: usize| {
            let record: &LogRecord = &records[at];
            (record.event_name.as_str(), record.severity_number, json_of(record.body.as_ref().unwrap()))
        };
        assert_eq!(told(0), ("ecs_authz.decision", 9, "allow ecs:servers:start".into()));
        assert_eq!(told(1), ("ecs_authz.decision", 9, "deny NO_MATCHING_ALLOW ecs:servers:lock".into()));
        assert_eq!(told(3), ("ecs_authz.error", 13, "error INVALID_ARGUMENT".into()));
        let resource = super::texts(&collector.resources().remove(0).attributes);
        assert_eq!(resource["service.name"], "ecs-authz");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(resource["service.instance.id"].len(), 36);
    });
}

fn records_are_joined_to_the_trace_of_their_call() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Take).await, policies());
        let sections = [records_to(&collector, ""), traces_to(&collector, "sample_ratio = 0.0")].concat();
        let server = serve(&policies, &sections).await;
        let mut client = client(&server).await;
        let seen = with(action("os-start"), &[("traceparent", SAMPLED)]);
        client.authorize(seen).await.unwrap();
        let unseen = with(action("os-start"), &[("traceparent", super::NOT_SAMPLED)]);
        client.authorize(unseen).await.unwrap();
        client.authorize(action("os-start")).await.unwrap();
        server.stop(PATIENCE).await.unwrap();
        let spans = collector.spans();
        assert_eq!(spans.len(), 1);
        let ids: Vec<_> =
            collector.records().iter().map(|record| (hex(&record.trace_id), hex(&record.span_id))).collect();
        // That of our span; the caller's, where we make none; none.
        let own = (TRACE.to_owned(), hex(&spans[0].span_id));
        assert_eq!(ids, [own, (TRACE.to_owned(), PARENT.to_owned()), (String::new(), String::new())]);
    });
}

fn fields_are_masked_before_they_are_sent() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Take).await, policies());
        let mask =
            "[decision_log.mask]\nuser_id = 'drop'\ndomain_id = 'drop'\nresource = 'drop'\npeer = 'drop'\n";
        let server = serve(&policies, &[records_to(&collector, "").as_str(), mask].concat()).await;
        client(&server).await.authorize(action("os-start")).await.unwrap();
        server.stop(PATIENCE).await.unwrap();
        let records = format!("{:?}", collector.records());
        assert!(records.contains("ecs:servers:start"), "{records}");
        for secret in ["alice", "acme", "i-4711", "127.0.0.1"] {
            assert!(!records.contains(secret), "{secret} in {records}");
        }
    });
}

fn what_the_collector_does_not_take_is_dropped_and_counted() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::TakeAllButOne).await, policies());
        let server = serve(&policies, &records_to(&collector, "")).await;
        let mut client = client(&server).await;
        client.authorize(action("os-start")).await.unwrap();
        until("it is counted", async || counters(&server).dropped_rejected == 1).await;
        collector.change(Manner::Fail(Code::InvalidArgument));
        client.authorize(action("os-start")).await.unwrap();
        until("it is counted", async || counters(&server).dropped_rejected == 2).await;
        assert_eq!(collector.batches(), 2, "what is refused is not sent again");
        collector.change(Manner::Take);
        client.authorize(action("os-start")).await.unwrap();
        until("it is taken", async || counters(&server).written == 1).await;
        let (_, metrics) = http(server.http_addr, "GET", "/metrics").await;
        for expected in [
            "ecs_authz_decision_log_dropped_total{sink=\"otlp\",reason=\"rejected\"} 2\n",
            "ecs_authz_decision_log_written_total{sink=\"otlp\"} 1\n",
            "ecs_authz_decision_log_write_errors_total{sink=\"otlp\"} 1\n",
            "ecs_authz_decision_log_failing{sink=\"otlp\"} 0\n",
        ] {
            assert!(metrics.contains(expected), "{expected} in {metrics}");
        }
    });
}

fn a_collector_that_is_ill_is_tried_again() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Fail(Code::Unavailable)).await, policies());
        let server = serve(&policies, &records_to(&collector, "")).await;
        let mut client = client(&server).await;
        client.authorize(action("os-start")).await.unwrap();
        until("it is tried", async || collector.batches() >= 2).await;
        assert!(counters(&server).is_failing && counters(&server).queued_bytes > 0);
        collector.change(Manner::Take);
        until("it is taken", async || counters(&server).written == 1).await;
        until("nothing waits", async || counters(&server).queued_bytes == 0).await;
        assert!(!counters(&server).is_failing);
        assert_eq!(collector.records().len(), 1);
    });
}

fn a_collector_that_is_away_does_not_stop_decisions_and_fills_no_memory() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Hang).await, policies());
        let server = serve(&policies, &records_to(&collector, "bytes = 65536")).await;
        let mut client = client(&server).await;
        let mut decided = 0;
        while counters(&server).dropped_full < 10 {
            client.authorize(action("os-start")).await.expect("a decision");
            assert!(counters(&server).queued_bytes <= 65_536);
            decided += 1;
            assert!(decided < 2_000, "{:?}", counters(&server));
        }
        let log = server.decision_log.clone();
        server.stop(std::time::Duration::from_millis(100)).await.unwrap();
        let sink = log.counters().sinks.remove(0);
        assert_eq!((sink.written, sink.dropped_full + sink.dropped_stopped), (0, decided));
    });
}

fn decisions_that_must_be_recorded_wait_for_the_collector_to_come_back() {
    block_on(async {
        let (collector, policies) = (Collector::start(Manner::Fail(Code::Unavailable)).await, policies());
        let server = serve(&policies, &records_to(&collector, "when_full = 'refuse'")).await;
        let mut client = client(&server).await;
        // The first one is in the queue before anybody knows.
        client.authorize(action("os-start")).await.unwrap();
        until("the collector is known to be ill", async || counters(&server).is_failing).await;
        let error = client.authorize(action("os-start")).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(counters(&server).refused, 1);
        // A collector that refuses each batch is no better, and the server does not stay as it is for ever.
        for manner in [Manner::Fail(Code::InvalidArgument), Manner::Take] {
            collector.change(manner);
            let decided = async || client.clone().authorize(action("os-start")).await.is_ok();
            until("decisions are made again", decided).await;
        }
    });
}
