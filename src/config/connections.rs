//! How long connections of the gRPC listener live.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most seconds of an age or a grace: a day. More is a slip, such as milliseconds.
const MAX_SECONDS: u64 = 86_400;

/// The age of connections. A client that keeps one for ever never sees the replica that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// After how many seconds a connection is told to go (GOAWAY), so that the client opens another one. Of each by itself a
    /// tenth more or less, so that not all come back at once. Zero stands for never.
    pub max_age_seconds: u64,
    /// How many seconds its calls have then to end, before it is cut.
    pub max_age_grace_seconds: u64,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { max_age_seconds: 300, max_age_grace_seconds: 30 }
    }
}

impl ConnectionsConfig {
    /// When a connection is told to go, if ever, before chance has its part.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_seconds > 0).then(|| Duration::from_secs(self.max_age_seconds))
    }

    /// How long its calls have then.
    #[must_use]
    pub fn max_age_grace(&self) -> Duration {
        Duration::from_secs(self.max_age_grace_seconds)
    }

    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { max_age_seconds, max_age_grace_seconds } = *self;
        if max_age_seconds > MAX_SECONDS {
            return Some(format!(
                "connections.max_age_seconds: expected at most {MAX_SECONDS} seconds, or 0 for never, found \
                 {max_age_seconds}"
            ));
        }
        let is_grace = (1..=MAX_SECONDS).contains(&max_age_grace_seconds);
        let fault = || {
            format!(
                "connections.max_age_grace_seconds: expected 1 to {MAX_SECONDS} seconds, found {max_age_grace_seconds}"
            )
        };
        (!is_grace).then(fault)
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
    fn an_age_of_zero_is_none() {
        let age = |text: &str| toml::from_str::<Config>(text).unwrap().connections.max_age();
        assert_eq!(age(""), Some(Duration::from_secs(300)));
        assert_eq!(age("connections.max_age_seconds = 0"), None);
    }

    #[test]
    fn ages_are_of_seconds() {
        assert_eq!(fault("connections = {max_age_seconds = 1, max_age_grace_seconds = 1}"), None);
        assert!(fault("connections.max_age_seconds = 300000").unwrap().contains("at most 86400 seconds"));
        assert!(
            fault("connections.max_age_grace_seconds = 0").unwrap().contains("1 to 86400 seconds, found 0")
        );
    }
}
