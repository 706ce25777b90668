//! What one client may ask of the server, and all of them together.
//!
//! Beyond a limit the answer is an error, which is never a decision. What is not here is fixed on purpose, with its reason
//! beside the constant.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits. Each has a default, and a range outside of which it can't be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The most bytes of a request for a decision: a full batch of ordinary ones, or some with large bodies. A larger one is
    /// not read, and answered with `OUT_OF_RANGE`. A connection can have as many half-sent ones as it has streams.
    pub max_message_bytes: usize,
    /// The most bytes of messages that are not whole yet, of all connections together. A call whose message has no place is
    /// `RESOURCE_EXHAUSTED`.
    pub max_received_bytes: usize,
    /// The most decisions in the making at once, of all connections together. A batch is one, for its requests are decided
    /// one after another, and so is a list of permissions. One more is `RESOURCE_EXHAUSTED`.
    pub max_concurrent_decisions: usize,
    /// The most milliseconds from a call's arrival to its decision, whatever its caller grants: who waits longer has gone
    /// away.
    pub decision_budget_ms: u64,
    /// The most connections of gRPC. One more is closed at once.
    pub max_connections: usize,
    /// The most calls at once on one connection: an Envoy worker opens another connection beyond it, which spreads load.
    pub max_streams_per_connection: u32,
    /// How many seconds of silence there are before a connection is probed.
    pub keepalive_interval_seconds: u64,
    /// How many seconds the answer to a probe may take, after which the connection is closed.
    pub keepalive_timeout_seconds: u64,
    /// How many seconds an answer, or a message of a stream, may be ready without the client taking it whole (and at most twice as
    /// many). Then its connection is told to go, and after as many seconds again it is cut.
    pub answer_timeout_seconds: u64,
    /// The most bytes of a request's headers, as HTTP/2 counts them: names, values and 32 for each.
    pub max_header_list_bytes: u32,
    /// How many streams a client may reset that the server has not looked at yet, before its connection is closed
    /// (CVE-2023-44487).
    pub max_pending_resets: usize,
    /// How many streams a client may make the server reset, by breaking the protocol on them, before its connection is closed
    /// (CVE-2025-8671).
    pub max_error_resets: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_024 * 1_024,
            max_received_bytes: 128 * 1_024 * 1_024,
            max_concurrent_decisions: 4_096,
            decision_budget_ms: 2_000,
            max_connections: 16_384,
            max_streams_per_connection: 256,
            keepalive_interval_seconds: 30,
            keepalive_timeout_seconds: 20,
            answer_timeout_seconds: 30,
            max_header_list_bytes: 16 * 1_024,
            max_pending_resets: 100,
            max_error_resets: 1_024,
        }
    }
}

impl LimitsConfig {
    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        let mut ranges = self.ranges().into_iter();
        let (name, found, least, most) =
            ranges.find(|(_, found, least, most)| !(*least..=*most).contains(found))?;
        Some(format!("limits.{name}: expected {least} to {most}, found {found}"))
    }

    /// Each limit by its name, with the least and the most that can be meant.
    fn ranges(&self) -> [(&'static str, u64, u64, u64); 12] {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        [
            // A check of Envoy with ordinary headers fits in the least.
            ("max_message_bytes", count(self.max_message_bytes), 4_096, 64 * 1_024 * 1_024),
            // At least the largest message.
            (
                "max_received_bytes",
                count(self.max_received_bytes),
                64 * 1_024 * 1_024,
                64 * 1_024 * 1_024 * 1_024,
            ),
            ("max_concurrent_decisions", count(self.max_concurrent_decisions), 1, 1_000_000),
            ("decision_budget_ms", self.decision_budget_ms, 10, 60_000),
            ("max_connections", count(self.max_connections), 1, 1_000_000),
            ("max_streams_per_connection", self.max_streams_per_connection.into(), 1, 65_536),
            ("keepalive_interval_seconds", self.keepalive_interval_seconds, 1, 3_600),
            ("keepalive_timeout_seconds", self.keepalive_timeout_seconds, 1, 600),
            ("answer_timeout_seconds", self.answer_timeout_seconds, 1, 600),
            // Tokens and certificates in headers are long, and every connection may keep as many bytes.
            ("max_header_list_bytes", self.max_header_list_bytes.into(), 4_096, 1_024 * 1_024),
            ("max_pending_resets", count(self.max_pending_resets), 1, 100_000),
            ("max_error_resets", count(self.max_error_resets), 1, 100_000),
        ]
    }

    /// The most time from a call's arrival to its decision.
    #[must_use]
    pub fn decision_budget(&self) -> Duration {
        Duration::from_millis(self.decision_budget_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn fault(text: &str) -> Option<String> {
        toml::from_str::<Config>(text).unwrap().fault()
    }

    #[test]
    fn limits_that_can_t_be_meant_are_named_with_their_range() {
        for (name, _, least, most) in LimitsConfig::default().ranges() {
            for sound in [least, most] {
                assert_eq!(fault(&format!("limits.{name} = {sound}")), None);
            }
            for found in [0, least - 1, most + 1] {
                let expected = format!("limits.{name}: expected {least} to {most}, found {found}");
                assert_eq!(fault(&format!("limits.{name} = {found}")), Some(expected));
            }
        }
    }

    #[test]
    fn other_names_and_other_values_are_errors() {
        for text in [
            "limits.max_message_kib = 1",
            "limits.max_connections = -1",
            "limits.max_connections = '9'",
            "limits.max_connections = 1.5",
            "limits.max_streams_per_connection = 4294967296",
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
