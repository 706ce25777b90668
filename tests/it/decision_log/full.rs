//! When records have no place: a pipe that nobody reads, and a full disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use ecs_authz::decision_log::SinkCounters;
use libtest_mimic::Trial;
use tonic::Code;

use super::{Logged, PATIENCE, PolicyDir, lines, on_server, parse, to_file};
use crate::ext_authz::{Answer, Check};
use crate::support::{block_on, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_full_queue_drops_and_counts,
        a_full_queue_blocks_within_its_budget_then_drops,
        a_full_queue_that_refuses_makes_decisions_errors,
        what_is_not_written_at_the_stop_is_counted,
        a_full_disk_does_not_stop_decisions,
        a_full_disk_stops_decisions_that_must_be_recorded_until_there_is_space,
    ]
}

/// The most records that a pipe and the smallest queue hold, and more.
const MANY: usize = 2_000;

/// A log into a pipe that nobody reads.
fn unread(queue: &str) -> Logged {
    let dir = PolicyDir::new();
    let pipe = dir.path().join("decisions.log");
    assert!(Command::new("mkfifo").arg(pipe).status().expect("mkfifo").success());
    Logged::start_in(dir, &to_file("", &format!("queue = {{ bytes = 65536, {queue} }}")))
}

fn counters(log: &Logged) -> SinkCounters {
    log.server.decision_log.counters().sinks.remove(0)
}

/// Decides until something is so.
fn decide_until(log: &Logged, is_so: impl Fn(&SinkCounters) -> bool) {
    let mut client = log.client();
    for _ in 0..MANY {
        if is_so(&counters(log)) {
            return;
        }
        block_on(client.authorize(on_server("os-start"))).expect("an answer");
    }
    panic!("{:?}", counters(log));
}

fn a_full_queue_drops_and_counts() {
    let log = unread("when_full = \"drop\"");
    decide_until(&log, |counters| counters.dropped_full >= 10);
    let counters = counters(&log);
    assert!(counters.queued_bytes <= 65_536, "{counters:?}");
    assert_eq!(counters.refused, 0);
}

fn a_full_queue_blocks_within_its_budget_then_drops() {
    let log = unread("when_full = \"block\", block_ms = 5");
    decide_until(&log, |counters| counters.dropped_full >= 3);
    // Somebody reads: there is a place again, and decisions that wait for it get it.
    let pipe = log.path();
    std::thread::spawn(move || fs::read_to_string(pipe));
    let written = counters(&log).written;
    decide_until(&log, |counters| counters.written > written + 300);
}

fn a_full_queue_that_refuses_makes_decisions_errors() {
    let log = unread("when_full = \"refuse\"");
    let mut client = log.client();
    let mut answers = (0..MANY).map(|_| block_on(client.authorize(on_server("os-start"))));
    let error = answers.find_map(Result::err).expect("an error");
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(error.message(), "the decision can't be recorded now: try again");
    // Envoy's, whose denials are decisions too.
    let start = || Check::action(r#"{"os-start": null}"#);
    let nobody = || Check::new("GET", "/v2.1/prod/servers");
    for check in [&start as &dyn Fn() -> Check, &nobody] {
        // A shorter record may find a place still.
        let mut answers = (0..MANY).map(|_| Answer::of(log.check(check())));
        let error = answers.find(|answer| answer.code == i32::from(Code::Unavailable)).expect("an error");
        assert_eq!(error.http_status, 503);
    }
    let requests = vec![on_server("os-start")];
    let batch = block_on(client.batch_authorize(ecs_authz::grpc::pb::BatchAuthorizeRequest { requests }));
    let result = batch.unwrap().into_inner().results.remove(0).result;
    let Some(ecs_authz::grpc::pb::batch_authorize_result::Result::Error(error)) = result else {
        panic!("expected an error, found {result:?}")
    };
    assert_eq!(error.code, i32::from(Code::Unavailable));
    assert!(counters(&log).refused >= 4);
}

fn what_is_not_written_at_the_stop_is_counted() {
    let log = unread("when_full = \"drop\"");
    decide_until(&log, |counters| counters.dropped_full > 0);
    let decision_log = log.server.decision_log.clone();
    block_on(log.server.stop(Duration::from_millis(100))).expect("a stop, though nothing can be written");
    assert!(decision_log.counters().sinks[0].dropped_stopped > 0);
}

/// A log whose disk is full.
fn on_full_disk(queue: &str) -> Logged {
    let dir = PolicyDir::new();
    symlink("/dev/full", dir.path().join("decisions.log")).unwrap();
    Logged::start_in(dir, &to_file("", &format!("queue = {{ bytes = 65536, {queue} }}")))
}

fn a_full_disk_does_not_stop_decisions() {
    let log = on_full_disk("when_full = \"drop\"");
    decide_until(&log, |counters| counters.dropped_full > 0);
    assert_eq!((counters(&log).written, counters(&log).is_failing), (0, true));
    // There is space again: what waited is written.
    fs::remove_file(log.path()).unwrap();
    fs::write(log.path(), "").unwrap();
    let waiting = || counters(&log).queued_bytes > 0;
    while waiting() {
        std::thread::yield_now();
    }
    assert!(!counters(&log).is_failing);
    let path = log.path();
    assert_eq!(lines(&path).len() as u64, counters(&log).written);
}

fn a_full_disk_stops_decisions_that_must_be_recorded_until_there_is_space() {
    let log = on_full_disk("when_full = \"refuse\"");
    let mut client = log.client();
    let mut decide = || block_on(client.authorize(on_server("os-start"))).map(|answer| answer.into_inner());
    let mut answered = Vec::new();
    while let Ok(answer) = decide() {
        answered.push(answer.decision_id);
    }
    fs::remove_file(log.path()).unwrap();
    fs::write(log.path(), "").unwrap();
    let answer = std::iter::from_fn(|| Some(decide())).find_map(Result::ok).unwrap();
    answered.push(answer.decision_id);
    let path = log.path();
    block_on(log.server.stop(PATIENCE)).unwrap();
    let records: Vec<_> = lines(&path).iter().map(|line| parse(line)).collect();
    let decided = records.iter().filter(|record| record["kind"] == "decision");
    let decided: Vec<&str> = decided.map(|record| record["decision_id"].as_str().unwrap()).collect();
    assert_eq!(decided, answered, "what was answered is recorded, though it had to wait");
    assert!(records.iter().any(|record| record["error"] == "NOT_RECORDED"));
}
