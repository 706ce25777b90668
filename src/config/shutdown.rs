//! How a server stops: what it does between the signal and its end.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most seconds of either phase: an hour. More is a slip, such as milliseconds.
const MAX_SECONDS: u64 = 3_600;

/// The phases of a stop. Together they are to be shorter than what ends the process by force: 30 s in Kubernetes
/// (`terminationGracePeriodSeconds`), 90 s in systemd (`TimeoutStopSec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// How many seconds a server that is told to stop says so, at `/readyz` and in `grpc.health.v1`, and still takes and
    /// answers everything: what its clients need to see it. Two failed health checks of the shipped Envoy take less than 5.
    pub delay_seconds: u64,
    /// How many seconds calls in flight are answered after that, once the listeners have closed. Calls that decide have
    /// three more than `limits.decision_budget_ms` at most: five by default.
    pub limit_seconds: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { delay_seconds: 10, limit_seconds: 15 }
    }
}

impl ShutdownConfig {
    /// The first phase.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_seconds)
    }

    /// The most time of the second.
    #[must_use]
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.limit_seconds)
    }

    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { delay_seconds, limit_seconds } = *self;
        if delay_seconds > MAX_SECONDS {
            return Some(format!(
                "shutdown.delay_seconds: expected at most {MAX_SECONDS} seconds, found {delay_seconds}"
            ));
        }
        let is_limit = (1..=MAX_SECONDS).contains(&limit_seconds);
        let fault =
            || format!("shutdown.limit_seconds: expected 1 to {MAX_SECONDS} seconds, found {limit_seconds}");
        (!is_limit).then(fault)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn fault(text: &str) -> Option<String> {
        toml::from_str::<Config>(text).unwrap().fault()
    }

    #[test]
    fn by_default_a_stop_is_over_before_kubernetes_ends_it() {
        let shutdown = toml::from_str::<Config>("").unwrap().shutdown;
        assert!(shutdown.delay_seconds + shutdown.limit_seconds < 30 - 2);
    }

    #[test]
    fn phases_are_of_seconds() {
        assert_eq!(fault("shutdown = {delay_seconds = 0, limit_seconds = 1}"), None);
        assert!(
            fault("shutdown.delay_seconds = 10000").unwrap().contains("at most 3600 seconds, found 10000")
        );
        for limit in [0, 10_000] {
            let fault = fault(&format!("shutdown.limit_seconds = {limit}")).unwrap();
            assert!(fault.contains(&format!("expected 1 to 3600 seconds, found {limit}")), "{fault}");
        }
    }
}
