//! The store of policies.

use super::text::{Kind, Text};
use crate::store::{PolicyStore, Reloads, StoreCounters, StoreHealth};

pub(super) fn write(store: &dyn PolicyStore, text: &mut Text) {
    let health = match store.health() {
        StoreHealth::Current => "current",
        StoreHealth::Degraded { .. } => "degraded",
        StoreHealth::Expired => "expired",
    };
    let help = "1 for what the store is: what it serves is current, may not be what the source holds, or nothing is served.";
    text.family("ecs_authz_store_health", Kind::Gauge, help);
    for state in ["current", "degraded", "expired"] {
        text.sample("ecs_authz_store_health", &[("state", state)], u8::from(state == health));
    }
    let StoreCounters { age, domains, changes, reloads } = store.counters();
    let help = "Time since what is served was last known to be what the source holds.";
    text.single("ecs_authz_store_age_seconds", Kind::Gauge, help, age.as_secs_f64());
    text.single("ecs_authz_domains", Kind::Gauge, "Domains that the store has.", domains);
    let help = "Revisions of domains that were learnt, at the start too.";
    text.single("ecs_authz_policy_changes_total", Kind::Counter, help, changes);
    let Some(Reloads { loaded, unchanged, failed }) = reloads else { return };
    let help = "How often the directory was read, with its first time, by what came of it.";
    text.family("ecs_authz_directory_reloads_total", Kind::Counter, help);
    for (outcome, count) in [("loaded", loaded), ("unchanged", unchanged), ("failed", failed)] {
        text.sample("ecs_authz_directory_reloads_total", &[("outcome", outcome)], count);
    }
}
