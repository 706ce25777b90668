//! The decision log: what became of records.

use super::text::{Kind, Text};
use crate::decision_log::{Counters, SinkCounters};

pub(super) fn write(counters: &Counters, text: &mut Text) {
    let Counters { filtered, sampled_out, sinks } = counters;
    if sinks.is_empty() {
        return;
    }
    let name = "ecs_authz_decision_log_unwanted_total";
    text.family(name, Kind::Counter, "Decisions that the configuration does not want recorded.");
    text.sample(name, &[("reason", "filtered")], filtered);
    text.sample(name, &[("reason", "sampled_out")], sampled_out);
    let mut each = |name, kind, help, value: fn(&SinkCounters) -> u64| {
        text.family(name, kind, help);
        sinks.iter().for_each(|counters| text.sample(name, &[("sink", counters.sink)], value(counters)));
    };
    let help = "Records that were written, or that the collector took.";
    each("ecs_authz_decision_log_written_total", Kind::Counter, help, |sink| sink.written);
    let help = "Attempts to write that failed. What was to be written is tried again.";
    each("ecs_authz_decision_log_write_errors_total", Kind::Counter, help, |sink| sink.write_errors);
    let help = "Decisions that were not answered because they could not be recorded.";
    each("ecs_authz_decision_log_refused_total", Kind::Counter, help, |sink| sink.refused);
    let help = "Whether the last attempt to write failed.";
    each("ecs_authz_decision_log_failing", Kind::Gauge, help, |sink| u64::from(sink.is_failing));
    let help = "Bytes of records that wait to be written.";
    each("ecs_authz_decision_log_queue_bytes", Kind::Gauge, help, |sink| count(sink.queued_bytes));
    let help = "The most bytes of records that may wait.";
    each("ecs_authz_decision_log_queue_limit_bytes", Kind::Gauge, help, |sink| count(sink.queue_bytes_limit));
    let name = "ecs_authz_decision_log_dropped_total";
    let help = "Records that were dropped: the queue was full, the collector did not want them, or the server stopped.";
    text.family(name, Kind::Counter, help);
    for SinkCounters { sink, dropped_full, dropped_rejected, dropped_stopped, .. } in sinks {
        let reasons =
            [("queue_full", dropped_full), ("rejected", dropped_rejected), ("stopped", dropped_stopped)];
        for (reason, count) in reasons {
            text.sample(name, &[("sink", sink), ("reason", reason)], count);
        }
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
