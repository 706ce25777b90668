//! The cache of policies.

use super::text::{Kind, Text};
use crate::store::cache::CacheCounters;

pub(super) fn write(counters: &CacheCounters, text: &mut Text) {
    let CacheCounters {
        hits,
        misses,
        loads,
        load_errors,
        shared_sets,
        stale_answers,
        entries,
        bytes,
        sets,
        set_bytes,
    } = counters;
    let mut counter = |name, help, value| text.single(name, Kind::Counter, help, value);
    counter("ecs_authz_cache_hits_total", "Requests whose principal's policies were cached.", hits);
    counter("ecs_authz_cache_misses_total", "Requests whose principal's policies were not.", misses);
    counter(
        "ecs_authz_cache_loads_total",
        "How often the store was asked for a principal's policies.",
        loads,
    );
    counter("ecs_authz_cache_load_errors_total", "Loads that failed.", load_errors);
    let help = "Loads whose merged policies were there already.";
    counter("ecs_authz_cache_shared_sets_total", help, shared_sets);
    let help = "Answers of the cache while changes of the store were not followed.";
    counter("ecs_authz_cache_stale_answers_total", help, stale_answers);
    let mut gauge = |name, help, value| text.single(name, Kind::Gauge, help, value);
    gauge("ecs_authz_cache_entries", "Principals that are cached, each by revision.", entries);
    gauge("ecs_authz_cache_bytes", "What they and their policy sets weigh.", bytes);
    gauge("ecs_authz_cache_sets", "Distinct policy sets in use.", sets);
    gauge("ecs_authz_cache_set_bytes", "Of the bytes, those of the policy sets.", set_bytes);
}
