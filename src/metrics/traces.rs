//! Traces: what became of spans.

use super::text::{Kind, Text};
use crate::traces::SpanCounters;

pub(super) fn write(counters: &SpanCounters, text: &mut Text) {
    let SpanCounters { exported, dropped_full, dropped_unsent, dropped_rejected, dropped_stopped } = counters;
    let name = "ecs_authz_traces_exported_spans_total";
    text.single(name, Kind::Counter, "Spans that the collector took.", exported);
    let name = "ecs_authz_traces_dropped_spans_total";
    let help = "Spans that were dropped: the queue was full, the collector could not be reached or did not want them, or the server stopped.";
    text.family(name, Kind::Counter, help);
    for (reason, count) in [
        ("queue_full", dropped_full),
        ("unsent", dropped_unsent),
        ("rejected", dropped_rejected),
        ("stopped", dropped_stopped),
    ] {
        text.sample(name, &[("reason", reason)], count);
    }
}
